"""The swap, there and back: our collection takes the name, and the other one stays in a collection that is in step."""

import random
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

import pymongo
from bson import Timestamp
from pymongo.change_stream import ChangeStream
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, ExecutionTimeout

from profiles.model import Limits
from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import from_text, to_text
from tasks.engines.mongodb.documents.lease import Lease, leased
from tasks.engines.mongodb.documents.stream import ForgottenError, moment, token_of
from tasks.engines.mongodb.errors import code_of
from tasks.engines.mongodb.shadow import changes
from tasks.engines.mongodb.shadow.carry import DUPLICATE, alone, bring
from tasks.engines.mongodb.shadow.compare import at_a_time, lost
from tasks.engines.mongodb.shadow.fence import NotNowError, end_renames, exchange, name_behind
from tasks.engines.mongodb.shadow.follow import Fenced, carried, duplicates, mend, remembered, would_be_lost
from tasks.engines.mongodb.shadow.place import Place, look, raw, refuse_drift, rename, require, stages_of, uuid_of
from tasks.model.document_steps import Rebuild
from tasks.model.errors import ChangeoverError, DataChanged, LockTimeoutError, StepError

_FEW: Final = 500
"""As many documents are carried while writers wait."""
_SESSIONS: Final = "sessions"
_SWAP: Final = "swap"
_SHOWN: Final = 10_000
"""As many identities of what was missed are kept."""
_TOLD: Final = 20.0
"""Seconds within which the stream tells of what was done."""


def end_tries(database: Documents, action: Rebuild, fenced: Fenced) -> None:
    """End what a run before this one has left behind in the moment of a swap.

    Its command is ended, and then its transactions; and our collections get names that it does not know, so that a
    command which it sends when it wakes up is about none that is there.
    """
    if not _end_sessions(database, action, fenced):
        return
    place = look(database, action)
    for name, begins in ((place.new, action.new), (place.kept, action.kept)):
        if name:
            rename(database, name, f"{begins}_{secrets.token_hex(6)}")
    database[action.notes].delete_one({"_id": _SESSIONS, "tries": []})


def _end_sessions(database: Documents, action: Rebuild, fenced: Fenced) -> bool:
    """End what is left of tries, and tell whether there was any.

    A command first: what ends the transactions that hold it up lets it happen.
    """
    notes = database[action.notes]
    with leased(database) as lease, fenced():
        found = notes.find_one({"_id": _SESSIONS})
        # Nothing of a newer run: one that takes over begins later than this.
        lease.require()
    if found is None:
        return False
    tags = [one["tag"] for one in found["tries"]]
    end_renames(database, tags)
    if ids := [one for each in found["tries"] for one in each["ids"]]:
        database.client.admin.command({"killSessions": ids})
    notes.update_one({"_id": _SESSIONS}, {"$pull": {"tries": {"tag": {"$in": tags}}}})
    return True


def swap(
    database: Documents,
    action: Rebuild,
    limits: Limits,
    fenced: Fenced,
    say: Callable[[str], None],
    *,
    back: bool = False,
) -> None:
    """Put the new collection in its place, or, `back`, the one that holds the old documents.

    Locks: the collection, exclusively, within the lock budget; reads do not wait. Raises LockTimeoutError.
    """
    with alone(action.marker), pymongo.timeout(0):
        end_tries(database, action, fenced)
        if _refuse_what_was_missed(database, action) == ("back" if back else "swapped"):
            return
        place = require(look(database, action), action, "swapped" if back else "before")
        begins, ours, other = (action.kept, place.kept, "") if back else (action.new, place.new, place.kept)
        if other:
            # A name that no run before this one knows: what one of them still sends is about others.
            rename(database, other, f"{action.kept}_{secrets.token_hex(6)}")
        name = name_behind(database, action.collection, begins, limits.lock_budget)
        rename(database, ours, name)
        try:
            _until_swapped(database, action, name, limits, fenced, say)
        except ForgottenError:
            if back and stages_of(action.down):
                raise _not_asked(action) from None
            mend(database, action, fenced, say)
            with remembered(action):
                _until_swapped(database, action, name, limits, fenced, say)
        check(database, action, "back" if back else "swapped")


def _not_asked(action: Rebuild) -> StepError:
    return StepError(
        f"the server has forgotten what was written to {action.collection} since it was asked what `down` leaves out",
        where=action.table,
        hint="Enlarge the oplog (replSetResizeOplog), then roll back again: every document is asked again.",
        changed=DataChanged.PARTIALLY,
    )


