"""Walk through all documents in ranges of `_id`, in the order of BSON, whatever types the identities have."""

import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from json.encoder import encode_basestring_ascii
from typing import Any, Final

import bson
import pymongo
from bson import Int64, ObjectId
from bson.dbref import DBRef
from bson.errors import BSONError
from pymongo.collection import Collection
from pymongo.errors import PyMongoError, WriteError

from profiles.model import Limits
from tasks.engines.batches import next_size
from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import EXACT, Expression, from_text, to_text
from tasks.engines.mongodb.documents.lease import Lease, leased
from tasks.engines.mongodb.errors import code_of, is_transient
from tasks.engines.records import FIRST_ROWS, Key, Shard
from tasks.model.errors import DataChanged, StepError

Fenced = Callable[[], AbstractContextManager[Any]]
"""Opens the transaction of a batch, which fences."""
_PLAIN: Final = re.compile(
    r'\{"_id": \{"\$(?:oid": "([0-9a-f]{24})|numberInt": "(-?[0-9]+)|numberLong": "(-?[0-9]+))"\}\}', re.ASCII
)
SWEEPS: Final = 5
"""How often it is looked whether something is left, while applications write."""
_BYTES: Final = re.compile(r'.*, "bson": "([0-9a-f]+)"\}', re.ASCII | re.DOTALL)
"""A key that says its `_id` in bytes, too: within an `_id` it could only stand where another brace closes."""


def key_of(identity: Any) -> Key:
    """Return an `_id` as the ledger holds it: extended JSON, in its canonical form.

    With its bytes, in hexadecimal digits, where that would be read as something else: of a document with names that
    start with $, which servers of today take for no `_id` any more, and older ones did.
    """
    kind = type(identity)
    # Most of them: the library takes ten times as long for the same.
    if kind is ObjectId:
        return (f'{{"_id": {{"$oid": "{identity}"}}}}',)
    if kind is str:
        return (f'{{"_id": {encode_basestring_ascii(identity)}}}',)
    if kind is int or kind is Int64:
        short = kind is int and -(2**31) <= identity < 2**31
        return (f'{{"_id": {{"$number{"Int" if short else "Long"}": "{int(identity)}"}}}}',)
    text = to_text({"_id": identity})
    if '"$' in text and isinstance(identity, Mapping | DBRef) and not _says(text, identity):
        return (f'{text[:-1]}, "bson": "{_encoded(identity).hex()}"}}',)
    return (text,)


def _says(text: str, identity: Any) -> bool:
    try:
        return _encoded(from_text(text)["_id"]) == _encoded(identity)
    except (BSONError, ValueError, TypeError):
        return False


def _encoded(identity: Any) -> bytes:
    return bson.encode({"_id": identity}, codec_options=EXACT)


def identity_of(key: str) -> Any:
    """Return the `_id` that a key says."""
    found = _PLAIN.fullmatch(key)
    if found is None:
        exact = _BYTES.fullmatch(key)
        return from_text(key)["_id"] if exact is None else bson.decode(bytes.fromhex(exact[1]), EXACT)["_id"]
    identity, short, long = found.groups()
    return ObjectId(identity) if identity else int(short) if short else Int64(long)


def condition(low: Key | None, high: Key | None) -> dict[str, Any]:
    """Return `low < _id <= high`, either end open when None: in all types, where a plain comparison stays in one."""
    parts: list[Any] = []
    if low is not None:
        parts.append({"$gt": ["$_id", {"$literal": identity_of(low[0])}]})
    if high is not None:
        parts.append({"$lte": ["$_id", {"$literal": identity_of(high[0])}]})
    return {"$expr": {"$and": parts}} if parts else {}


def last_key(into: Collection[Any]) -> Key | None:
    """Return the greatest `_id` of now; None when there is no document."""
    found = into.find_one({}, {"_id": 1}, sort=[("_id", -1)])
    return None if found is None else key_of(found["_id"])


def end_of_batch(into: Collection[Any], low: Key | None, high: Key | None, size: int) -> tuple[Key | None, int]:
    """Return the `_id` of the last of the next `size` documents, and how many they are; None when there is none."""
    found = list(into.find(condition(low, high), {"_id": 1}).sort("_id", 1).limit(size))
    return (key_of(found[-1]["_id"]), len(found)) if found else (None, 0)


