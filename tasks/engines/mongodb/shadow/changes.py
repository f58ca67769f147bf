"""The change stream of a collection that is going to be another one: the stream is that of the database.

The stream of a collection ends where another one takes its name; that of the database tells of it, in its order.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from bson import Timestamp
from pymongo.change_stream import ChangeStream
from pymongo.errors import OperationFailure

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import EXACT, from_text, to_text
from tasks.engines.mongodb.documents.lease import Lease
from tasks.engines.mongodb.documents.stream import FORGOTTEN, MOST, SOON, ForgottenError, before, token_of
from tasks.model.base import Record
from tasks.model.document_steps import Rebuild

_WRITES: Final = frozenset({"insert", "update", "replace", "delete"})
_POSITION: Final = "position"
_TOKEN: Final = re.compile("82([0-9A-F]{8})([0-9A-F]{8})")
"""How a token begins: with seconds, and a number within them."""


class Seen(Record):
    """What has come of a stream at a time."""

    identities: dict[str, Any]
    """By what they are in extended JSON."""
    moment: Any
    """Up to when all is seen; None: there was no more to come."""
    taken: str = ""
    """What another collection was called that has taken the name in between: what was written before is left out."""


@contextmanager
def opened(database: Documents, action: Rebuild, token: Any = None, wait_ms: int = 250) -> Iterator[ChangeStream[Any]]:
    """Open the stream, after a position where one is given. Raises ForgottenError."""
    whole = database.with_options(codec_options=EXACT)
    shown: list[dict[str, Any]] = [
        {"$match": {"$or": [{"ns.coll": action.collection}, {"to.coll": action.collection}]}},
        {"$project": {"_id": 1, "operationType": 1, "documentKey": 1, "clusterTime": 1, "ns": 1, "to": 1}},
    ]
    try:
        with whole.watch(shown, resume_after=token, max_await_time_ms=wait_ms, batch_size=MOST) as stream:
            yield stream
    except OperationFailure as error:
        if error.code in FORGOTTEN:
            raise ForgottenError from None
        raise


def gathered(stream: ChangeStream[Any], action: Rebuild, most: int = MOST) -> Seen:
    """Return what comes next, at most so much; waits for a moment where there is nothing."""
    found: dict[str, Any] = {}
    taken = ""
    began, at = time.monotonic(), None
    for _ in range(most):
        # Something is written all the time: what has come is dealt with soon.
        if at is not None and time.monotonic() - began > SOON:
            break
        change = stream.try_next()
        if change is None:
            return Seen(identities=found, moment=None, taken=taken)
        kind = change["operationType"]
        if kind in _WRITES:
            identity = change["documentKey"]["_id"]
            found[to_text({"_id": identity})] = identity
        elif change.get("to", {}).get("coll") == action.collection:
            found.clear()
            taken = change["ns"]["coll"]
        at = change["clusterTime"]
    assert at is not None, "there was a change, or there is none"
    return Seen(identities=found, moment=before(at), taken=taken)


def passed(stream: ChangeStream[Any]) -> Timestamp | None:
    """Return up to which moment the server has read its log for a stream; None where its token does not say it.

    That nothing comes is not enough where a write must not be missed: the server may have looked at a part only.
    """
    found = _TOKEN.match(str((stream.resume_token or {}).get("_data", "")))
    return None if found is None else Timestamp(int(found[1], 16), int(found[2], 16))


def remember(database: Documents, action: Rebuild) -> None:
    """Keep the present position, unless one is kept."""
    notes = database[action.notes]
    if notes.find_one({"_id": _POSITION}) is not None:
        return
    notes.update_one({"_id": _POSITION}, {"$setOnInsert": {"token": here(database, action)}}, upsert=True)


def here(database: Documents, action: Rebuild) -> str:
    """Return where the stream is now."""
    with opened(database, action) as stream:
        return to_text(token_of(stream))


def keep(database: Documents, action: Rebuild, token: str, lease: Lease) -> None:
    """Keep how far the stream was read, once all of it is carried."""
    found = {"_id": _POSITION, "$expr": lease.condition}
    database[action.notes].update_one(found, {"$set": {"token": token}})
    lease.require()


def position(database: Documents, action: Rebuild) -> Any:
    """Return where to go on. Raises ForgottenError where nobody knows any more."""
    found = database[action.notes].find_one({"_id": _POSITION})
    if found is None:
        raise ForgottenError
    return from_text(found["token"])
