"""Carry documents from one collection into another, within the server: it reads, makes and writes them.

What is carried is what the document is by then. So it may be repeated, and come late: whoever follows the change
stream comes back to each document that was written meanwhile.
"""

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Literal

from pymongo.collection import Collection
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.lease import Lease
from tasks.engines.mongodb.documents.walk import condition, key_of
from tasks.engines.mongodb.errors import code_of
from tasks.engines.mongodb.shadow.place import Side, raw
from tasks.engines.records import Key

DUPLICATE: Final = 11000
_ALONE: defaultdict[str, AbstractContextManager[Any]] = defaultdict(threading.RLock)


def alone(marker: str) -> AbstractContextManager[Any]:
    """Return the lock under which one thread of a run carries at a time.

    A batch of the copy that has read a document before it was deleted would bring it back, after the deletion was
    followed. Under the lock, whatever is written while a batch is copied is followed after it.
    """
    return _ALONE[marker]


@contextmanager
def _ended(lease: Lease) -> Iterator[None]:
    """Let nothing go on at the server when the context ends, be it that a connection was lost before it has answered.

    It would write later what it has read before: over what somebody has carried meanwhile.
    """
    try:
        yield
    except PyMongoError as error:
        if not isinstance(error, OperationFailure) and (error.timeout or isinstance(error, ConnectionFailure)):
            lease.outlast()
        raise


def copy(source: Collection[Any], side: Side, low: Key | None, high: Key | None, lease: Lease) -> None:
    """Copy a range of `_id`; documents that are there already are put in again, from what they are now.

    Not by keepExisting, which would sort the fields of documents by their names.
    """
    with _ended(lease):
        try:
            _merge(source, side, condition(low, high), lease, "fail")
        except OperationFailure as error:
            if code_of(error) != DUPLICATE:
                raise
            _merge(source, side, condition(low, high), lease, "replace")
    lease.require()


def bring(database: Documents, name: str, side: Side, identities: Sequence[Any], lease: Lease) -> list[Any]:
    """Bring documents into step; return the identities of those that have to wait for another one.

    Those would be duplicates of a document that is not in step yet, for a unique index: they are left out until then.
    """
    with _ended(lease):
        left = _brought(database[name], database[side.name], side, identities, lease)
    lease.require()
    return left


def _brought(
    source: Collection[Any], into: Collection[Any], side: Side, identities: Sequence[Any], lease: Lease
) -> list[Any]:
    found = {key_of(one["_id"]) for one in source.find({"_id": {"$in": list(identities)}}, {"_id": 1})}
    gone = [one for one in identities if key_of(one) not in found]
    if gone:
        # Before the others: a filter takes 1 and 1.0 for the same, and one may be there in the place of the other.
        into.delete_many({"_id": {"$in": gone}, "$expr": lease.condition})
    # One that has come again since is among them; one that goes right now is told of by the stream.
    left = _all_or_each(source, into, side, identities, lease)
    if left:
        # Those that were in one another's way are in nobody's any more, unless another document is.
        left = _all_or_each(source, into, side, left, lease)
    return left


def _all_or_each(
    source: Collection[Any], into: Collection[Any], side: Side, identities: Iterable[Any], lease: Lease
) -> list[Any]:
    wanted = list(identities)
    try:
        _merge(source, side, {"_id": {"$in": wanted}}, lease, "replace")
    except OperationFailure as error:
        if code_of(error) != DUPLICATE:
            raise
    else:
        return []
    if len(wanted) == 1:
        into.delete_many({"_id": {"$in": wanted}, "$expr": lease.condition})
        return wanted
    half = len(wanted) // 2
    return [
        *_all_or_each(source, into, side, wanted[:half], lease),
        *_all_or_each(source, into, side, wanted[half:], lease),
    ]


def _merge(
    source: Collection[Any],
    side: Side,
    wanted: dict[str, Any],
    lease: Lease,
    matched: Literal["replace", "fail"],
) -> None:
    merge = {"$merge": {"into": side.name, "on": "_id", "whenMatched": matched, "whenNotMatched": "insert"}}
    here = {"$match": {"$and": [wanted, {"$expr": lease.condition}, {"_id": {"$ne": None}}]}}
    # What is not valid was there before.
    source.aggregate([here, *side.stages, merge], bypassDocumentValidation=True)
    _merge_null(source, side, wanted, lease, replace=matched == "replace")


def _merge_null(source: Collection[Any], side: Side, wanted: dict[str, Any], lease: Lease, *, replace: bool) -> None:
    """Carry the document whose `_id` is null, where there is one: `$merge` refuses it."""
    null = {"_id": None}
    found = raw(source.database, source.name).aggregate([{"$match": {"$and": [null, wanted]}}, *side.stages])
    into = raw(source.database, side.name)
    for one in found:
        if (
            replace
            and into.replace_one(null | {"$expr": lease.condition}, one, bypass_document_validation=True).matched_count
        ):
            return
        lease.require()
        if into.find_one(null) is None:
            into.insert_one(one, bypass_document_validation=True)
