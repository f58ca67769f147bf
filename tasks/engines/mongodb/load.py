"""Copy a range of rows, batch by batch: written to MongoDB first, then the cursor commits.

Killed in between, the batch is copied once more: its documents have the same `_id`, and are replaced.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne
from pymongo.collection import Collection as Documents
from pymongo.errors import BulkWriteError

from profiles.model import Limits
from tasks.engines.batches import copied
from tasks.engines.mongodb.ahead import Batch, reading
from tasks.engines.mongodb.document import LARGEST, TOO_LARGE, Made
from tasks.engines.mongodb.sides import side_of
from tasks.engines.postgresql import rejections
from tasks.engines.records import Checkpoint, Key, Shard
from tasks.engines.session import Session
from tasks.model.transfer_steps import DocumentTransfer

BATCH_BYTES = 8 * 1024 * 1024
"""About the most that a batch has: what is held in memory, twice."""
MOST_ROWS = 20_000
_FIRST = 100
"""So many rows has the first batch."""
_MANY = 2000
"""So many are written in two parts."""
_DUPLICATE = 11000


def load(
    conn: Session,
    ahead: Session,
    into: Documents[Any],
    action: DocumentTransfer,
    shard: Shard,
    number: int,
    limits: Limits,
    checkpoint: Checkpoint,
    between: Callable[[int], int | None],
    search_path: str = "",
) -> int:
    """Work through a shard and return the rows read; `ahead` is the session on which they are.

    `between` is called before each batch is written with the size that the next one would have; it may wait, raise
    Paused, or return another size. No lock that writers wait for is held while MongoDB is written.
    """
    position, done, batches = shard.position, 0, 0
    # How large the rows are nobody knows yet, and two batches are held at once.
    size = min(shard.batch_rows, _FIRST)
    with reading(ahead, action, shard.high, search_path) as reader:
        while position != shard.high:
            size = between(size) or size
            batch = reader.take(position, size)
            if not batch.last:
                # Of rows of this size: how large the next ones are is not known before they are read.
                reader.begin(batch.high, fitting(size, batch.rows, batch.bytes))
            started = time.monotonic()
            with conn.transaction():
                _batch(conn, into, action, batch, number, size, partial(checkpoint, batches))
            took = max(time.monotonic() - started, batch.took)
            done += batch.rows
            batches += 1
            position = batch.high
            if not batch.last:
                # By what it was to have: it was begun before the one before it was known.
                size = fitting(copied(batch.asked, took, limits, MOST_ROWS), batch.rows, batch.bytes)
    return done


def _batch(
    conn: Session,
    into: Documents[Any],
    action: DocumentTransfer,
    batch: Batch,
    number: int,
    size: int,
    checkpoint: Callable[[Session, Key, int, int], None],
) -> None:
    refuse_undecided(action, batch.made)
    # It fences: until this transaction ends nobody can take over, so no older run writes beside a newer one.
    checkpoint(conn, batch.high, batch.rows, size)
    kept = [*batch.ready, *(one.document for one in batch.made if not one.rejected)]
    if any(len(one) > LARGEST for one in batch.ready):
        rejections.refuse_undecided(action.table, (TOO_LARGE,))
    written = write(into, kept)
    note(conn, action, number, batch.made, written, others=len(batch.ready))


def write(into: Documents[Any], encoded: list[bytes]) -> int:
    """Write documents, each in the place of one with the same `_id`; return how many the server has taken.

    Many of them by two sessions: the server works on what one sends by one thread.
    """
    if len(encoded) < _MANY:
        return _written(into, encoded) if encoded else 0
    half = len(encoded) // 2
    with ThreadPoolExecutor(1, thread_name_prefix="write beside") as beside:
        others = beside.submit(_written, into, encoded[:half])
        return _written(into, encoded[half:]) + others.result()


def _written(into: Documents[Any], encoded: list[bytes]) -> int:
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


def note(conn: Session, action: DocumentTransfer, number: int, made: list[Made], written: int, others: int = 0) -> None:
    """Write down which rows were left out, and why, and count; raise StepError where a row has got lost.

    `others` were written, too, and there is nothing to tell about them.
    """
    side, read = side_of(conn), len(made) + others
    if any(one.touched for one in made):
        side.note_rejected(conn, action, [(one.key, one.touched) for one in made])
    rejected = sum(bool(one.rejected) for one in made)
    rejections.refuse_lost(action.table, read, written, rejected)
    side.account(conn, action, number, read, written, rejected)
