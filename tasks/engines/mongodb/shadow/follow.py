"""Follow a collection while another one is made of it, and the other way around once that one has its place."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import pymongo
from bson import Timestamp

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import to_text
from tasks.engines.mongodb.documents.lease import Lease, leased
from tasks.engines.mongodb.documents.stream import IDLE, ForgottenError, moment
from tasks.engines.mongodb.shadow import changes
from tasks.engines.mongodb.shadow.carry import alone, bring
from tasks.engines.mongodb.shadow.compare import differing
from tasks.engines.mongodb.shadow.place import Place, Side, look, require
from tasks.model.document_steps import Rebuild
from tasks.model.errors import DataChanged, StepError

Fenced = Callable[[], AbstractContextManager[Any]]
PART: Final = 1000
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
    try:
        _follow(database, action, fenced, goes_on, reached)
    except ForgottenError:
        mend(database, action, fenced, say)
        _follow(database, action, fenced, goes_on, reached)


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
            with alone(action.marker), leased(database) as lease, fenced():
                place = require(look(database, action), action, "before", "swapped")
                waiting = {} if seen.taken else left
                left = carried(database, action, place, waiting | seen.identities, lease)
                if not left:
                    changes.keep(database, action, to_text(stream.resume_token), lease)
            since = since if left else time.monotonic()
            if time.monotonic() - since > PATIENCE:
                raise duplicates(action, len(left))
            if not left:
                reached(seen.moment or before)


def carried(
    database: Documents, action: Rebuild, place: Place, identities: dict[str, Any], lease: Lease
) -> dict[str, Any]:
    """Bring documents into step on every side; return what has to wait for another document."""
    if not identities:
        return {}
    waits = list[Any]()
    for side in place.sides(action):
        waits += bring(database, action.collection, side, list(identities.values()), lease)
    return {to_text({"_id": one}): one for one in waits}


def duplicates(action: Rebuild, count: int) -> StepError:
    """Return what to raise where documents cannot be together under a unique index."""
    return StepError(
        f"{count} documents of {action.collection} would be duplicates for a unique index of the other collection",
        where=action.table,
        hint="Correct those documents, then run again.",
        changed=DataChanged.PARTIALLY,
    )


def mend(database: Documents, action: Rebuild, fenced: Fenced, say: Callable[[str], None]) -> None:
    """Compare all documents, and bring into step what is not; the position is that of its beginning."""
    say(f"the server has forgotten some changes of {action.collection}: all documents are compared")
    token = changes.here(database, action)
    with pymongo.timeout(0):
        for side in require(look(database, action), action, "before", "swapped").sides(action):
            _mend_side(database, action, side, fenced)
    with leased(database) as lease, fenced():
        changes.keep(database, action, token, lease)


def _mend_side(database: Documents, action: Rebuild, side: Side, fenced: Fenced) -> None:
    source = Side(name=action.collection, stages=side.stages)
    for found in differing(database, source, Side(name=side.name, stages=())):
        wanted = [identity for identity, _ in found.values()]
        for start in range(0, len(wanted), PART):
            with alone(action.marker), leased(database) as lease, fenced():
                bring(database, action.collection, side, wanted[start : start + PART], lease)
