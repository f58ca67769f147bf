"""Fill new columns of existing rows, or a shadow table: a transaction a range, the cursor committed with its batch."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg

from profiles.model import Limits
from tasks.engines.batches import next_size
from tasks.engines.postgresql.blockers import Connection, before_deadlocks
from tasks.engines.postgresql.copy import copy_range, first_of_shadow, lock_first
from tasks.engines.postgresql.drain import drain
from tasks.engines.postgresql.key_ranges import condition, count, end_of_batch
from tasks.engines.postgresql.parts import FEW, PARTS, belongs, in_parts, stayed, worth_it
from tasks.engines.postgresql.planning.dual_write import OURS
from tasks.engines.postgresql.short_transaction import committed_by_its_last_message, idle_limit
from tasks.engines.postgresql.transient import is_transient
from tasks.engines.records import Checkpoint, Key, Shard
from tasks.model.errors import DataChanged, LockTimeoutError, StepError, TransientError
from tasks.model.names import quote
from tasks.model.steps import Backfill, Copy


def prepare(conn: Connection, action: Backfill | Copy) -> None:
    """Make a session one of the backfill: dual write leaves its rows alone.

    A lost commit loses the batch and its cursor together, so commits need not wait for the disk.
    """
    conn.execute(OURS)
    # The sign of ours is what vacuum reckons for a page: an ANALYZE of ours does not sleep by it.
    conn.execute("set vacuum_cost_delay = 0")
    conn.execute("set synchronous_commit = off")
    conn.execute("set jit = off")
    # Rows hidden by a policy would silently stay empty: an error is better.
    conn.execute("set row_security = off")
    if isinstance(action, Backfill) and action.bypass_triggers:
        conn.execute("set session_replication_role = replica")


DRAIN_EVERY = 30.0
"""So often a copy carries over what is noted, seconds."""
CAREFUL = 10
"""As many batches of a copy expect rows of applications in the shadow, once one has met them; and as many ranges of a
backfill are done in one go, once it was not worth it to fill one in parts."""


def fill(
    conn: Connection,
    action: Backfill | Copy,
    shard: Shard,
    limits: Limits,
    checkpoint: Checkpoint,
    between: Callable[[int], int | None],
) -> int:
    """Work through a shard and return the rows filled.

    Row locks are held for one batch, which the server cancels at the lock budget. `between` is called before
    each batch with the size that it would have; it may wait, raise Paused, or return another size.
    """
    prepare(conn, action)
    course = _Course(position=shard.position, size=shard.batch_rows)
    row_wait = before_deadlocks(conn, limits.lock_budget // 2)
    blocked_since: float | None = None
    failures, drained = 0, time.monotonic()
    divided = isinstance(action, Backfill) and in_parts(conn, action)
    while course.position != shard.high:
        course.size = between(course.size) or course.size
        drained = _drained(conn, action, limits, partial(between, course.size), drained)
        end = end_of_batch(conn, action, course.position, shard.high, course.size)
        high = end or shard.high
        scanned = course.size if end is not None else count(conn, action, course.position, high)
        alone = not course.careful and isinstance(action, Copy) and _is_empty(conn, action, course.position, high)
        texts = _statements(action, course, high, alone=alone, divided=divided and scanned >= FEW)
        try:
            took = _work(conn, action, course, texts, high, scanned, limits, row_wait, checkpoint)
        except (psycopg.errors.DataError, psycopg.errors.IntegrityError) as error:
            if alone:
                # Dual write was faster: the same range again, and what is there stays.
                course.careful = CAREFUL
                continue
            failures += 1
            if not isinstance(action, Copy) or isinstance(error, psycopg.DataError) or failures >= limits.attempts:
                raise _bad_row(action, error) from None
            # A row that is gone, and only noted to be, may still stand in the shadow.
            drain(conn, action.drain, limits)
            time.sleep(random.uniform(0.05, 0.2) * 2**failures)  # noqa: S311
            continue
        except psycopg.errors.QueryCanceled:
            failures += 1
            _give_up_at_one(action, course.size, failures, limits)
            course.size = max(course.size // 10, 1)
            continue
        except psycopg.errors.LockNotAvailable:
            blocked_since = blocked_since or time.monotonic()
            _give_up_waiting(action, blocked_since, limits)
            course.size = max(course.size // 2, 1)
            time.sleep(random.uniform(0.1, 0.5))  # noqa: S311
            continue
        except psycopg.Error as error:
            failures += 1
            if conn.closed or not is_transient(error) or failures >= limits.attempts:
                raise
            course.size = max(course.size // 2, 1)
            time.sleep(random.uniform(0.05, 0.2) * 2**failures)  # noqa: S311
            continue
        failures, blocked_since = 0, None
        if end is not None:
            course.size = next_size(course.size, took, limits)
    return course.done


@dataclass
class _Course:
    """How far a shard is, and how it goes on."""

    position: Key | None
    size: int
    done: int = 0
    batches: int = 0
    careful: int = 0


def _statements(action: Backfill | Copy, course: _Course, high: Key, *, alone: bool, divided: bool) -> list[str]:
    """Return the statements of a range, each of a transaction: the last of them would do by itself."""
    low = course.position
    if isinstance(action, Copy):
        return [copy_range(action, low, high, alone=alone)]
    # Not before there is a position to stay at.
    parts = range(1, PARTS) if divided and not course.careful and low is not None else ()
    return [*(update(action, low, high, part) for part in parts), update(action, low, high)]


def _work(
    conn: Connection,
    action: Backfill | Copy,
    course: _Course,
    texts: Sequence[str],
    high: Key,
    scanned: int,
    limits: Limits,
    row_wait: int,
    checkpoint: Checkpoint,
) -> float:
    """Fill a range, a transaction a statement; the last one moves the cursor. Return how long the longest took, in ms.

    What was committed before one that fails is kept in the course.
    """
    longest = 0.0
    for number, text in enumerate(texts, 1):
        last = number == len(texts)
        to, counted = high, scanned
        if not last and course.position is not None:
            to, counted = course.position, 0
        moved = partial(checkpoint, course.batches, conn, to, counted, course.size)
        asked = stayed(action) if last and number > 1 and isinstance(action, Backfill) else ""
        rows, kept, took = _batch(conn, action, limits, row_wait, moved, text, asked)
        course.done += rows
        course.batches += 1
        longest = max(longest, took)
    course.position, course.careful = high, max(course.careful - 1, 0)
    if len(texts) > 1 and not worth_it(rows, kept, scanned):
        course.careful, course.size = CAREFUL, max(course.size // len(texts), 1)
    return longest


def _batch(
    conn: Connection,
    action: Backfill | Copy,
    limits: Limits,
    row_wait: int,
    moved: Callable[[], None],
    text: str,
    asked: str,
) -> tuple[int, int, float]:
    """Carry out a statement and move the cursor, in one transaction; return rows, what became of `asked`, and ms.

    The cursor moves first, and the commit travels with the update: row locks are held for as long as the server
    needs, and never for this process, which may be slow.
    """
    with committed_by_its_last_message(conn):
        moved()
        conn.execute(
            f"set local lock_timeout = {row_wait}; set local statement_timeout = {limits.lock_budget};"
            f" set local idle_in_transaction_session_timeout = {idle_limit(limits.lock_budget)}"
        )
        if isinstance(action, Copy):
            conn.execute(lock_first(action))
        before = _number(conn.execute(asked.encode())) if asked else 0
        after = action.after if isinstance(action, Copy) else asked
        started = time.monotonic()
        answer = conn.execute("\n;\n".join(one for one in (text, after, "commit") if one))
        took = (time.monotonic() - started) * 1000
        rows = answer.rowcount
        counted = _number(answer) - before if asked and answer.nextset() else 0
    return rows, counted, took


def _number(cursor: psycopg.Cursor[Any]) -> int:
    row = cursor.fetchone()
    return int(row[0]) if row else 0


def _drained(
    conn: Connection, action: Backfill | Copy, limits: Limits, between: Callable[[], object], last: float
) -> float:
    """Carry over what is noted, and return when: a copy of many hours must not leave all of that to who comes after."""
    if not isinstance(action, Copy) or time.monotonic() - last < DRAIN_EVERY:
        return last
    drain(conn, action.drain, limits, between=between)
    return time.monotonic()


def _is_empty(conn: Connection, action: Copy, low: Sequence[str] | None, high: Sequence[str]) -> bool:
    """Whether the shadow has no row of a range at this moment: only a hint, the key itself keeps rows apart."""
    query = first_of_shadow(action, low, high)
    return query is not None and conn.execute(query.encode()).fetchone() is None


def update(action: Backfill, low: Sequence[str] | None, high: Sequence[str] | None, part: int | None = None) -> str:
    """The statement of one batch, or of a part of it: only rows that nobody has filled yet.

    A row that changes meanwhile is read again by the server (READ COMMITTED), so `up` sees its newest values.
    """
    assignments = ", ".join(f"{quote(a.column)} = ({a.expression}\n)" for a in action.assignments)
    empty = " and ".join(f"{quote(a.column)} is null" for a in action.assignments)
    return (
        f"update {action.table} as {quote(action.alias)} set {assignments}"
        f" where {condition(action, low, high)} and {empty}"
        + (f" and {belongs(action, part)}" if part is not None else "")
    )


def _give_up_waiting(action: Backfill | Copy, since: float, limits: Limits) -> None:
    if time.monotonic() - since > limits.lock_patience:
        raise LockTimeoutError(
            f"rows of {action.table} are locked by another transaction for more than {limits.lock_patience:g} s",
            where=action.table,
            hint="End that transaction, then run again: the backfill goes on where it stopped.",
            changed=DataChanged.PARTIALLY,
        )


def _give_up_at_one(action: Backfill | Copy, size: int, failures: int, limits: Limits) -> None:
    if size <= 1 and failures >= limits.attempts:
        raise TransientError(
            f"a single row of {action.table} cannot be filled within the lock budget of {limits.lock_budget} ms",
            where=action.table,
            hint="Make `up` faster, or raise limits.lock_budget in the profile.",
            changed=DataChanged.PARTIALLY,
        )


def _bad_row(action: Backfill | Copy, error: psycopg.Error) -> StepError:
    if isinstance(action, Copy) and isinstance(error, psycopg.IntegrityError) and error.diag.constraint_name:
        return StepError(
            f"a row that exists breaks {error.diag.constraint_name}: {error.sqlstate} {type(error).__name__}",
            where=action.table,
            hint="`changeover validate --gate before_run` names such rows: correct them, then run again.",
            changed=DataChanged.PARTIALLY,
        )
    columns = ", ".join(a.column for a in action.assignments)
    return StepError(
        f"`up` fails on a row that exists: {error.sqlstate} {type(error).__name__}",
        where=f"{action.table} ({columns})",
        hint="Correct `up`, or the row: select the key of rows for which the expression fails.",
        changed=DataChanged.PARTIALLY,
    )
