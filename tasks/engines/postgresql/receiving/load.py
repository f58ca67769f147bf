"""Write a range of rows, batch by batch: rows, account and position in one transaction, then the cursor commits.

Both transactions are open while the one commits and then the other. Killed in between, the position here is one batch
ahead of the cursor, and the next run begins with it: so no batch is written twice.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final

from profiles.model import Limits
from tasks.engines.batches import copied
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.receiving.place import hold
from tasks.engines.postgresql.receiving.source import Reading
from tasks.engines.postgresql.rejections import note_rejected, refuse_lost, refuse_undecided
from tasks.engines.records import Checkpoint, Key, Line, Shard
from tasks.engines.session import Session
from tasks.model.base import Record
from tasks.model.errors import DataChanged, FencedError, StepError
from tasks.model.names import quote
from tasks.model.transfer_steps import RowTransfer, TransferColumn

MOST_ROWS: Final = 50_000
_HELD: Final = 1 << 18
"""Bytes that are sent together."""


class Written(Record):
    """What became of some rows."""

    read: int
    written: int
    rejected: int


def load(
    conn: Connection,
    ledger: Session,
    reading: Reading,
    action: RowTransfer,
    shard: Shard,
    number: int,
    epoch: int,
    limits: Limits,
    checkpoint: Checkpoint,
    between: Callable[[int], int | None],
) -> int:
    """Work through a shard and return the rows read.

    `between` is called before each batch with the size that it would have; it may wait, raise Paused, or return another
    size. Nothing is locked in the source. Raises FencedError when a newer run has taken over.
    """
    conn.execute("set statement_timeout = 0")
    done, batches, size = 0, 0, min(shard.batch_rows, MOST_ROWS)
    position, ahead = _resumed(conn, action, shard, number)
    if ahead is not None:
        with ledger.transaction():
            assert position is not None
            checkpoint(0, ledger, position, ahead, size)
        done, batches = ahead, 1
    while position != shard.high:
        size = between(size) or size
        end = reading.end_of_batch(action, position, shard.high, size)
        high = end or shard.high
        started = time.monotonic()
        record = partial(checkpoint, batches)
        done += _batch(conn, ledger, reading, action, (position, high), number, epoch, size, record)
        batches += 1
        position = high
        if end is not None:
            size = copied(size, time.monotonic() - started, limits, MOST_ROWS)
    return done


def _resumed(conn: Connection, action: RowTransfer, shard: Shard, number: int) -> tuple[Key | None, int | None]:
    """Return how far the rows are and, where that is further than the cursor says, how many rows it is further."""
    row = conn.execute(f"select position, previous, last from {action.account} where shard = %s", (number,)).fetchone()
    if row is None:
        return shard.position, None
    position, previous = (None if one is None else tuple(one) for one in row[:2])
    if position == shard.position:
        return position, None
    if previous == shard.position:
        return position, int(row[2])
    raise StepError(
        "ledger and table do not agree on how far the copy is: a database has lost what it had committed",
        where=f"{action.into.database}: {action.into.full_name}",
        hint="Roll back, then run again: it copies everything anew.",
        changed=DataChanged.PARTIALLY,
    )


def _batch(
    conn: Connection,
    ledger: Session,
    reading: Reading,
    action: RowTransfer,
    span: tuple[Key | None, Key],
    number: int,
    epoch: int,
    size: int,
    checkpoint: Callable[[Session, Key, int, int], None],
) -> int:
    low, high = span
    # The inner one commits first. The ledger's begins when the rows are there: it would be ended for its idleness.
    with ExitStack() as outer, conn.transaction():
        hold(conn, action.into, epoch)
        # First: whoever else works on this range waits for it, and then finds that it is done.
        _advance(conn, action, number, span)
        written = write(conn, action, action.into.staged, reading.lines(action, low, high))
        conn.execute(
            f"update {action.account} set last = %(read)s, read = read + %(read)s, written = written + %(written)s,"
            " rejected = rejected + %(rejected)s where shard = %(shard)s",
            {"shard": number, **written.model_dump()},
        )
        outer.enter_context(ledger.transaction())
        checkpoint(ledger, high, written.read, size)
    return written.read


def _advance(conn: Connection, action: RowTransfer, number: int, span: tuple[Key | None, Key]) -> None:
    """Move the position; raises FencedError when another worker has moved it."""
    low, high = (None if one is None else list(one) for one in span)
    moved = conn.execute(
        f"insert into {action.account} as a (shard, position, previous) values (%(shard)s, %(high)s, %(low)s)"
        " on conflict (shard) do update set position = excluded.position, previous = excluded.previous"
        " where a.position is not distinct from %(low)s::text[]",
        {"shard": number, "high": high, "low": low},
    ).rowcount
    if not moved:
        raise FencedError(
            "another worker has moved this position",
            where=f"{action.into.full_name}, shard {number}",
            hint="Let the other worker finish; the batch of this one is rolled back.",
            changed=DataChanged.ROLLED_BACK,
        )


def write(conn: Connection, action: RowTransfer, into: str, lines: Iterable[Line]) -> Written:
    """Write rows into a table, and note which are left out, and why; raises StepError where one is lost."""
    read, rejected = 0, []

    def kept() -> Iterator[Line]:
        nonlocal read
        for one in lines:
            read += one.rows
            if one.touched:
                refuse_undecided(action.table, one.touched)
                rejected.append((one.key, one.touched))
            else:
                yield one

    written = send(conn, into, action.columns, kept())
    note_rejected(conn, action.rejected, rejected)
    refuse_lost(action.table, read, written, len(rejected))
    return Written(read=read, written=written, rejected=len(rejected))


def send(conn: Connection, into: str, columns: Sequence[TransferColumn], lines: Iterable[Line]) -> int:
    """Send lines as they come, and return how many rows they have become. Few are held, whatever their size."""
    listed = ", ".join(quote(one.name) for one in columns)
    with conn.cursor() as cursor:
        with cursor.copy(f"copy {into} ({listed}) from stdin".encode()) as copy:
            held = bytearray()
            for one in lines:
                held += one.line + b"\n"
                if len(held) >= _HELD:
                    copy.write(bytes(held))
                    held.clear()
            copy.write(bytes(held))
        return cursor.rowcount
