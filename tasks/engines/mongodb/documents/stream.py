"""Follow the change stream of a collection: whatever is written is brought into step soon after.

What a change says is not looked at, but for the `_id`: the update reads the document itself. So changes may be
gathered, and read again after a kill. Where the server has forgotten the place to go on from, the caller goes over all
documents.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from bson import Timestamp
from pymongo.change_stream import ChangeStream
from pymongo.collection import Collection
from pymongo.errors import OperationFailure, WriteError

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import EXACT, from_text, to_text
from tasks.engines.mongodb.documents.lease import Lease, leased
from tasks.engines.mongodb.documents.pipelines import Prefer, followed
from tasks.engines.mongodb.documents.walk import update
from tasks.engines.mongodb.errors import code_of, is_transient
from tasks.model.document_steps import Reshape
from tasks.model.errors import DataChanged, StepError

MOST: Final = 1000
"""Changes at a time."""
SOON: Final = 0.1
"""Seconds for which changes are gathered."""
IDLE: Final = 2.0
"""Seconds after which the position is kept, although nothing was written."""
FORGOTTEN: Final = frozenset({136, 280, 286})  # CappedPositionLost, ChangeStreamFatalError, ChangeStreamHistoryLost
ENDED: Final = frozenset({"drop", "rename", "dropDatabase", "invalidate"})
_SHOWN: Final[list[dict[str, Any]]] = [
    {"$match": {"operationType": {"$ne": "delete"}}},
    {"$project": {"_id": 1, "operationType": 1, "documentKey": 1, "clusterTime": 1}},
]

Begun = Callable[[], AbstractContextManager[tuple[Prefer, Callable[[str], None]]]]
"""Opens the transaction of a batch, which fences; gives which side wins, and what keeps the position."""


class ForgottenError(Exception):
    """The server has no longer what came after the position."""


@contextmanager
def _opened(database: Documents, action: Reshape, position: str | None) -> Iterator[ChangeStream[Any]]:
    into = database.get_collection(action.collection, codec_options=EXACT)
    after = from_text(position) if position is not None else None
    try:
        with into.watch(_SHOWN, resume_after=after, max_await_time_ms=250, batch_size=MOST) as stream:
            yield stream
    except OperationFailure as error:
        if error.code in FORGOTTEN:
            raise ForgottenError from None
        raise


def position(database: Documents, action: Reshape) -> str:
    """Return where the change stream is now."""
    with _opened(database, action, None) as stream:
        return to_text(token_of(stream))


def token_of(stream: ChangeStream[Any]) -> Any:
    """Return what a stream that has just been opened goes on from.

    Where something was written in that very moment the driver has no token before it was read: who takes a position
    looks at the documents later.
    """
    while (token := stream.resume_token) is None:
        stream.try_next()
    return token


def moment(database: Documents, *, majority: bool = False) -> Timestamp:
    """Return the moment of the last write to the server, or of the last that a majority has."""
    last: Timestamp = database.command("hello")["lastWrite"]["majorityOpTime" if majority else "opTime"]["ts"]
    return last


def follow(
    database: Documents,
    action: Reshape,
    start: str,
    begun: Begun,
    goes_on: Callable[[], bool],
    reached: Callable[[Timestamp], None],
    say: Callable[[str], None],
) -> None:
    """Bring into step what has been written since a position, for as long as `goes_on`, and to the end of what it sees.

    `reached` is told up to which moment all that was written has been dealt with. Raises ForgottenError, and StepError
    when the collection is dropped or renamed.
    """
    pipelines = {"old": followed(action, "old"), "new": followed(action, "new")}
    told = False
    into = database.get_collection(action.collection, codec_options=EXACT)
    with _opened(database, action, start) as stream:
        going, kept = True, 0.0
        while going:
            # Looked at before: what was written until then is seen once more.
            going = goes_on()
            until = moment(database, majority=True)
            identities, last = _gathered(stream, action)
            if going and not identities and time.monotonic() - kept < IDLE:
                reached(last or until)
                continue
            kept = time.monotonic()
            with leased(database) as lease, begun() as (prefer, keep):
                failed = _brought(into, identities, pipelines[prefer], lease)
                keep(to_text(stream.resume_token))
            reached(last or until)
            if failed and not told:
                told = True
                say(f"documents of {action.collection} cannot be brought into step: MongoDB said {code_of(failed)}")


def _brought(
    into: Collection[Any], identities: list[Any], pipelines: Sequence[list[dict[str, Any]]], lease: Lease
) -> WriteError | None:
    """Update documents; return what has kept one from it. The others do not wait for that one.

    Of it, too, whatever can be done without the expressions of added fields is done.
    """
    if not identities:
        return None
    try:
        update(into, {"_id": {"$in": identities}}, pipelines[0], lease)
    except WriteError as error:
        if is_transient(error):
            raise
        if len(identities) == 1:
            if len(pipelines) > 1:
                _brought(into, identities, pipelines[1:], lease)
            return error
        half = len(identities) // 2
        found = [_brought(into, part, pipelines, lease) for part in (identities[:half], identities[half:])]
        return found[0] or found[1]
    return None


def _gathered(stream: ChangeStream[Any], action: Reshape) -> tuple[list[Any], Timestamp | None]:
    """Return the identities of what has changed, and when the last of it has; None where there was no more to come.

    At most so many; waits for a moment where nothing has changed.
    """
    found: dict[str, Any] = {}
    began, last = time.monotonic(), None
    for _ in range(MOST):
        # Something is written all the time, it may be one document: what has come is dealt with soon.
        if found and time.monotonic() - began > SOON:
            break
        if (change := stream.try_next()) is None:
            last = None
            break
        last = before(change["clusterTime"])
        if change["operationType"] in ENDED:
            raise StepError(
                f"the collection {action.collection} was dropped or renamed",
                where=action.table,
                hint="Bring it back, then roll back.",
                changed=DataChanged.PARTIALLY,
            )
        identity = change["documentKey"]["_id"]
        found[to_text({"_id": identity})] = identity
    return list(found.values()), last


def before(at: Timestamp) -> Timestamp:
    """Return the last moment before another: a transaction has many changes of one."""
    return Timestamp(at.time, at.inc - 1) if at.inc else Timestamp(at.time - 1, 2**32 - 1)
