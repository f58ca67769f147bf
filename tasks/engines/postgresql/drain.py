"""Carry over what triggers have noted, in short transactions, beside the applications."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from profiles.model import Limits
from tasks.engines.batches import next_size
from tasks.engines.postgresql.blockers import Connection, before_deadlocks
from tasks.model.errors import DataChanged, LockTimeoutError

FIRST_NOTES = 500
"""As many notes are carried in the first transaction."""
TOO_MUCH = "more is noted than can be carried over within the lock budget"
"""What a statement of a plan says with the code of a lock that was not available."""
BUDGET = "changeover.lock_budget"
"""The setting that says how long a transaction may take under its locks, where it waits for others for less."""
_WITHIN = f"coalesce(nullif(current_setting('{BUDGET}', true), ''), current_setting('lock_timeout'))"
_FORTH = "End the transaction that has locked those rows, or make `up` faster; then run again."
_BACK = (
    "End the transaction that has locked those rows, or raise limits.lock_budget in the profile if `down` needs longer;"
    " then roll back again."
)
LATE = f"case when {_WITHIN} <> '0' then clock_timestamp() + {_WITHIN}::interval end"
"""When what is called under locks has to be at its end, as SQL."""
FEW = 500
"""As many may be left for a transaction with locks: it is quick with them, and gives up when it is not."""


def drain(
    conn: Connection,
    statement: str,
    limits: Limits,
    *,
    between: Callable[[], object] = lambda: None,
    waiting: Callable[[str], None] = lambda _: None,
    back: bool = False,
) -> int:
    """Call a statement, each time in a transaction of its own, until a call finds less to do than it may.

    `{most}` in the statement stands for how much that is. With `{after}` it returns where the next call begins: then
    all that was there at first is carried, however long that takes, and what came meanwhile, as long as each time it is
    less than before. Without it, it ends with the patience. What it holds, it holds for the lock budget at most. Notes
    may be left: of rows that others have locked, and those that came meanwhile; whatever needs all of them takes its
    locks and carries the rest. Returns about how many were left because they come faster than they are carried. Raises
    LockTimeoutError when no call comes to its end within the patience; `back`: its hint is about a rollback.
    """
    most, started, moved = FIRST_NOTES, time.monotonic(), time.monotonic()
    after, goal, before, aside = 0, 0, 0, 0
    # Well within the budget, so that the next call is seldom cancelled.
    sizing = limits.model_copy(update={"batch_target": max(min(limits.batch_target, limits.lock_budget // 3), 1)})
    begins = "{after}" in statement
    wait = before_deadlocks(conn, limits.lock_budget // 2) if statement else 0
    while statement:
        between()
        begun = time.monotonic()
        try:
            if begins:
                # However much is passed over: nothing is locked meanwhile.
                turn = _call(conn, statement, 0, 0)
            else:
                turn = _call(conn, statement, most, after, wait=wait, budget=limits.lock_budget)
        except (
            psycopg.errors.LockNotAvailable,
            psycopg.errors.DeadlockDetected,
            psycopg.errors.QueryCanceled,
            # A row has moved to another partition while its lock was waited for.
            psycopg.errors.SerializationFailure,
        ) as error:
            if time.monotonic() - moved > limits.lock_patience:
                raise LockTimeoutError(
                    f"what is noted cannot be carried over within the lock budget of {limits.lock_budget} ms",
                    hint=_BACK if back else _FORTH,
                    changed=DataChanged.PARTIALLY,
                ) from error
            most = max(most // 10, 1)
            time.sleep(random.uniform(0.05, 0.3))  # noqa: S311
            continue
        except psycopg.errors.UndefinedFunction:
            # It went with a step whose commit was cut off; the step itself finds in the ledger that it is done.
            return 0
        if turn.seen is None:
            return 0
        moved, after, aside = time.monotonic(), turn.seen, aside + turn.aside
        ahead = turn.ahead - after
        if begins:
            begins, goal, before = False, turn.ahead, ahead
            continue
        enough = after >= goal if "{after}" in statement else moved - started > limits.lock_patience
        if enough and ahead - aside >= before:
            if ahead > FEW:
                waiting("applications note faster than it can be carried over")
            return max(ahead, 0)
        if enough:
            goal, before, aside = turn.ahead, ahead, 0
        most = next_size(most, (moved - begun) * 1000, sizing)
    return 0


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """What a call has come to."""

    seen: int | None
    """Where the next one begins; None: it found less to do than it may."""
    ahead: int
    """The last number that there is."""
    aside: int = 0
    """So many come once more at the end, because others have to come first: nobody has written meanwhile."""


def _call(conn: Connection, statement: str, most: int, after: int, *, wait: int = 0, budget: int = 0) -> _Turn:
    """One message, one transaction: no row stays locked while this process does something else."""
    text = statement.replace("{most}", str(most)).replace("{after}", str(after))
    patience = f"set local lock_timeout = {wait}; " if wait else ""
    cursor = conn.execute(f"{patience}set local statement_timeout = {budget}; {text}".encode())
    while cursor.nextset():
        pass
    row = cursor.fetchone()
    assert row is not None
    if "{after}" in statement:
        _, seen, ahead, aside = row
        return _Turn(seen=seen, ahead=ahead or 0, aside=aside or 0)
    # It begins with what is there, each time.
    return _Turn(seen=None if int(row[0] or 0) < most else 0, ahead=most)
