"""Put one collection in the place of another, with nothing written in between that it has not.

A renameCollection locks both collections, one after the other. Where ours comes second, and a transaction of ours has
used it, the server holds the other one alone and waits: its writers wait, too, and what they have written until then
is read, and carried by a second transaction that used ours before. Then the first one ends, and the rename is done. It
has a time limit, and what holds it up outlasts it: whoever dies in between has changed nothing.
"""

import contextvars
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import pymongo
from bson.binary import UUID_SUBTYPE, Binary
from pymongo.client_session import ClientSession
from pymongo.errors import AutoReconnect, ExecutionTimeout, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from tasks.engines.mongodb.connect import Documents
from tasks.model.errors import DataChanged, StepError

TRIES: Final = 400
"""So many names are tried: one that comes second is half of all on average, and seldom one in a hundred."""
_GLIMPSE_MS: Final = 50
"""How long a name that is tried may wait for locks."""
_SECOND: Final = 2
_LATE: Final = 0.5
"""Seconds that a command may have been on its way."""
_ANSWER: Final = 10.0
"""Seconds beyond its time limit within which the server has to answer, or somebody to say what has become of it."""
_ASKED: Final = 3.0
"""Seconds for a question about it, however little is left of those that a batch has."""
_MOST_MS: Final = 800
"""Of the lock budget: a transaction may end by itself after a second, where somebody has set that."""


class NotNowError(Exception):
    """The locks could not be had, or what had to be done under them took too long."""


class Rename(threading.Thread):
    """A renameCollection under way: of a collection with a UUID, which replaces the other one; without, of none."""

    def __init__(self, database: Documents, name: str, to: str, uuid: str = "") -> None:
        super().__init__(name=f"rename {name}", daemon=True)
        self.database, self.tag = database, secrets.token_hex(8)
        self.until = 0.0
        self.error: PyMongoError | None = None
        self._command: dict[str, Any] = {
            "renameCollection": f"{database.name}.{name}", "to": f"{database.name}.{to}", "dropTarget": bool(uuid),
            "comment": self.tag, "writeConcern": {"w": 1},
        }  # fmt: skip
        if uuid:
            self._command["collectionUUID"] = Binary(bytes.fromhex(uuid), UUID_SUBTYPE)

    def begin(self, until: float) -> None:
        """Give the command, which has until then."""
        self.until = until
        self.start()

    def run(self) -> None:
        """Give the command, and keep what came of it."""
        try:
            left = int((self.until - time.monotonic()) * 1000)
            if left < 1:
                # It may be that nothing holds it up any more.
                raise ExecutionTimeout("no time is left", code=50)
            # A timeout of the driver's would take the place of the server's.
            with pymongo.timeout(0):
                self.database.client.admin.command(self._command | {"maxTimeMS": left})
        except PyMongoError as error:
            self.error = error

    @property
    def known(self) -> bool:
        """Whether the server has said what came of it, or was never asked."""
        answered = self.error is None or isinstance(self.error, OperationFailure)
        return self.ident is None or (not self.is_alive() and answered)

    @property
    def over(self) -> bool:
        """Whether its time was over before it was done; not that a majority has not got it in time."""
        return isinstance(self.error, ExecutionTimeout)

    def locks(self) -> int:
        """Return how many collections it has asked for, the last of which it waits for; 0: it does not wait."""
        for one in _operations(self.database, [self.tag]):
            if one.get("waitingForLock"):
                return int(one.get("lockStats", {}).get("Collection", {}).get("acquireCount", {}).get("W", 0))
        return 0

    def answer(self) -> None:
        """Wait for the server's answer. Raises AutoReconnect when there is none, as where packets are dropped."""
        self.join(max(0.0, self.until - time.monotonic()) + _ANSWER)
        if self.is_alive():
            raise AutoReconnect("the server does not answer")

    def give_up(self) -> None:
        """Have the server end it, so that nobody waits for as long as it may, and return when it has ended there.

        Raises AutoReconnect when nobody can say that.
        """
        while not self.known:
            there = True
            with suppress(PyMongoError):
                there = _kill(self.database, [self.tag])
            late = time.monotonic() - self.until
            if not there and late > _LATE:
                return
            if late > _ANSWER:
                raise AutoReconnect("nobody can say what has become of a command")
            self.join(0.01)
            time.sleep(0 if self.is_alive() else 0.01)


def end_renames(database: Documents, tags: Collection[str]) -> None:
    """Have the server end what others have sent, and return when nothing of it is there. Raises AutoReconnect."""
    deadline = time.monotonic() + _ANSWER
    while tags and _kill(database, tags):
        if time.monotonic() > deadline:
            raise AutoReconnect("a command does not end")
        time.sleep(0.01)


