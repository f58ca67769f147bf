"""Where the collections of a rebuild are: found by their names and UUIDs, since the server is what knows."""

import re
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import EXACT, from_text, to_text
from tasks.engines.mongodb.documents.inspect import indexes_of, inspect, options_of
from tasks.engines.mongodb.documents.walk import Fenced
from tasks.model.document_steps import Rebuild
from tasks.model.errors import DataChanged, DriftError, StepError

MADE: Final = "made"
RAW: Final = EXACT.with_options(document_class=RawBSONDocument)


@dataclass(frozen=True, kw_only=True)
class Side:
    """A collection that is kept in step with another, and the stages that make its documents."""

    name: str
    stages: tuple[dict[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Place:
    """What there is at one moment; collections are known by the UUIDs that were noted when they were made."""

    state: Literal["before", "swapped", "back", "gone"]
    """Which collection has the name: that of the plan, the new one, the kept one, or none of them."""
    new: str = ""
    kept: str = ""
    """What ours are called, as long as they are there and have not taken the name."""
    ours: tuple[str, ...] = ()
    """All that bear a name of ours, also those that a run has made and could not note."""

    def sides(self, action: Rebuild) -> tuple[Side, ...]:
        """Return what is to be kept in step with the collection that has the name."""
        up, down = stages_of(action.up), stages_of(action.down)
        if self.state == "before":
            return tuple(Side(name=name, stages=of) for name, of in ((self.new, up), (self.kept, ())) if name)
        return (Side(name=self.kept, stages=down),) if self.state == "swapped" else ()


def stages_of(text: str) -> tuple[dict[str, Any], ...]:
    """Return stages of a plan."""
    return tuple(from_text(text)["stages"])


def raw(database: Documents, name: str) -> Collection[Any]:
    """Return a collection whose documents are read as the bytes that they are."""
    return database.get_collection(name, codec_options=RAW)


def look(database: Documents, action: Rebuild) -> Place:
    """Look which collections there are."""
    ours = f"^{re.escape(action.marker)}[.](new|old)_[0-9a-f]+$"
    wanted = {"$or": [{"name": action.collection}, {"name": {"$regex": ours}}]}
    found = {one["name"]: one["info"]["uuid"].hex() for one in database.list_collections(filter=wanted)}
    made = database[action.notes].find_one({"_id": MADE}) or {}
    state = {action.uuid: "before", made.get("new"): "swapped", made.get("kept"): "back"}
    named = {uuid: name for name, uuid in found.items() if name != action.collection}
    return Place(
        state=cast(Any, state.get(found.get(action.collection, ""), "gone")),
        new=named.get(made.get("new"), ""),
        kept=named.get(made.get("kept"), ""),
        ours=tuple(sorted(named.values())),
    )


def uuid_of(database: Documents, name: str) -> str:
    """Return the UUID of a collection, in hexadecimal digits; empty where there is none."""
    found = next(iter(database.list_collections(filter={"name": name})), None)
    return "" if found is None else str(found["info"]["uuid"].hex())


def require(place: Place, action: Rebuild, *states: str) -> Place:
    """Refuse unless the collection is in one of these states, and ours are there."""
    if place.state in states and place.kept and (place.new or place.state != "before"):
        return place
    raise replaced(action)


def replaced(action: Rebuild) -> StepError:
    """Return what to raise where somebody else has dropped or renamed a collection."""
    return StepError(
        f"the collection {action.collection} was dropped, renamed or replaced, or one of ours was",
        where=action.table,
        hint="Nothing of ours was dropped meanwhile: look at the collections whose names begin with"
        f" {action.marker}, put the right one in its place, then roll back.",
        changed=DataChanged.PARTIALLY,
    )


def require_original(database: Documents, action: Rebuild) -> None:
    """Refuse unless the collection is the one that the plan was made for."""
    if uuid_of(database, action.collection) != action.uuid:
        raise replaced(action)


def refuse_drift(database: Documents, action: Rebuild, state: str) -> None:
    """Raise DriftError where the collection that is going to be dropped has what the other one has not got.

    Before the swap it has to be what the plan was made for. After it, others may not have given it anything: how the
    server tells of an index that a plan describes is not asked.
    """
    (table,) = inspect(database, [action.collection]).tables
    now, options = {one["name"]: to_text(one) for one in indexes_of(table)}, options_of(table)
    before = state == "before"
    asked = from_text(action.kept_indexes if before else action.indexes)["indexes"]
    known = {one["name"]: to_text(one) if before else now.get(one["name"]) for one in asked}
    wanted = from_text(action.kept_options if before else action.options)
    what = [f"index {name}" for name in sorted(now.keys() | known.keys()) if now.get(name) != known.get(name)]
    what += [key for key in sorted(options.keys() | wanted.keys()) if options.get(key) != wanted.get(key)]
    if what:
        raise DriftError(
            f"others have changed {action.collection} since {'the plan was made' if before else 'the swap'}, and the"
            f" collection that takes its place has not got that: {', '.join(what)}",
            where=action.table,
            hint=f"Undo that change, {'or roll back and plan again' if before else 'and make it after the rollback'}.",
            changed=DataChanged.PARTIALLY,
        )


def make(database: Documents, action: Rebuild, fenced: Fenced) -> None:
    """Make both collections, unless they are there."""
    place = look(database, action)
    wanted = (("new", action.new, place.new, action.options), ("kept", action.kept, place.kept, action.kept_options))
    for side, begins, there, options in wanted:
        if there:
            continue
        name = f"{begins}_{action.uuid[:8]}"
        with fenced():
            if name not in place.ours:
                database.create_collection(name, **from_text(options))
            noted = {"$set": {side: uuid_of(database, name)}}
            database[action.notes].update_one({"_id": MADE}, noted, upsert=True)


def index(database: Documents, action: Rebuild, fenced: Fenced) -> None:
    """Build the indexes of both, which nobody else uses; one that is there already is no error."""
    place = require(look(database, action), action, "before")
    for name, text in ((place.new, action.indexes), (place.kept, action.kept_indexes)):
        wanted = from_text(text)["indexes"]
        if not wanted:
            continue
        with fenced():
            pass
        command = {"createIndexes": name, "indexes": wanted, "commitQuorum": "majority"}
        with pymongo.timeout(0):
            database.command(command | {"writeConcern": {"w": "majority"}})


def drop(database: Documents, action: Rebuild, fenced: Fenced, *names: str) -> None:
    """Drop collections of ours, and what is noted of them."""
    for name in (*names, action.notes):
        if name:
            with fenced():
                database.drop_collection(name)


def rename(database: Documents, name: str, to: str) -> None:
    """Give a collection of ours another name, which no run before this one knows."""
    asked = {"renameCollection": f"{database.name}.{name}", "to": f"{database.name}.{to}"}
    database.client.admin.command(asked | {"writeConcern": {"w": "majority"}})
