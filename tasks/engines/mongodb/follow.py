"""Carry what was written since the copy began: of every row that is noted, the document becomes what the row now gives.

Notes are dealt with, written to MongoDB, and deleted in this order, in a transaction that fences. Killed before its
commit, the notes are still there, and the same is done once more. A note that commits later is dealt with later.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, ReplaceOne
from pymongo.collection import Collection as Documents

from profiles.model import Limits
from tasks.engines.batches import next_size
from tasks.engines.mongodb.document import Made, documents
from tasks.engines.mongodb.load import BATCH_BYTES, fitting, note, refuse_undecided
from tasks.engines.mongodb.sides import side_of
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.key_ranges import condition, end_of_batch, key_literal, last_key, tuple_of
from tasks.engines.postgresql.rejections import key_text
from tasks.engines.postgresql.transfer_rows import (
    ALL,
    EMBEDDED,
    LOOKUP,
    among,
    note_referring,
    noted,
    one_by_one,
    prepare,
)
from tasks.engines.records import FIRST_ROWS, Key
from tasks.engines.session import Session
from tasks.model.base import Record
from tasks.model.errors import DataChanged, StepError
from tasks.model.names import quote
from tasks.model.transfer_steps import NOTE, DocumentTransfer

MOST: Final = 5000
"""Notes at a time."""
_FEW: Final = 10
"""So many to begin with, where rows of other tables are in the documents: nobody knows how many these are."""
CARRIED: Final = -1
"""Under which number the account has what was carried."""


class Carried(Record):
    """What came of one bite."""

    notes: int
    rows: int = 0
    size: int = 0
    """Bytes of the documents."""
    upto: int = 0
    """The number of the last of these notes."""
    more: bool = False
    """There may be more to do."""
    found: int = 0
    """The number of the first note by which was found out what else has to be carried; 0: there was none."""
    until: int = 0
    """Then: the number of the last note of that."""


def follow(
    conn: Connection,
    into: Documents[Any],
    action: DocumentTransfer,
    limits: Limits,
    fence: Callable[[Connection], object],
    between: Callable[[int], int | None],
) -> int:
    """Carry bite by bite what is noted now, and return how many notes were dealt with.

    The end is fixed at the start, so it comes however fast applications write: what is noted meanwhile is left.
    `between` is called before each with its size; it may wait, raise Paused, or return another. Locks: ACCESS SHARE.
    """
    prepare(conn)
    first = last = _last(conn, action)
    size, total = _FEW if action.embedded else FIRST_ROWS, 0
    while first is not None and last is not None:
        size = min(between(size) or size, MOST)
        started = time.monotonic()
        with conn.transaction():
            fence(conn)
            carried = carry(conn, into, action, size)
        total += carried.notes
        if 0 < carried.found <= first:
            # It was noted by then, only not what it comes to.
            last = max(last, carried.until)
        if not carried.more or carried.upto >= last:
            break
        took = (time.monotonic() - started) * 1000
        size = fitting(next_size(size, took, limits), carried.rows, carried.size)
    return total


def _last(conn: Connection, action: DocumentTransfer) -> int | None:
    row = conn.execute(f"select max({NOTE}) from {action.notes}").fetchone()
    return row[0] if row else None


def carry(
    conn: Connection,
    into: Documents[Any],
    action: DocumentTransfer,
    most: int,
    in_time: Callable[[], None] = lambda: None,
) -> Carried:
    """Deal with up to `most` notes, the oldest first, within a transaction that fences.

    Rows are read by a statement that begins after the notes were seen, so it sees at least what they tell of.
    `in_time` is called for each document, and raises where there is no more time.
    """
    seen = conn.execute(
        f"select {NOTE}, {ALL}, {EMBEDDED}, {LOOKUP} from {action.notes} order by {NOTE} limit {int(most)}"
    ).fetchall()
    if not seen:
        return Carried(notes=0)
    emptied = [number for number, everything, embedded, lookup in seen if everything and not (embedded or lookup)]
    if emptied:
        return _empty(conn, into, action, max(emptied))
    again = [place for place, (_, _, embedded, _) in enumerate(seen) if embedded]
    if again[:1] == [0]:
        return _again(conn, into, action, seen[0][0], most, in_time)
    # What was noted before comes first: it may take long.
    seen = seen[: min(again, default=most)]
    found = note_referring(conn, action) if any(lookup for *_, lookup in seen) else 0
    until = (_last(conn, action) or 0) if found else 0
    # By their numbers, not up to the last of them: one with a lower number may commit later.
    numbers = ", ".join(str(number) for number, *_, lookup in seen if not lookup) or "null"
    gone = list(documents(action.as_noted, noted(conn, action, f"{NOTE} in ({numbers})")))
    there: set[Key] = set()
    size = 0
    if gone:
        there, size = _write(conn, into, action, among(action, [one.key for one in gone]), in_time)
        if left := [one for one in gone if one.key not in there]:
            put(conn, into, action, left, [])
    conn.execute(f"delete from {action.notes} where {NOTE} in ({numbers})")
    return Carried(
        notes=len(seen),
        rows=len(there),
        size=size,
        upto=seen[-1][0],
        more=len(seen) == most or bool(found or again),
        found=found,
        until=until,
    )


def _write(
    conn: Connection, into: Documents[Any], action: DocumentTransfer, which: str, in_time: Callable[[], None]
) -> tuple[set[Key], int]:
    """Make the documents of rows what the rows give now; return the keys of all these rows, and the bytes.

    However many rows of other tables are in them: what is held is little more than a batch.
    """
    there: set[Key] = set()
    size = 0
    with one_by_one(conn, action, which) as rows:
        for some in by_size(documents(action, rows), in_time):
            put(conn, into, action, some, some)
            there |= {one.key for one in some}
            size += sum(len(one.document) for one in some)
    return there, size


def by_size(made: Iterable[Made], in_time: Callable[[], None] = lambda: None) -> Iterator[list[Made]]:
    """Yield documents as many together as a batch may have, whatever the size of those before."""
    some: list[Made] = []
    size = 0
    for one in made:
        in_time()
        some.append(one)
        size += len(one.document)
        if size >= BATCH_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def put(conn: Session, into: Documents[Any], action: DocumentTransfer, gone: list[Made], made: list[Made]) -> None:
    """Replace or make the documents that rows give now, and delete those `gone` that none gives any more."""
    refuse_undecided(action, made)
    kept = [one for one in made if not one.rejected]
    there = {one.key for one in kept}
    replaced: list[ReplaceOne[Any] | DeleteOne] = [
        ReplaceOne({"_id": one.identity}, RawBSONDocument(one.document), upsert=True) for one in kept
    ]
    deleted = [DeleteOne({"_id": one.identity}) for one in gone if one.key not in there]
    written = 0
    if replaced or deleted:
        result = into.bulk_write([*replaced, *deleted], ordered=False)
        written = result.matched_count + result.upserted_count
        if not stored(into, [one.identity for one in kept]).issuperset(one.document for one in kept):
            raise _another(into)
    texts = list({key_text(one.key) for one in (*gone, *made)})
    side_of(conn).forget_rejected(conn, action, texts)
    note(conn, action, CARRIED, made, written)


def _again(
    conn: Connection,
    into: Documents[Any],
    action: DocumentTransfer,
    number: int,
    most: int,
    in_time: Callable[[], None],
) -> Carried:
    """Make some documents anew after a TRUNCATE of embedded rows, of which nobody knows whose they were.

    How far it is stands in the note. Rows that come meanwhile have notes of their own, with higher numbers. Other such
    notes that are there when it begins ask for nothing more; one that comes later waits until it has come to its end,
    which so comes however often the rows are emptied.
    """
    keys = ", ".join(f"{quote(column)}::pg_catalog.text" for column in action.key)
    reached = conn.execute(f"select {keys} from {action.notes} where {NOTE} = %s", (number,)).fetchone()
    low = None if reached is None or None in reached else tuple(reached)
    if low is None:
        conn.execute(f"delete from {action.notes} where {EMBEDDED} and {NOTE} <> %s", (number,))
    last = last_key(conn, action, low)
    if last is None:
        conn.execute(f"delete from {action.notes} where {NOTE} = %s", (number,))
        return Carried(notes=1, upto=number, more=True)
    high = end_of_batch(conn, action, low, last, most) or last
    made, size = _write(conn, into, action, condition(action, low, high), in_time)
    there = f"{tuple_of(action)} = row{key_literal(action, high)}"
    conn.execute(f"update {action.notes} set {there} where {NOTE} = %s", (number,))
    return Carried(notes=0, rows=len(made), size=size, more=True)


def _empty(conn: Connection, into: Documents[Any], action: DocumentTransfer, emptied: int) -> Carried:
    """Begin anew: every row that there is now came after the TRUNCATE, and has a note of its own, with a higher number.

    Whoever truncates waits for all writers before, and all after wait for it. Documents go in bites of their own.
    """
    found = [one["_id"] for one in into.find({}, {"_id": 1}).limit(MOST)]
    if found:
        into.delete_many({"_id": {"$in": found}})
        return Carried(notes=0, more=True)
    conn.execute(f"delete from {action.rejected}")
    notes = conn.execute(f"delete from {action.notes} where {NOTE} <= %s", (emptied,)).rowcount
    return Carried(notes=notes, upto=emptied, more=True)


def stored(into: Documents[Any], identities: list[Any]) -> set[bytes]:
    """Return those documents of the collection that have one of these `_id`, as they are stored."""
    raw = into.with_options(codec_options=CodecOptions(document_class=RawBSONDocument))
    found = raw.find({"_id": {"$in": identities}}) if identities else ()
    return {bytes(one.raw) for one in found}


def count_of(into: Documents[Any], identities: list[Any]) -> int:
    """Return how many documents have one of these `_id`."""
    return into.count_documents({"_id": {"$in": identities}}) if identities else 0


def _another(into: Documents[Any]) -> StepError:
    return StepError(
        "a document is not what was written",
        where=into.name,
        hint="Somebody else writes to the collection of the copy. Roll back, then run again.",
        changed=DataChanged.PARTIALLY,
    )
