"""Carry over what triggers have noted, in short transactions, beside the applications."""

import random
import time
from collections.abc import Callable

import psycopg

from profiles.model import Limits
from tasks.engines.batches import next_size
from tasks.engines.postgresql.blockers import Connection
from tasks.model.errors import DataChanged, LockTimeoutError

FIRST_NOTES = 500
"""As many notes are carried in the first transaction."""


def drain(
    conn: Connection,
    statement: str,
    limits: Limits,
    *,
    between: Callable[[], None] = lambda: None,
    waiting: Callable[[str], None] = lambda _: None,
) -> None:
    """Call a statement, each time in a transaction of its own, until a call finds less to do than it may.

    `{most}` in the statement stands for how much that is. What it holds, it holds for the lock budget at most. Notes
    may be left: of rows that others have locked, and those that came meanwhile; whatever needs all of them takes its
    locks and carries the rest. Raises LockTimeoutError when no call comes to its end within the patience.
    """
    most, started, moved = FIRST_NOTES, time.monotonic(), time.monotonic()
    # Well within the budget, so that the next call is seldom cancelled.
    sizing = limits.model_copy(update={"batch_target": max(min(limits.batch_target, limits.lock_budget // 3), 1)})
    while statement:
        between()
        begun = time.monotonic()
        try:
            carried = _call(conn, statement.replace("{most}", str(most)), limits.lock_budget)
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
                    hint="End the transaction that has locked those rows, or make `up` faster; then run again.",
                    changed=DataChanged.PARTIALLY,
                ) from error
            most = max(most // 10, 1)
            time.sleep(random.uniform(0.05, 0.3))  # noqa: S311
            continue
        except psycopg.errors.UndefinedFunction:
            # It went with a step whose commit was cut off; the step itself finds in the ledger that it is done.
            return
        if carried < most:
            return
        moved = time.monotonic()
        if moved - started > limits.lock_patience:
            waiting("applications note faster than it can be carried over; the rest is carried under the locks")
            return
        most = next_size(most, (moved - begun) * 1000, sizing)


def _call(conn: Connection, statement: str, budget: int) -> int:
    """One message, one transaction: no row stays locked while this process does something else."""
    cursor = conn.execute(
        f"set local lock_timeout = {max(budget // 2, 1)}; set local statement_timeout = {budget}; {statement}".encode()
    )
    while cursor.nextset():
        pass
    row = cursor.fetchone()
    return int(row[0]) if row else 0