def check(database: Documents, action: Rebuild, wanted: str = "") -> None:
    """Look whether a swap that has been found done has missed nothing. Raises StepError, once for each such swap.

    Where a state is wanted, raises what passes by itself unless a majority has it.
    """
    with alone(action.marker), pymongo.timeout(0):
        state = _refuse_what_was_missed(database, action)
    if wanted not in ("", state):
        raise ExecutionTimeout("an election took the rename back", code=50)


def _refuse_what_was_missed(database: Documents, action: Rebuild) -> str:
    """Compare what the stream tells of until the rename with what was carried, and return which collection is there.

    Where something has ended our transactions while the rename waited for them, as an election may in the same moment,
    or it came when their time was over, the server has renamed at once.
    """
    state = look(database, action).state
    noted = database[action.notes].find_one({"_id": _SWAP, "checked": False})
    if noted is None or noted["to"] != state:
        return state
    try:
        missed = _missed(database, action, noted)
    except ForgottenError:
        missed = None
    seen = {"checked": True, "missed": [] if missed is None else list(missed.values())[:_SHOWN]}
    database[action.notes].update_one({"_id": _SWAP}, {"$set": seen})
    if missed is None or missed:
        count = "nobody knows how many" if missed is None else str(len(missed))
        raise StepError(
            f"{count} documents of {action.collection} were written to after they were carried: something ended the"
            " transaction of this run while the server was renaming",
            where=action.table,
            hint=f"Run again, or roll back; then write them again: {action.notes} has their identities, as `missed`.",
            changed=DataChanged.PARTIALLY,
        )
    return state


def _missed(database: Documents, action: Rebuild, noted: dict[str, Any]) -> dict[str, Any]:
    """Return what was written and not carried until a rename that a majority has, by what it is in extended JSON."""
    missed = {one: from_text(one)["_id"] for one in noted["waiting"]}
    taken = ""
    deadline = time.monotonic() + _TOLD
    with changes.opened(database, action, from_text(noted["token"]), wait_ms=50) as stream:
        while taken != noted["name"]:
            if time.monotonic() > deadline:
                # An election took the rename back, or a majority does not have it yet.
                raise ExecutionTimeout("the stream does not tell of the rename", code=50)
            seen = changes.gathered(stream, action, most=1)
            taken = seen.taken
            missed |= seen.identities
    return missed


def _until_swapped(
    database: Documents,
    action: Rebuild,
    name: str,
    limits: Limits,
    fenced: Fenced,
    say: Callable[[str], None],
) -> None:
    place, uuid = look(database, action), uuid_of(database, name)
    began = told = time.monotonic()
    with changes.opened(database, action, changes.position(database, action), wait_ms=5) as stream:
        act = _Act(database, action, place, name, stream)
        while True:
            act.catch_up(fenced)
            try:
                # The lease first: it bounds what is carried while writers wait.
                with leased(database) as act.lease, fenced():
                    exchange(database, name, uuid, action.collection, limits.lock_budget, act.begun, act.late)
                break
            except NotNowError:
                _end_sessions(database, action, fenced)
                if look(database, action).state != place.state:
                    # Something else than we has ended our transactions: what that has cost is asked next.
                    break
            now = time.monotonic()
            if now - began >= limits.lock_patience:
                raise LockTimeoutError(
                    f"no lock on {action.table} within {limits.lock_patience:g} s: transactions use it, or a majority"
                    " of the members is slow",
                    where=action.table,
                    hint="End the longest transactions on it, or run again when they are done.",
                    changed=DataChanged.PARTIALLY,
                )
            if now - told >= 1:
                told = now
                say(f"transactions use {action.table}, or what was written could not be carried within the budget")
            # In between whoever waited behind us goes on.
            time.sleep(random.uniform(1, 2) * limits.lock_budget / 1000)  # noqa: S311 - guards nothing


