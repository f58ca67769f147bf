"""Where a collection of ours is: known by its UUID, whatever it is called.

A collection is made under a name with a token that was committed to the source first. So whatever bears that name
is ours, also when the run was killed before it could note the UUID. From then on every rename and drop names the
UUID, and the server itself refuses to touch another collection.
"""

from typing import Any, Final
from uuid import UUID

from bson import Binary
from pymongo.errors import CollectionInvalid, OperationFailure

from tasks.engines.mongodb.connect import Documents
from tasks.engines.session import Session
from tasks.model.base import Record
from tasks.model.errors import DataChanged, StepError
from tasks.model.names import OWN_PREFIX
from tasks.model.transfer_steps import Collection

WITHDRAWN: Final = "_withdrawn"
_GONE = 26  # NamespaceNotFound
_OTHER = 361  # CollectionUUIDMismatch


class Place(Record):
    """What the source knows of a collection."""

    token: UUID
    collection: UUID | None
    """The UUID that the server gave it; None: it may not have been made."""

    @property
    def staging(self) -> str:
        """The name until the swap, and after a rollback of it."""
        return f"{OWN_PREFIX}{self.token.hex}"

    def staged_by(self, epoch: int) -> str:
        """The name until the swap under which the run of an epoch writes: an older one does not know it."""
        return f"{self.staging}_{epoch}"

    @property
    def withdrawn(self) -> str:
        """The name while a rollback looks for what was written since the swap: nobody can add to it any more."""
        return f"{self.staging}{WITHDRAWN}"


def place_of(conn: Session, action: Collection) -> Place:
    """Read what the source knows."""
    row = conn.execute(f"select token, collection from {action.place}").fetchone()
    if row is None:
        raise StepError(f"{action.place} is empty: it says which collection is ours", where=action.name)
    # There are servers that know no UUID: they hold its text.
    token, collection = (None if one is None else UUID(str(one)) for one in row[:2])
    assert token is not None
    return Place(token=token, collection=collection)


def uuid_of(database: Documents, name: str) -> UUID | None:
    """Return the UUID of the collection of this name; None when there is none. A view has none, and is another."""
    for found in database.list_collections(filter={"name": name}):
        value: Any = found.get("info", {}).get("uuid")
        return UUID(bytes=bytes(value)) if value is not None else UUID(int=0)
    return None


def name_of(database: Documents, action: Collection, place: Place) -> str | None:
    """Return what our collection is called now: a name of ours, or its own; None when it is not there."""
    if place.collection is None:
        return None
    for name in (action.name, *_ours(database, place)):
        if uuid_of(database, name) == place.collection:
            return name
    return None


def _ours(database: Documents, place: Place) -> list[str]:
    """Return the names that begin with our token."""
    found = database.list_collections(filter={"name": {"$regex": f"^{place.staging}"}})
    return [str(one["name"]) for one in found]


def make(database: Documents, place: Place) -> UUID:
    """Make the collection, unless a run before has, and return its UUID."""
    try:
        database.create_collection(place.staging)
    except CollectionInvalid:
        # The name holds our token: a run that was killed has made it.
        pass
    except OperationFailure as error:
        if error.code != 48:  # NamespaceExists
            raise
    made = uuid_of(database, place.staging)
    assert made is not None
    return made


def rename(database: Documents, place: Place, name: str, to: str) -> None:
    """Give our collection another name, at once; never onto another collection."""
    assert place.collection is not None
    try:
        database.client.admin.command(
            {
                "renameCollection": f"{database.name}.{name}",
                "to": f"{database.name}.{to}",
                "collectionUUID": Binary(place.collection.bytes, 4),
                "writeConcern": {"w": "majority"},
            }
        )
    except OperationFailure as error:
        if error.code != 48:
            raise
        raise StepError(
            f"a collection {to} has been made meanwhile",
            where=database.name,
            hint="Rename that collection, then run again; or roll back.",
            changed=DataChanged.PARTIALLY,
        ) from None


def drop(database: Documents, place: Place, name: str) -> None:
    """Drop our collection; nothing when it is gone, and never another one."""
    given = place.collection or uuid_of(database, place.staging)
    if given is None:
        return
    command = {"drop": name, "collectionUUID": Binary(given.bytes, 4), "writeConcern": {"w": "majority"}}
    try:
        database.command(command)
    except OperationFailure as error:
        if error.code not in (_GONE, _OTHER):
            raise


def drop_strays(database: Documents, place: Place) -> None:
    """Drop what an older run has written under its own name after a newer one had taken the collection away."""
    for name in _ours(database, place):
        if name.removeprefix(f"{place.staging}_").isdecimal() and uuid_of(database, name) != place.collection:
            database.drop_collection(name)
