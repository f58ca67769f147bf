"""Copy rows into the shadow: a transaction a range, the cursor committed with its batch.

Every row that is read stays locked until the batch commits, so that none comes back that somebody deletes meanwhile.
The copy never waits for a lock while it holds one, so it is never part of a deadlock, and no application is its victim:
a row that somebody else has locked ends the batch at once, and a smaller one is tried. So does the lock budget.
"""

import random
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import partial
from math import ceil
from typing import Final

import pymysql

from profiles.model import Limits
from tasks.engines.batches import PANIC, next_size
from tasks.engines.mysql.key_ranges import condition, count, end_of_batch, keys_within, kind_of, one_of
from tasks.engines.mysql.names import quote
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.transient import LOCKED, OUT_OF_TIME, code_of
from tasks.engines.records import Checkpoint, Key, Shard
from tasks.model.errors import DataChanged, LockTimeoutError, StepError, TransientError
from tasks.model.names import OWN_PREFIX
from tasks.model.steps import Copy

_BESIDE = f"{OWN_PREFIX}beside"
OF_A_ROW: Final = frozenset({
    1048, 1062, 1138, 1242, 1263, 1264, 1265, 1292, 1364, 1365, 1366, 1367, 1406, 1411, 1416, 1441,
    1526, 1690, 3819, 4025,
})  # fmt: skip
"""NULLs, duplicates, values that do not fit their type, cannot be computed, or break a check or a partition."""
_ANOTHER_COLLATION: Final = 1267
TOO_LARGE: Final = 1197
"""The transaction has no room in the cache of the binary log."""
_MOST_THERE: Final = 100
"""Of as many rows that applications have written into a range of the shadow the keys are named to the copy."""
_SHARE: Final = 20
"""For which part of the lock budget a batch should hold its rows: whoever writes to one waits until it commits."""
_FEW: Final = 100
"""Before a batch becomes smaller than this it is looked for how long a single row is held: less is not to be had."""
_BY_CHANCE: Final = 2
"""As many batches before it tell whether one has taken longer by chance."""
_ANEW: Final = 100
"""After as many batches that is forgotten: a server need not stay slow."""


