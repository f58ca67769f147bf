"""Put one collection in the place of another, with nothing written in between that it has not.

A renameCollection locks both collections, one after the other. Where ours comes second, and a transaction of ours has
used it, the server holds the other one alone and waits: its writers wait, too, and what they have written until then
is read, and carried by a second transaction that used ours before. Then the first one ends, and the rename is done. It
has a time limit, and what holds it up outlasts it: whoever dies in between has changed nothing.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

import pymongo
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from tasks.engines.mongodb.connect import Documents
from tasks.model.errors import DataChanged, StepError

TRIES: Final = 400
"""So many names are tried: one that comes second is half of all on average, and seldom one in a hundred."""
_GLIMPSE_MS: Final = 50
"""How long a name that is tried may wait for locks."""
_SECOND: Final = 2
_TIME_IS_OVER: Final = 50
_LATE: Final = 0.5
"""Seconds that a command may have been on its way."""
_MOST_MS: Final = 1000
"""Of the lock budget: a transaction may end by itself after a second, where somebody has set that."""


class NotNowError(Exception):
    """The locks could not be had, or what had to be done under them took too long."""


class Rename(threading.Thread):
    """A renameCollection under way."""

    def __init__(self, database: Documents, name: str, to: str, limit_ms: int, *, drop: bool) -> None:
        super().__init__(name=f"rename {name}", daemon=True)
        self.database, self.tag = database, secrets.token_hex(8)
        self.until = time.monotonic() + limit_ms / 1000
        self.error: PyMongoError | None = None
        self._command = {
            "renameCollection": f"{database.name}.{name}", "to": f"{database.name}.{to}", "dropTarget": drop,
            "maxTimeMS": limit_ms, "comment": self.tag, "writeConcern": {"w": 1},
        }  # fmt: skip

    def run(self) -> None:
        """Give the command, and keep what came of it."""
        try:
            # A timeout of the driver's would take the place of the server's.
            with pymongo.timeout(0):
                self.database.client.admin.command(self._command)
        except PyMongoError as error:
            self.error = error

    def locks(self) -> int:
        """Return how many collections it has asked for, the last of which it waits for; 0: it does not wait."""
        for one in self._operations():
            if one.get("waitingForLock"):
                return int(one.get("lockStats", {}).get("Collection", {}).get("acquireCount", {}).get("W", 0))
        return 0

    def give_up(self) -> None:
        """Have the server end it, so that nobody waits for as long as it may; in any case, wait until it has ended."""
        with suppress(PyMongoError):
            for one in self._operations():
                self.database.client.admin.command({"killOp": 1, "op": one["opid"]})
        self.join()

    def _operations(self) -> list[dict[str, Any]]:
        admin = self.database.client.get_database("admin", read_concern=ReadConcern("local"))
        stages: list[dict[str, Any]] = [{"$currentOp": {"allUsers": False}}, {"$match": {"command.comment": self.tag}}]
        return list(admin.aggregate(stages))


def name_behind(database: Documents, collection: str, begins: str) -> str:
    """Return a name for a collection of ours that the server locks after the other one.

    Tried with names of collections that are not there, so that nothing can be renamed; the other one is locked for a
    few milliseconds at most. Raises StepError when there is none.
    """
    for _ in range(TRIES):
        name = f"{begins}_{secrets.token_hex(6)}"
        rename = Rename(database, name, collection, _GLIMPSE_MS, drop=False)
        behind = _is_behind(database, name, rename)
        rename.join()
        if behind:
            return name
        if _over(rename):
            # A transaction uses the collection: whoever waited behind us goes on.
            time.sleep(_GLIMPSE_MS / 1000)
    raise StepError(
        f"no name was found that the server locks after {collection}",
        where=f"{database.name}.{collection}",
        hint="End long transactions on the collection, and run again; a server that locks in another way cannot be"
        " used.",
        changed=DataChanged.PARTIALLY,
    )


def _is_behind(database: Documents, name: str, rename: Rename) -> bool:
    """Tell whether a rename asks for ours second; it may still be under way."""
    with _used(database, name):
        rename.start()
        asked = 0
        while rename.is_alive() and not asked:
            asked = rename.locks()
    if asked != 1:
        return asked == _SECOND
    # Ours is free by now: where it still waits for the first, a transaction of others uses that one.
    time.sleep(_GLIMPSE_MS / 5000)
    return rename.is_alive() and rename.locks() == 1


def _over(rename: Rename) -> bool:
    return isinstance(rename.error, OperationFailure) and rename.error.code == _TIME_IS_OVER


@contextmanager
def _used(database: Documents, name: str) -> Iterator[ClientSession]:
    """Use a collection by a transaction, for as long as the context lasts."""
    with database.client.start_session() as session, session.start_transaction():
        _touch(database, name, session)
        yield session
        session.abort_transaction()


def _touch(database: Documents, name: str, session: ClientSession) -> None:
    database[name].delete_many({"_id": {"$in": []}}, session=session)


def exchange(
    database: Documents,
    name: str,
    collection: str,
    budget_ms: int,
    begun: Callable[[list[Any]], None],
    late: Callable[[ClientSession, float], None],
) -> None:
    """Have `name` take the place of `collection`, which is dropped, or change nothing.

    `late` is called when nobody writes to the collection any more, with the session of a transaction that has used
    `name`, and the moment by which it has to be done: it writes there what was written until then. `begun` is told the
    sessions, which a run after this one ends. Raises NotNowError, and the errors of the driver.
    """
    rename = Rename(database, name, collection, min(budget_ms, _MOST_MS), drop=True)
    with ExitStack() as ending:
        hold, write = (ending.enter_context(database.client.start_session()) for _ in range(2))
        begun([hold.session_id, write.session_id])
        for session in (hold, write):
            session.start_transaction()
            _touch(database, name, session)
        # The last to end: as long as the rename is under way, its end would let it happen.
        ending.callback(_ended, rename, hold, write)
        rename.until = time.monotonic() + min(budget_ms, _MOST_MS) / 1000
        rename.start()
        _await_fence(rename)
        late(write, rename.until)
        write.commit_transaction()
        if time.monotonic() > rename.until:
            raise NotNowError
        hold.abort_transaction()
        rename.join()
    if _over(rename):
        raise NotNowError
    if rename.error is not None:
        raise rename.error


def _await_fence(rename: Rename) -> None:
    """Wait until the rename holds the collection, and waits for ours."""
    while rename.is_alive():
        if rename.locks() >= _SECOND:
            return
        time.sleep(0.002)
    raise NotNowError if _over(rename) or rename.error is None else rename.error


def _ended(rename: Rename, hold: ClientSession, write: ClientSession) -> None:
    """Let what is left of a try end: the rename first, which has a time limit.

    Where the connection was lost before the server has answered, it may go on there until then.
    """
    if rename.is_alive():
        rename.give_up()
    if rename.error is not None and not isinstance(rename.error, OperationFailure):
        time.sleep(max(0.0, rename.until + _LATE - time.monotonic()))
    for session in (write, hold):
        if session.in_transaction:
            session.abort_transaction()
