"""Fill new columns of existing rows, or a shadow table: a transaction a range, the cursor committed with its batch."""

import random
import time
from collections.abc import Callable, Sequence
from functools import partial

import psycopg

from profiles.model import Limits
from tasks.engines.batches import next_size
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.copy import copy_range, first_of_shadow, lock_first
from tasks.engines.postgresql.drain import drain
from tasks.engines.postgresql.key_ranges import condition, count, end_of_batch
from tasks.engines.postgresql.planning.dual_write import BACKFILL_SETTING
from tasks.engines.postgresql.short_transaction import committed_by_its_last_message, idle_limit
from tasks.engines.postgresql.transient import is_transient
from tasks.engines.records import Checkpoint, Key, Shard
from tasks.model.errors import DataChanged, LockTimeoutError, StepError, TransientError
from tasks.model.names import quote
from tasks.model.plan import Backfill, Copy


def prepare(conn: Connection, action: Backfill | Copy) -> None:
    """Make a session one of the backfill: dual write leaves its rows alone.

    A lost commit loses the batch and its cursor together, so commits need not wait for the disk.
    """
    conn.execute(f"set {BACKFILL_SETTING} = 'on'")
    conn.execute("set synchronous_commit = off")
    conn.execute("set jit = off")
    # Rows hidden by a policy would silently stay empty: an error is better.
    conn.execute("set row_security = off")
    if isinstance(action, Backfill) and action.bypass_triggers:
        conn.execute("set session_replication_role = replica")


CAREFUL = 10
"""As many batches of a copy expect rows of applications in the shadow, once one has met them."""


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
    position, size, done, batches, failures = shard.position, shard.batch_rows, 0, 0, 0
    row_wait = _row_lock_timeout(conn, limits)
    blocked_since: float | None = None
    careful = 0
    while position != shard.high:
        size = between(size) or size
        end = end_of_batch(conn, action, position, shard.high, size)
        record = partial(checkpoint, batches)
        text = statement(action, position, end or shard.high)
        alone = not careful and isinstance(action, Copy) and _is_empty(conn, action, position, end or shard.high)
        if alone and isinstance(action, Copy):
            text = copy_range(action, position, end or shard.high, alone=True)
        try:
            rows, after = _batch(conn, action, position, end or shard.high, limits, row_wait, size, record, end, text)
        except (psycopg.errors.DataError, psycopg.errors.IntegrityError) as error:
            if alone:
                # Dual write was faster: the same range again, and what is there stays.
                careful = CAREFUL
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
            _give_up_at_one(action, size, failures, limits)
            size = max(size // 10, 1)
            continue
        except psycopg.errors.LockNotAvailable:
            blocked_since = blocked_since or time.monotonic()
            _give_up_waiting(action, blocked_since, limits)
            size = max(size // 2, 1)
            time.sleep(random.uniform(0.1, 0.5))  # noqa: S311
            continue
        except psycopg.Error as error:
            failures += 1
            if conn.closed or not is_transient(error) or failures >= limits.attempts:
                raise
            size = max(size // 2, 1)
            time.sleep(random.uniform(0.05, 0.2) * 2**failures)  # noqa: S311
            continue
        failures, blocked_since, careful = 0, None, max(careful - 1, 0)
        done += rows
        batches += 1
        position, size = end or shard.high, after
    return done


def _batch(
    conn: Connection,
    action: Backfill | Copy,
    low: Sequence[str] | None,
    high: Sequence[str],
    limits: Limits,
    row_wait: int,
    size: int,
    checkpoint: Callable[[Connection, Key, int, int], None],
    end: Key | None,
    text: str,
) -> tuple[int, int]:
    """Fill one range and move the cursor, in one transaction; return rows and the size of the next batch.

    The cursor moves first, and the commit travels with the update: row locks are held for as long as the server
    needs, and never for this process, which may be slow.
    """
    scanned = size if end is not None else count(conn, action, low, high)
    with committed_by_its_last_message(conn):
        checkpoint(conn, tuple(high), scanned, size)
        conn.execute(
            f"set local lock_timeout = {row_wait}; set local statement_timeout = {limits.lock_budget};"
            f" set local idle_in_transaction_session_timeout = {idle_limit(limits.lock_budget)}"
        )
        if isinstance(action, Copy):
            conn.execute(lock_first(action))
        started = time.monotonic()
        last = [text, action.after, "commit"] if isinstance(action, Copy) and action.after else [text, "commit"]
        rows = conn.execute("\n;\n".join(last)).rowcount
    took = (time.monotonic() - started) * 1000
    return rows, next_size(size, took, limits) if end is not None else size


def _is_empty(conn: Connection, action: Copy, low: Sequence[str] | None, high: Sequence[str]) -> bool:
    """Whether the shadow has no row of a range at this moment: only a hint, the key itself keeps rows apart."""
    query = first_of_shadow(action, low, high)
    return query is not None and conn.execute(query.encode()).fetchone() is None


def statement(action: Backfill | Copy, low: Sequence[str] | None, high: Sequence[str] | None) -> str:
    """The statement of one batch."""
    return copy_range(action, low, high) if isinstance(action, Copy) else update(action, low, high)


def update(action: Backfill, low: Sequence[str] | None, high: Sequence[str] | None) -> str:
    """The statement of one batch: only rows that nobody has filled yet.

    A row that changes meanwhile is read again by the server (READ COMMITTED), so `up` sees its newest values.
    """
    assignments = ", ".join(f"{quote(a.column)} = ({a.expression}\n)" for a in action.assignments)
    empty = " and ".join(f"{quote(a.column)} is null" for a in action.assignments)
    return (
        f"update {action.table} as {quote(action.alias)} set {assignments}"
        f" where {condition(action, low, high)} and {empty}"
    )


def _row_lock_timeout(conn: Connection, limits: Limits) -> int:
    """Give way before the server looks for deadlocks, so that it never picks the application as the victim."""
    row = conn.execute("select extract(epoch from current_setting('deadlock_timeout')::interval) * 1000").fetchone()
    deadlock = int(row[0]) if row else 1000
    return max(min(limits.lock_budget // 2, deadlock // 2), 1)


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
    columns = ", ".join(a.column for a in action.assignments)
    return StepError(
        f"`up` fails on a row that exists: {error.sqlstate} {type(error).__name__}",
        where=f"{action.table} ({columns})",
        hint="Correct `up`, or the row: select the key of rows for which the expression fails.",
        changed=DataChanged.PARTIALLY,
    )
