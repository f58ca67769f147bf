"""Compare a table with its shadow while applications write to both, and copy once more what differs.

One statement is one snapshot, and a write commits to both tables at once: so what differs in it does differ. Such a
row is first deleted from the shadow, then copied as all others were: read with a lock, and only if the shadow has
none. Whatever an application writes in between is there, or comes there by its trigger. As the copy does, this waits
for no lock while it holds one.
"""

import random
import time
from collections.abc import Callable, Sequence

import pymysql

from profiles.model import Limits
from tasks.engines.batches import next_size
from tasks.engines.differences import TIMES, refuse_unless_repaired, unequal
from tasks.engines.journal import Journal
from tasks.engines.mysql.copy import OF_A_ROW, give_up_waiting, rows_not_there
from tasks.engines.mysql.key_ranges import condition, count, end_of_batch, equal_to, last_key
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.transient import LOCKED, code_of
from tasks.engines.records import FIRST_ROWS, Key
from tasks.model.plan import Copy, CopyAgain

MOST = 100
"""As many keys are dealt with in one transaction."""


def copy_again(conn: MariaSession, action: CopyAgain, limits: Limits, journal: Journal) -> None:
    """Compare everything, repair or refuse as the profile says, and record.

    Raises StepError when rows differ and may not be carried over, or still differ after that, LockTimeoutError when
    one of them stays locked. Locks: rows that differ, for one transaction. Each range is one snapshot.
    """
    conn.execute(f"set session innodb_lock_wait_timeout = {conn.dialect.no_wait}")
    compared, repaired = _walk(conn, action, action.copy_of, action.differing, limits, journal)
    repaired += _walk(conn, action, _backwards(action.copy_of), action.superfluous, limits, journal)[1]
    with conn.transaction():
        journal.begin(conn)
        journal.finish(conn)
    journal.waiting(f"{action.table}: {compared:,} rows compared, {repaired:,} carried over, none differs")


def _backwards(copy: Copy) -> Copy:
    """The same copy, walked along the key of the shadow."""
    return copy.model_copy(update={"table": copy.target, "key": copy.target_key})


def _walk(
    conn: MariaSession, action: CopyAgain, walk: Copy, query: tuple[str, str], limits: Limits, journal: Journal
) -> tuple[int, int]:
    """Go through all ranges of a key; return rows compared and keys carried over."""
    high = last_key(conn, walk)
    position: Key | None = None
    size, compared, repaired = FIRST_ROWS, 0, 0
    while high is not None and position != high:
        journal.between()
        end = end_of_batch(conn, walk, position, high, size)
        rows = size if end is not None else count(conn, walk, position, high)
        end = end or high
        asked = f"{query[0]}{condition(walk, position, end)}{query[1]}"
        started = time.monotonic()
        keys = _found(conn, asked)
        took = (time.monotonic() - started) * 1000
        if keys:
            repaired += _until_equal(conn, action, asked, keys, limits, journal)
        compared += rows
        size = next_size(size, took, limits)
        position = end
    return compared, repaired


def _found(conn: MariaSession, query: str) -> list[Key]:
    return [tuple(map(str, row)) for row in conn.execute(query).fetchall()]


def _until_equal(
    conn: MariaSession, action: CopyAgain, asked: str, keys: list[Key], limits: Limits, journal: Journal
) -> int:
    """Carry over what differs in a range, and look again; return how many keys that were."""
    carried, refused = 0, 0
    for _ in range(TIMES):
        if not keys:
            return carried
        refuse_unless_repaired(action.table, len(keys), limits)
        # All of them first: one may hold a value that another is to have, under a unique key.
        _in_turn(conn, action, keys, _taken_away, limits, journal)
        refused = _in_turn(conn, action, keys, _copied, limits, journal)
        carried += len(keys)
        keys = _found(conn, asked)
    if keys:
        raise unequal(action.table, len(keys), f": the server said {refused}" if refused else "")
    return carried


def _taken_away(copy: Copy, keys: Sequence[Key]) -> str:
    walk = _backwards(copy)
    return f"delete s from {copy.target} as s force index (primary) where {equal_to(walk, keys)}"


def _copied(copy: Copy, keys: Sequence[Key]) -> str:
    return rows_not_there(copy, f"({equal_to(copy, keys)})")


def _in_turn(
    conn: MariaSession,
    action: CopyAgain,
    keys: Sequence[Key],
    statement: Callable[[Copy, Sequence[Key]], str],
    limits: Limits,
    journal: Journal,
) -> int:
    """Carry out a statement for all keys, some at a time; return the last error that one row caused, or 0."""
    done, size, refused = 0, MOST, 0
    blocked_since: float | None = None
    while done < len(keys):
        journal.between()
        text = statement(action.copy_of, keys[done : done + size])
        try:
            with conn.transaction():
                # Whoever has taken this run for dead may have swapped by now.
                journal.fence(conn)
                conn.execute(conn.dialect.timed(text, limits.lock_budget))
        except pymysql.err.MySQLError as error:
            code = code_of(error)
            if code in LOCKED:
                blocked_since = blocked_since or time.monotonic()
                give_up_waiting(action.copy_of, blocked_since, limits)
                time.sleep(random.uniform(0.02, 0.1))  # noqa: S311
                size = max(size // 4, 1)
                continue
            if code not in OF_A_ROW:
                raise
            if size > 1:
                size = 1
                continue
            # It may fit once another row is what it should be.
            refused = code or 0
        blocked_since = None
        done, size = done + size, min(size * 2, MOST)
    return refused