def update(into: Collection[Any], wanted: dict[str, Any], pipeline: list[dict[str, Any]], lease: Lease) -> int:
    """Update documents within a lease; return how many have changed.

    Validators are not asked: what is not valid was there before, and a gate looks at every document.
    """
    bounded = {"$and": [wanted, {"$expr": lease.condition}]}
    done = into.update_many(bounded, pipeline, bypass_document_validation=True)
    lease.require()
    return done.modified_count


def go_over(
    database: Documents,
    into: Collection[Any],
    wanted: dict[str, Any],
    pipeline: list[dict[str, Any]],
    limits: Limits,
    fenced: Fenced,
    refused: Callable[[WriteError, list[Any]], object],
) -> int:
    """Update every document that is wanted, and there when it begins, batch by batch; return how many.

    `refused` is told of those that the server does not change, by their identities: no other one waits for them.
    """
    done = 0

    def work(_number: int, low: Key | None, end: Key, _rows: int, size: int) -> None:
        nonlocal done
        here = {"$and": [condition(low, end), wanted]}
        try:
            with leased(database) as lease, fenced():
                done += update(into, here, pipeline, lease)
        except WriteError as error:
            if size > 1 or is_transient(error):
                raise
            # Not by what is wanted: that may be what fails.
            refused(error, [one["_id"] for one in into.find(condition(low, end), {"_id": 1})])

    if (last := last_key(into)) is not None:
        walk(into, Shard(position=None, high=last, batch_rows=FIRST_ROWS), limits, lambda _: None, work)
    return done


def until_none(
    database: Documents,
    into: Collection[Any],
    wanted: dict[str, Any],
    known: Expression,
    pipeline: list[dict[str, Any]],
    limits: Limits,
    fenced: Fenced,
    who: str,
) -> int:
    """Go over the documents until none is wanted any more; those that are not `known` stay as they are.

    Raises StepError when somebody goes on making them, and for such documents, or those that the server refuses.
    """
    done, said = 0, set[int | None]()

    def refused(error: WriteError, _: list[Any]) -> None:
        said.add(code_of(error))

    for sweep in range(SWEEPS + 1):
        with pymongo.timeout(0):
            left = into.find_one(wanted, {"_id": 1})
        if left is None:
            return done
        if sweep < SWEEPS:
            done += go_over(database, into, {"$and": [wanted, {"$expr": known}]}, pipeline, limits, fenced, refused)
            if said:
                # Each was tried by itself: once more would be as much for nothing.
                break
    why = f"; MongoDB refuses to change some: {', '.join(map(str, sorted(said, key=str)))}" if said else ""
    raise StepError(
        f"documents are left whose values have no place in the other shape, or {who} still writes{why}",
        where=into.name,
        hint="Stop it, look at the documents that have both fields, then run the command again: it goes on.",
        changed=DataChanged.PARTIALLY,
    )


def walk(
    into: Collection[Any],
    shard: Shard,
    limits: Limits,
    between: Callable[[int], int | None],
    work: Callable[[int, Key | None, Key, int, int], None],
) -> int:
    """Work through a shard, and return how many documents it had.

    `work` gets the number of the batch, its ends, its documents and its size. One that takes too long, or has a
    document that the server refuses to change, is tried again as several smaller ones.
    """
    low, size, done, number = shard.position, shard.batch_rows, 0, 0
    while low != shard.high:
        size = between(size) or size
        end, rows = end_of_batch(into, low, shard.high, size)
        # Documents may have gone since the end of the range was fixed.
        end = shard.high if end is None or rows < size else end
        started = time.monotonic()
        try:
            work(number, low, end, rows, size)
        except PyMongoError as error:
            refused = isinstance(error, WriteError) and not is_transient(error)
            if size == 1 or not (refused or error.timeout):
                raise
            size = max(1, size // 8)
            continue
        if rows == size:
            size = next_size(size, (time.monotonic() - started) * 1000, limits)
        low, done, number = end, done + rows, number + 1
    return done
