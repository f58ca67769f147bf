"""Follow a collection while another one is made of it, and the other way around once that one has its place."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import pymongo
from bson import Timestamp
from pymongo.change_stream import ChangeStream

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import to_text
from tasks.engines.mongodb.documents.lease import Lease, leased
from tasks.engines.mongodb.documents.stream import IDLE, ForgottenError, moment, token_of
from tasks.engines.mongodb.shadow import changes
from tasks.engines.mongodb.shadow.carry import alone, bring
from tasks.engines.mongodb.shadow.changes import Seen
from tasks.engines.mongodb.shadow.compare import at_a_time, differing, lost
from tasks.engines.mongodb.shadow.place import Place, Side, look, require, stages_of
from tasks.model.document_steps import Rebuild
from tasks.model.errors import DataChanged, StepError

Fenced = Callable[[], AbstractContextManager[Any]]
PART: Final = 1000
SOON: Final = 1.0
"""Seconds after which, beside a comparison, it is looked what was written."""
PATIENCE: Final = 20.0
"""Seconds for which a document may wait for another one that is not in step yet."""


def follow(
    database: Documents,
    action: Rebuild,
    fenced: Fenced,
    goes_on: Callable[[], bool],
    reached: Callable[[Timestamp], None],
    say: Callable[[str], None],
) -> None:
    """Carry what was written since the position that is kept, for as long as `goes_on`, and to the end of what it sees.

    `reached` is told up to which moment all is carried. Where the server has forgotten the position, all documents are
    compared instead. Raises StepError where the collection, or one of ours, was dropped or replaced.
    """
    while True:
        try:
            return _follow(database, action, fenced, goes_on, reached)
        except ForgottenError:
            mend(database, action, fenced, say)


def _follow(
    database: Documents,
    action: Rebuild,
    fenced: Fenced,
    goes_on: Callable[[], bool],
    reached: Callable[[Timestamp], None],
) -> None:
    left: dict[str, Any] = {}
    going, kept, since = True, 0.0, time.monotonic()
    with changes.opened(database, action, changes.position(database, action)) as stream:
        while going:
            # Looked at before: what was written until then is seen once more.
            going = goes_on()
            before = moment(database, majority=True)
            seen = changes.gathered(stream, action)
            if going and not seen.identities and not left and time.monotonic() - kept < IDLE:
                reached(seen.moment or before)
                continue
            kept = time.monotonic()
            left, wrong = _carry(database, action, fenced, left, seen, to_text(stream.resume_token))
            since = since if left else time.monotonic()
            if time.monotonic() - since > PATIENCE:
                raise would_be_lost(action, len(wrong)) if wrong else duplicates(action, len(left))
            if not left:
                reached(seen.moment or before)


def _lost(database: Documents, action: Rebuild, identities: dict[str, Any]) -> dict[str, Any]:
    """Return which of the documents that were written would not come back as they are from the new collection."""
    if not (identities and stages_of(action.up)) or look(database, action).state != "before":
        return {}
    ways = ((*stages_of(action.up), *stages_of(action.down)),)
    size = at_a_time(database, action.collection)
    return by_text(lost(database, action.collection, ways, [*identities.values()], size))


def would_be_lost(action: Rebuild, count: int) -> StepError:
    """Return what to raise where documents were written that would not come back as they are."""
    return StepError(
        f"{count} documents of {action.collection} that were written last hold what would be lost",
        where=action.table,
        hint="Change them so that `up` and `down` give what is there, then run the command again.",
        changed=DataChanged.PARTIALLY,
    )


def _carry(
    database: Documents, action: Rebuild, fenced: Fenced, left: dict[str, Any], seen: Seen, keep: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Bring into step what was seen, and what is left, and keep the position; return what has to wait.

    Also what of that would be lost: it is not carried, so that whoever compares meets it, too.
    """
    wrong = _lost(database, action, left | seen.identities)
    with alone(action.marker), leased(database) as lease, fenced():
        place = require(look(database, action), action, "before", "swapped")
        wanted = ({} if seen.taken else left) | seen.identities
        fit = {key: identity for key, identity in wanted.items() if key not in wrong}
        left = carried(database, action, place, fit, lease) | wrong
        if keep is not None and not left:
            changes.keep(database, action, keep, lease)
    return left, wrong