class _Act:
    """What is carried at the moment of a swap."""

    def __init__(
        self, database: Documents, action: Rebuild, place: Place, name: str, stream: ChangeStream[Any]
    ) -> None:
        self.database, self.action, self.place, self.stream = database, action, place, stream
        sides = place.sides(action)
        self.side = next(side for side in sides if side.name == name)
        self.others = [side for side in sides if side.name != name]
        self.left: dict[str, Any] = {}
        self.lease: Lease
        up, down = stages_of(action.up), stages_of(action.down)
        self.ways = () if not up else ((*up, *down),) if place.state == "before" else (down, (*down, *up))
        """What gives a document as it is, where it is not lost."""
        self.size = at_a_time(database, action.collection)

    def catch_up(self, fenced: Fenced) -> None:
        """Carry all but the last of what was written, while writers go on."""
        while True:
            wanted = moment(self.database)
            seen = changes.gathered(self.stream, self.action)
            few = seen.moment is None or seen.moment >= wanted
            found = ({} if seen.taken else self.left) | seen.identities
            self._refuse_lost(found)
            with leased(self.database) as lease, fenced():
                require(look(self.database, self.action), self.action, self.place.state)
                self.left = carried(self.database, self.action, self.place, found, lease)
                if not self.left:
                    changes.keep(self.database, self.action, to_text(self.stream.resume_token), lease)
            if few:
                return

    def begun(self, ids: list[Any], tag: str) -> None:
        """Note what a try consists of, and from where on nothing has been carried before it."""
        notes = self.database[self.action.notes]
        # One before may still be there, where the server was not heard.
        notes.update_one({"_id": _SESSIONS}, {"$push": {"tries": {"ids": ids, "tag": tag}}}, upsert=True)
        to = "swapped" if self.place.state == "before" else "back"
        known = {"name": self.side.name, "to": to, "checked": False} | self._carried(*self.left)
        notes.update_one({"_id": _SWAP}, {"$set": known, "$unset": {"missed": ""}}, upsert=True)

    def _carried(self, *waiting: str) -> dict[str, Any]:
        return {"token": to_text(token_of(self.stream)), "waiting": [*waiting]}

    def late(self, session: ClientSession, until: float) -> None:
        """Carry what was written until nobody could write any more; nothing else comes now."""
        # It waits until a majority has what came before.
        self.database[self.action.notes].update_one({"_id": _SESSIONS}, {"$inc": {"fences": 1}})
        try:
            self._carry_late(session, until)
        except ChangeoverError:
            if look(self.database, self.action).state == self.place.state:
                raise
            # Something has ended our transactions: what was looked at was the other collection already.
            raise NotNowError from None

    def _carry_late(self, session: ClientSession, until: float) -> None:
        # Nobody can build an index any more, or give it a validator.
        refuse_drift(self.database, self.action, self.place.state)
        wanted = moment(self.database)
        found = self._all_until(wanted, until)
        self.left |= found
        identities = list(self.left.values())
        self._refuse_lost(self.left)
        if identities:
            for side in self.others:
                if bring(self.database, self.action.collection, side, identities, self.lease):
                    raise NotNowError
            self._write(identities, session)
            # As one with what is carried: whoever asks later what was not, knows.
            self.database[self.action.notes].update_one({"_id": _SWAP}, {"$set": self._carried()}, session=session)

    def _refuse_lost(self, identities: dict[str, Any]) -> None:
        """Ask of what was written since what the gate has asked of every document."""
        if not self.ways or not identities:
            return
        found = lost(self.database, self.action.collection, self.ways, [*identities.values()], self.size)
        if found:
            raise would_be_lost(self.action, len(found))

    def _all_until(self, wanted: Timestamp, until: float) -> dict[str, Any]:
        found = dict[str, Any]()
        while True:
            before = moment(self.database, majority=True)
            seen = changes.gathered(self.stream, self.action)
            found |= seen.identities
            if len(found) + len(self.left) > _FEW or time.monotonic() > until:
                self.left |= found
                raise NotNowError
            if seen.moment is None and (changes.passed(self.stream) or before) >= wanted:
                return found

    def _write(self, identities: list[Any], session: ClientSession) -> None:
        """Write what the collection has, which nobody changes now, as one: also values that change places."""
        wanted = {"_id": {"$in": identities}}
        source = raw(self.database, self.action.collection)
        made = list(source.aggregate([{"$match": wanted}, *self.side.stages]))
        into = raw(self.database, self.side.name)
        into.delete_many(wanted, session=session)
        if made:
            try:
                into.insert_many(made, session=session, bypass_document_validation=True)
            except BulkWriteError as error:
                if code_of(error) != DUPLICATE:
                    raise
                raise duplicates(self.action, len(made)) from None
