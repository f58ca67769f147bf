"""Copy a range of rows, batch by batch: written to MongoDB first, then the cursor commits.

Killed in between, the batch is copied once more: its documents have the same `_id`, and are replaced.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne
from pymongo.collection import Collection as Documents
from pymongo.errors import BulkWriteError

from profiles.model import Limits
from tasks.engines.batches import next_size
from tasks.engines.mongodb.document import Made, documents
from tasks.engines.postgresql import rejections
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.key_ranges import end_of_batch
from tasks.engines.postgresql.transfer_rows import prepare, rows
from tasks.engines.records import Checkpoint, Key, Shard
from tasks.model.transfer_steps import DocumentTransfer

BATCH_BYTES = 8 * 1024 * 1024
"""About the most that a batch has: what is held in memory, twice."""
MOST_ROWS = 20_000
_DUPLICATE = 11000


def load(
    conn: Connection,
    into: Documents[Any],
    action: DocumentTransfer,
    shard: Shard,
    number: int,
    limits: Limits,
    checkpoint: Checkpoint,
    between: Callable[[int], int | None],
) -> int:
    """Work through a shard and return the rows read.

    `between` is called before each batch with the size that it would have; it may wait, raise Paused, or return
    another size. No lock but ACCESS SHARE is held while MongoDB is written.
    """
    prepare(conn)
    position, size, done, batches = shard.position, min(shard.batch_rows, MOST_ROWS), 0, 0
    while position != shard.high:
        size = between(size) or size
        end = end_of_batch(conn, action, position, shard.high, size)
        high = end or shard.high
        started = time.monotonic()
        with conn.transaction():
            read, written_bytes = _batch(conn, into, action, position, high, number, size, partial(checkpoint, batches))
        took = (time.monotonic() - started) * 1000
        done += read
        batches += 1
        position = high
        if end is not None:
            size = min(next_size(size, took, limits), MOST_ROWS)
            size = fitting(size, read, written_bytes)
    return done


def _batch(
    conn: Connection,
    into: Documents[Any],
    action: DocumentTransfer,
    low: Key | None,
    high: Key,
    number: int,
    size: int,
    checkpoint: Callable[[Connection, Key, int, int], None],
) -> tuple[int, int]:
    made = list(documents(action, rows(conn, action, low, high)))
    refuse_undecided(action, made)
    # It fences: until this transaction ends nobody can take over, so no older run writes beside a newer one.
    checkpoint(conn, high, len(made), size)
    kept = [one for one in made if not one.rejected]
    written = write(into, [one.document for one in kept])
    note(conn, action, number, made, written)
    return len(made), sum(len(one.document) for one in kept)


def write(into: Documents[Any], encoded: list[bytes]) -> int:
    """Write documents, each in the place of one with the same `_id`; return how many the server has taken."""
    if not encoded:
        return 0
    raw = [RawBSONDocument(one) for one in encoded]
    try:
        into.insert_many(raw, ordered=False)
    except BulkWriteError as error:
        errors = error.details.get("writeErrors", [])
        if error.details.get("writeConcernErrors") or any(one["code"] != _DUPLICATE for one in errors):
            raise
        inserted = int(error.details["nInserted"])
        again = [raw[one["index"]] for one in errors]
    else:
        return len(raw)
    # A batch that was written before, by a run that was killed before it could say so.
    replaced = into.bulk_write([ReplaceOne({"_id": one["_id"]}, one) for one in again], ordered=False)
    return inserted + replaced.matched_count


def fitting(batch_rows: int, read: int, written_bytes: int) -> int:
    """Return how many rows the next batch may have, so that it is not much larger than it should be."""
    return max(1, min(batch_rows, BATCH_BYTES * read // written_bytes)) if read and written_bytes else batch_rows


def refuse_undecided(action: DocumentTransfer, made: list[Made]) -> None:
    """Raise StepError where a value does not fit, and nothing says what becomes of it."""
    for one in made:
        rejections.refuse_undecided(action.table, one.touched)


def note(conn: Connection, action: DocumentTransfer, number: int, made: list[Made], written: int) -> None:
    """Write down which rows were left out, and why, and count; raise StepError where a row has got lost."""
    rejections.note_rejected(conn, action.rejected, [(one.key, one.touched) for one in made])
    rejected = sum(bool(one.rejected) for one in made)
    rejections.refuse_lost(action.table, len(made), written, rejected)
    conn.execute(
        f"insert into {action.account} as a values (%s, %s, %s, %s) on conflict (shard) do update set"
        " read = a.read + excluded.read, written = a.written + excluded.written,"
        " rejected = a.rejected + excluded.rejected",
        (number, len(made), written, rejected),
    )