def carried(
    database: Documents, action: Rebuild, place: Place, identities: dict[str, Any], lease: Lease
) -> dict[str, Any]:
    """Bring documents into step on every side; return what has to wait for another document."""
    if not identities:
        return {}
    waits = list[Any]()
    for side in place.sides(action):
        waits += bring(database, action.collection, side, list(identities.values()), lease)
    return by_text(waits)


def by_text(identities: list[Any]) -> dict[str, Any]:
    """Return identities by what they are in extended JSON."""
    return {to_text({"_id": one}): one for one in identities}


def duplicates(action: Rebuild, count: int) -> StepError:
    """Return what to raise where documents cannot be together under a unique index."""
    return StepError(
        f"{count} documents of {action.collection} would be duplicates for a unique index of the other collection",
        where=action.table,
        hint="Correct those documents, then run again.",
        changed=DataChanged.PARTIALLY,
    )


@contextmanager
def remembered(action: Rebuild) -> Iterator[None]:
    """Raise StepError where the server has forgotten even what was written a moment ago."""
    try:
        yield
    except ForgottenError:
        raise StepError(
            f"the server forgets what is written to {action.collection} before it can be carried",
            where=action.table,
            hint="Enlarge the oplog (replSetResizeOplog), then run again.",
            changed=DataChanged.PARTIALLY,
        ) from None


def mend(database: Documents, action: Rebuild, fenced: Fenced, say: Callable[[str], None]) -> None:
    """Compare all documents, and bring into step what is not.

    What is written meanwhile is followed beside it: it may take longer than the server remembers. Raises StepError.
    """
    say(f"the server has forgotten some changes of {action.collection}: all documents are compared")
    with remembered(action), pymongo.timeout(0), changes.opened(database, action, wait_ms=5) as stream:
        mending = _Mending(database, action, fenced, stream)
        for side in require(look(database, action), action, "before", "swapped").sides(action):
            mending.bring(side)
        since = time.monotonic()
        while mending.left:
            mending.go_on()
            if time.monotonic() - since > PATIENCE:
                raise mending.stuck()
        with leased(database) as lease, fenced():
            changes.keep(database, action, mending.token, lease)


class _Mending:
    """What a comparison has come to, and the stream beside it."""

    def __init__(self, database: Documents, action: Rebuild, fenced: Fenced, stream: ChangeStream[Any]) -> None:
        self.database, self.action, self.fenced, self.stream = database, action, fenced, stream
        self.left: dict[str, Any] = {}
        """What has to wait for a document that is not in step yet."""
        self.token = to_text(token_of(stream))
        """Up to there all is carried, but for what is still to be compared."""
        self.at = time.monotonic()
        self.wrong: dict[str, Any] = {}
        """What of that would not come back as it is."""

    def stuck(self) -> StepError:
        """Return what to raise for what still has to wait."""
        if self.wrong:
            return would_be_lost(self.action, len(self.wrong))
        return duplicates(self.action, len(self.left))

    def bring(self, side: Side) -> None:
        """Bring into step what differs."""
        source = Side(name=self.action.collection, stages=side.stages)
        for found in differing(self.database, source, Side(name=side.name, stages=())):
            wanted = [identity for identity, _ in found.values()]
            for start in range(0, len(wanted), PART):
                part = wanted[start : start + PART]
                wrong = _lost(self.database, self.action, by_text(part))
                with alone(self.action.marker), leased(self.database) as lease, self.fenced():
                    fit = [identity for key, identity in by_text(part).items() if key not in wrong]
                    self.left |= by_text(bring(self.database, self.action.collection, side, fit, lease)) | wrong
            if time.monotonic() - self.at > SOON:
                self.go_on()

    def go_on(self) -> None:
        """Carry what was written meanwhile."""
        seen = changes.gathered(self.stream, self.action)
        self.left, self.wrong = _carry(self.database, self.action, self.fenced, self.left, seen, None)
        if not self.left:
            self.token = to_text(self.stream.resume_token)
        self.at = time.monotonic()