def fill(
    conn: MariaSession,
    action: Copy,
    shard: Shard,
    limits: Limits,
    checkpoint: Checkpoint,
    between: Callable[[int], int | None],
) -> int:
    """Work through a shard and return the rows copied; see `Engine.fill`."""
    position, size, done, batches = shard.position, shard.batch_rows, 0, 0
    blocked_since: float | None = None
    duplicates, too_slow, careful, most, least_ms = 0, 0, False, 0, 0.0
    of_a_row: deque[float] = deque(maxlen=_BY_CHANCE)
    conn.execute(f"set session innodb_lock_wait_timeout = {conn.dialect.no_wait}")
    while position != shard.high:
        size = between(size) or size
        size = min(size, most or size)
        end = end_of_batch(conn, action, position, shard.high, size)
        there = None if careful else keys_there(conn, action, position, end or shard.high)
        text = statement(action, position, end or shard.high, there)
        try:
            rows, held_ms = _batch(
                conn, action, position, end, shard.high, size, limits, partial(checkpoint, batches), text
            )
        except pymysql.err.MySQLError as error:
            code = code_of(error)
            if there is not None and code == 1062 and not conn.closed:
                # Dual write was faster: the same range again, and what is there stays.
                careful = True
                continue
            if code == OUT_OF_TIME:
                too_slow += size == 1
                give_up_at_one(action, too_slow, limits)
            elif code in LOCKED:
                blocked_since = blocked_since or time.monotonic()
                give_up_waiting(action, blocked_since, limits)
            elif code == TOO_LARGE and size > 1:
                # And no larger one again: what fits is less than this.
                most = max(size // 2, 1)
            elif code == 1062 and duplicates < 3 and not conn.closed:
                # A row that came into both tables between two looks at them is there at the next look.
                duplicates += 1
            elif code in OF_A_ROW:
                raise _bad_row(action, code) from None
            else:
                raise
            size = max(size // 4, 1)
            of_a_row.clear()
            time.sleep(random.uniform(0.02, 0.1))  # noqa: S311
            continue
        blocked_since, duplicates, too_slow, careful = None, 0, 0, False
        done += rows
        batches += 1
        position = end or shard.high
        if end is not None:
            least_ms = least_after(size, held_ms, least_ms, batches)
            size, took = size_after(size, held_ms, least_ms, limits, of_a_row), held_ms / size
            of_a_row.append(took)
    return done


def _batch(
    conn: MariaSession,
    action: Copy,
    low: Key | None,
    end: Key | None,
    last: Key,
    size: int,
    limits: Limits,
    checkpoint: Callable[[MariaSession, Key, int, int], None],
    text: str,
) -> tuple[int, float]:
    """Copy a batch; return its rows, and for how many milliseconds they were locked, which COMMIT ends."""
    high = end or last
    scanned = size if end is not None else count(conn, action, low, high)
    with conn.transaction():
        checkpoint(conn, high, scanned, size)
        started = time.monotonic()
        rows = conn.execute(conn.dialect.timed(text, limits.lock_budget)).rowcount
    return rows, (time.monotonic() - started) * 1000


def least_after(size: int, held_ms: float, least_ms: float, batches: int) -> float:
    """Return for how long a row is held by itself, as far as the batches up to this one tell; 0 for not known (yet)."""
    if size == 1:
        return held_ms
    return min(least_ms, held_ms) if batches % _ANEW else 0.0


def size_after(size: int, held_ms: float, least_ms: float, limits: Limits, of_a_row: Collection[float] = ()) -> int:
    """Aim at a share of the lock budget, within the target of a batch; or at twice what a row takes by itself.

    On a server that is slow to answer, or to commit, batches of a few rows would hold them no shorter, and never come
    to an end. `least_ms`: of a row by itself, or of a larger batch that was faster; 0 when no row has been tried yet.
    It is not taken from what else a batch does: much of that takes longer the more rows there are. `of_a_row`: what
    each row took in the batches before. One that something else has kept waiting says nothing of the next: on a busy
    machine most are, and batches that become the smaller for it hold their rows no shorter, and cost the server more.
    """
    target = max(min(limits.batch_target, limits.lock_budget // _SHARE), ceil(2 * least_ms), 1)
    if of_a_row and held_ms <= PANIC * target:
        held_ms = min(held_ms, size * min(of_a_row))
    wanted = next_size(size, held_ms, limits.model_copy(update={"batch_target": target}))
    return 1 if not least_ms and wanted < min(size, _FEW) else wanted


def keys_there(
    conn: MariaSession, action: Copy, low: Sequence[str] | None, high: Sequence[str] | None
) -> tuple[Key, ...] | None:
    """Return the keys of a range that the shadow has at this moment; None: they are many, or in another order.

    They are read without a lock. A row that was in both tables at one moment is kept in step from then on by each
    transaction that writes to it: there is nothing to be copied of it, whatever becomes of it meanwhile.
    """
    types = {one.column: one.type for one in action.assignments}
    try:
        if tuple(kind_of(types[column]) for column in action.target_key) != action.key_types:
            return None
        beside = action.model_copy(update={"table": action.target, "key": action.target_key})
        keys = keys_within(conn, beside, low, high, _MOST_THERE + 1)
    except KeyError:
        return None
    except pymysql.err.MySQLError as error:
        if code_of(error) != _ANOTHER_COLLATION:
            raise
        return None
    return keys if len(keys) <= _MOST_THERE else None


def statement(
    action: Copy, low: Sequence[str] | None, high: Sequence[str] | None, there: Sequence[Key] | None = None
) -> str:
    """The statement of one batch: the rows of a range that the shadow does not have.

    No IGNORE and no REPLACE: a row that does not fit is an error. A row that is in the shadow already was written there
    by a trigger, and is newer. `there`: those that it had a moment ago, and one that has come since is an error (1062);
    to look each row up takes half as long as to write it.
    """
    within = condition(action, low, high)
    if there is None:
        return rows_not_there(action, within)
    left_out = f" and not {one_of(action, there)}" if there else ""
    return f"{_selected(action)} where {within}{left_out} lock in share mode"


def rows_not_there(action: Copy, within: str) -> str:
    """The statement that copies those rows, of a condition in the names of the table, that the shadow does not have."""
    # Only these names of the shadow are seen by the author's expressions.
    names = [f"{_BESIDE}_{number}" for number in range(len(action.key))]
    beside = ", ".join(f"{quote(column)} as {name}" for column, name in zip(action.target_key, names, strict=True))
    same = " and ".join(
        f"{_BESIDE}.{name} = {quote(action.alias)}.{quote(column)}"
        for column, name in zip(action.key, names, strict=True)
    )
    return (
        f"{_selected(action)} left join (select {beside} from {action.target} lock in share mode) as {_BESIDE}"
        f" on {same} where {within} and {_BESIDE}.{names[0]} is null lock in share mode"
    )


def _selected(action: Copy) -> str:
    targets = ", ".join(quote(a.column) for a in action.assignments)
    values = ", ".join(f"({a.expression}\n)" for a in action.assignments)
    return (
        f"insert into {action.target} ({targets}) select {values} from {action.table} as {quote(action.alias)}"
        " force index (primary)"
    )


def give_up_waiting(action: Copy, since: float, limits: Limits) -> None:
    """Raise LockTimeoutError once rows have been locked by others for longer than the patience."""
    if time.monotonic() - since > limits.lock_patience:
        raise LockTimeoutError(
            f"rows of {action.table} are locked by another transaction for more than {limits.lock_patience:g} s",
            where=action.table,
            hint="End that transaction, then run again: the copy goes on where it stopped.",
            changed=DataChanged.PARTIALLY,
        )


def give_up_at_one(action: Copy, failures: int, limits: Limits) -> None:
    """Raise TransientError once a single row has failed as often as the profile allows."""
    if failures >= limits.attempts:
        raise TransientError(
            f"a single row of {action.table} cannot be copied within the lock budget of {limits.lock_budget} ms",
            where=action.table,
            hint="Make `up` faster, or raise limits.lock_budget in the profile.",
            changed=DataChanged.PARTIALLY,
        )


def _bad_row(action: Copy, code: int | None) -> StepError:
    return StepError(
        f"a row that exists does not fit into the new table: the server said {code}",
        where=action.table,
        hint="Correct the row, or give `up` so that it fits: 1062 is a duplicate, 1406 a text that is too long, 1264 a"
        " number out of range, 1048 a NULL.",
        changed=DataChanged.PARTIALLY,
    )
