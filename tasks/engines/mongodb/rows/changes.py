"""Read the change stream of a collection that is copied: which documents were written, and no more than that.

A change says the `_id`; whoever carries it reads the document itself, as it is by then. So changes may be gathered,
come late, and twice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pymongo
from bson import Timestamp
from bson.errors import BSONError
from pymongo.change_stream import ChangeStream
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import EXACT, from_text, to_text
from tasks.engines.mongodb.documents.stream import ENDED, FORGOTTEN, MOST, token_of
from tasks.engines.mongodb.documents.walk import key_of
from tasks.engines.mongodb.errors import code_of
from tasks.engines.receiving.source import Position
from tasks.model.base import Record
from tasks.model.errors import DataChanged, StepError
from tasks.model.transfer import ID
from tasks.model.transfer_steps import RowTransfer

_SHOWN: Final[list[dict[str, Any]]] = [{"$project": {"operationType": 1, "documentKey": 1, "clusterTime": 1}}]
_LOST: Final = FORGOTTEN | {234, 260}  # RetryChangeStream, InvalidResumeToken
_AGAIN: Final = "Roll back, then run again: it copies everything anew."


class Gathered(Record):
    """Some changes, in the order of the stream."""

    keys: tuple[str, ...]
    """The documents, each once."""
    reached: Position
    more: bool
    """There may be more of what was asked for."""


def now(database: Documents, session: ClientSession) -> Timestamp:
    """Return the moment of the last write that anybody was told of. Reads of the session see it from here on."""
    database.command("ping", session=session)
    moment = session.operation_time
    assert moment is not None, "a member of a replica set tells the time"
    return moment


def beginning(database: Documents, action: RowTransfer) -> Position:
    """Return where the stream is now: what is written from here on comes after it, what was written before is read."""
    with (
        database.client.start_session(causal_consistency=True) as session,
        _opened(database, action, session, None) as stream,
    ):
        # After it was opened: whoever reads what that moment has, misses nothing that the stream does not tell.
        return Position(token=to_text(token_of(stream)), moment=to_text({"at": now(database, session)}))


def seconds_behind(database: Documents, position: Position) -> float:
    """Return how long ago the place in the stream was the end of it."""
    last: Timestamp = database.command("hello")["lastWrite"]["opTime"]["ts"]
    return max(0.0, last.time - moment_of(position).time)


def moment_of(position: Position) -> Timestamp:
    """Return the moment of a place in the stream."""
    moment: Timestamp = from_text(position.moment)["at"]
    return moment


def changes(
    database: Documents, action: RowTransfer, known: Position, until: Timestamp, session: ClientSession
) -> Iterator[Gathered]:
    """Give what was written between a place and a moment, so many at a time, and little more than that.

    The session has to have seen that moment: then a server that has nothing more to tell has told all until then,
    whichever member it is by now. Raises StepError where the server has forgotten some of it, or where the collection
    was dropped or renamed.
    """
    with _opened(database, action, session, known) as stream:
        while True:
            # It may read on through all that other collections have in the oplog, and begins anew where it is cut off.
            with pymongo.timeout(0):
                found = _gathered(stream, action, until)
            yield found
            if not found.more:
                return


def _gathered(stream: ChangeStream[Any], action: RowTransfer, until: Timestamp) -> Gathered:
    keys: dict[str, None] = {}
    last, more, quiet = until, True, False
    while more and len(keys) < MOST:
        change = stream.try_next()
        if change is None:
            # Twice: the driver says it, too, when it has just opened the stream anew after a failure.
            last, more, quiet = until, not quiet, True
            continue
        quiet = False
        if change["operationType"] in ENDED:
            raise StepError(
                f"the collection {action.alias} was dropped or renamed while it was copied",
                where=action.table,
                hint=_AGAIN,
                changed=DataChanged.PARTIALLY,
            )
        keys[key_of(change["documentKey"][ID])[0]] = None
        last = change["clusterTime"]
        more = last <= until
    reached = Position(token=to_text(stream.resume_token), moment=to_text({"at": last}))
    return Gathered(keys=tuple(keys), reached=reached, more=more)


@contextmanager
def _opened(
    database: Documents, action: RowTransfer, session: ClientSession, after: Position | None
) -> Iterator[ChangeStream[Any]]:
    into = database.get_collection(action.alias, codec_options=EXACT)
    token = from_text(after.token) if after is not None else None
    try:
        # As below. A limit around all of it would be one of all that comes.
        with pymongo.timeout(0):
            stream = into.watch(_SHOWN, resume_after=token, max_await_time_ms=10, batch_size=MOST, session=session)
        with stream:
            yield stream
    except OperationFailure as error:
        if code_of(error) not in _LOST:
            raise
        raise StepError(
            f"the server has forgotten what was written to {action.alias} since the copy was there: its oplog does not"
            f" reach back so far ({code_of(error)})",
            where=action.table,
            hint=f"{_AGAIN} Let the oplog hold more, by replSetResizeOplog with minRetentionHours.",
            changed=DataChanged.PARTIALLY,
        ) from None
    except BSONError:
        raise StepError(
            "a document was written whose _id cannot be read: it is no UTF-8",
            where=action.table,
            hint="Take it away. " + _AGAIN,
            changed=DataChanged.PARTIALLY,
        ) from None


def hours_kept(database: Documents) -> float | None:
    """Return how far the oplog reaches back; None where this user may not see it."""
    oplog = database.client.local["oplog.rs"]
    try:
        with pymongo.timeout(10):
            ends = [oplog.find_one({}, {"ts": 1}, sort=[("$natural", way)]) for way in (1, -1)]
    except OperationFailure:
        return None
    first, last = (one["ts"].time if one else 0 for one in ends)
    return (last - first) / 3600