def _kill(database: Documents, tags: Collection[str]) -> bool:
    """Tell whether any of the commands is there, and have the server end it."""

    def kill() -> bool:
        found = _operations(database, tags)
        for one in found:
            database.client.admin.command({"killOp": 1, "op": one["opid"]})
        return bool(found)

    return bool(_in_time(kill))


def _operations(database: Documents, tags: Collection[str]) -> list[dict[str, Any]]:
    admin = database.client.get_database("admin", read_concern=ReadConcern("local"))
    wanted = {"$match": {"command.comment": {"$in": [*tags]}}}
    return list(admin.aggregate([{"$currentOp": {"allUsers": False}}, wanted]))


def _in_time(act: Callable[[], Any]) -> Any:
    """Do something within a time of its own: that of the batch may be over."""

    def bounded() -> Any:
        with pymongo.timeout(_ASKED):
            return act()

    return contextvars.Context().run(bounded)


def name_behind(database: Documents, collection: str, begins: str, budget_ms: int) -> str:
    """Return a name for a collection of ours that the server locks after the other one.

    Tried with names of collections that are not there, so that nothing can be renamed; the other one is locked for a
    few milliseconds at most, or, where a transaction of others uses it, for 50 or the lock budget. Raises StepError
    when there is none.
    """
    glimpse = min(budget_ms, _GLIMPSE_MS) / 1000
    for _ in range(TRIES):
        name = f"{begins}_{secrets.token_hex(6)}"
        rename = Rename(database, name, collection)
        behind = _is_behind(database, name, rename, glimpse)
        rename.answer()
        if behind:
            return name
        if rename.over:
            # A transaction uses the collection: whoever waited behind us goes on.
            time.sleep(glimpse)
    raise StepError(
        f"no name was found that the server locks after {collection}",
        where=f"{database.name}.{collection}",
        hint="One collection in hundreds comes last by its name, and a server that locks in another way cannot be used:"
        " give the collection another name, or leave it as it is. Where other work delays the server, run again.",
        changed=DataChanged.PARTIALLY,
    )


def _is_behind(database: Documents, name: str, rename: Rename, glimpse: float) -> bool:
    """Tell whether a rename asks for ours second; it may still be under way."""
    with _used(database, name):
        rename.begin(time.monotonic() + glimpse)
        asked = 0
        while rename.is_alive() and not asked and time.monotonic() < rename.until + _ANSWER:
            asked = rename.locks()
    if asked != 1:
        return asked == _SECOND
    # Ours is free by now: where it still waits for the first, a transaction of others uses that one.
    time.sleep(glimpse / 5)
    return rename.is_alive() and rename.locks() == 1


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
    uuid: str,
    collection: str,
    budget_ms: int,
    begun: Callable[[list[Any], str], None],
    late: Callable[[ClientSession, float], None],
) -> None:
    """Have `name`, with its UUID, take the place of `collection`, which is dropped, or change nothing.

    `late` is called when nobody writes to the collection any more, with the session of a transaction that has used
    `name`, and the moment by which it has to be done: it writes there what was written until then. `begun` is told the
    sessions, and by what the command is known, which a run after this one ends. Raises NotNowError: nothing is under
    way any more. After errors of the driver something may be: the caller looks what there is.
    """
    rename = Rename(database, name, collection, uuid)
    hold, write = (database.client.start_session() for _ in range(2))
    try:
        begun([hold.session_id, write.session_id], rename.tag)
        # The life of the transactions begins.
        born = time.monotonic()
        for session in (hold, write):
            session.start_transaction()
            _touch(database, name, session)
        until = min(time.monotonic() + budget_ms / 1000, born + _MOST_MS / 1000)
        rename.begin(until)
        _await_fence(rename)
        late(write, until)
        write.commit_transaction()
        if time.monotonic() > until:
            raise NotNowError
        hold.abort_transaction()
        rename.answer()
    finally:
        _end(rename, hold, write)
    if rename.over:
        raise NotNowError
    if rename.error is not None:
        raise rename.error


def _await_fence(rename: Rename) -> None:
    """Wait until the rename holds the collection, and waits for ours."""
    while rename.is_alive():
        if rename.locks() >= _SECOND:
            return
        if time.monotonic() > rename.until + _LATE:
            raise NotNowError
        time.sleep(0.002)
    raise NotNowError if rename.over or rename.error is None else rename.error


def _end(rename: Rename, hold: ClientSession, write: ClientSession) -> None:
    """End what is left of a try: the rename first, since the end of what holds it up would let it happen.

    Where that is interrupted, or nobody can say that it is over, the rest is left to the server: its time limits come
    in the same order.
    """
    if hold.in_transaction:
        rename.give_up()

    for session in (write, hold):
        _in_time(session.end_session)
    if not rename.known:
        # It may still be on its way: it has to find no name that it knows.
        raise AutoReconnect("nobody can say what has become of a command")
