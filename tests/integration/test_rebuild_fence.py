"""What may end the moment of a swap of a collection: a lost connection, a late command, expired or ended sessions."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import AutoReconnect, PyMongoError

from profiles.model import Limits
from tasks.engines.mongodb.connect import connected
from tasks.engines.mongodb.errors import is_transient
from tasks.engines.mongodb.shadow import place, work
from tasks.engines.mongodb.shadow.fence import exchange
from tasks.engines.mongodb.shadow.swap import swap
from tasks.model.errors import StepError
from tests.integration.test_rebuild_swap import JOURNAL, MANY, counting, rebuild, until_it_passes

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def target(documents: str) -> Iterator[Database[Any]]:
    with connected(documents, name="changeover test") as database:
        yield database


def _nothing() -> Any:
    return nullcontext()


class Proxy:
    """Passes on what is sent to a server, but for the first rename that replaces a collection, which it gives away."""

    def __init__(self, url: str, given: Callable[[Callable[[], None], socket.socket], None]) -> None:
        self.server, database = url.removeprefix("mongodb://").split("?")[0].split("/")
        self.given, self.met = given, threading.Event()
        self.open = [socket.create_server(("127.0.0.1", 0))]
        self.url = f"mongodb://127.0.0.1:{self.open[0].getsockname()[1]}/{database}?directConnection=true"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Cut off whoever is connected."""
        for one in self.open:
            one.close()

    def _accept(self) -> None:
        host, port = self.server.split(":")
        with suppress(OSError):
            while True:
                client, _ = self.open[0].accept()
                server = socket.create_connection((host, int(port)))
                self.open += [client, server]
                for of, to in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(of, to), daemon=True).start()

    def _pass_on(self, of: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := of.recv(2**20):
                if b"renameCollection" in data and b"collectionUUID" in data and not self.met.is_set():
                    self.met.set()
                    self.given(partial(to.sendall, data), of)
                else:
                    to.sendall(data)


@contextmanager
def proxied(url: str, given: Callable[[Callable[[], None], socket.socket], None]) -> Iterator[Database[Any]]:
    proxy = Proxy(url, given)
    with connected(proxy.url, name="changeover test") as database:
        yield database
    proxy.close()
    assert proxy.met.is_set()


def test_a_connection_that_breaks_while_the_server_renames(target: Database[Any], documents: str) -> None:
    """The server goes on with what nobody waits for any more; what holds it up has to stay until that is over."""
    target.goods.insert_many([{"_id": one, "u": one} for one in range(5)])
    action = rebuild(target)
    limits = Limits(lock_budget=700)
    with MongoClient(documents) as client, client.start_session() as session:
        goods = client.get_default_database().goods

        def breaking(forward: Callable[[], None], connection: socket.socket) -> None:
            forward()
            time.sleep(0.1)
            connection.shutdown(socket.SHUT_RDWR)
            time.sleep(0.05)
            session.commit_transaction()

        session.start_transaction()
        goods.update_one({"_id": 1}, {"$set": {"n": 1}}, session=session)
        with proxied(documents, breaking) as through:
            act = partial(swap, through, action, limits, _nothing, print)
            with pytest.raises(AutoReconnect):
                act()
            # It was carried, or the server has ended it.
            assert goods.update_one({"_id": 2}, {"$set": {"n": 1}}).matched_count
            act()
    assert place.look(target, action).state == "swapped"
    assert [one.get("n") for one in target.goods.find().sort("_id", 1)] == [None, 1, 1, None, None]


def test_a_command_that_arrives_late_is_about_nothing(target: Database[Any], documents: str) -> None:
    """Held up on its way until nothing keeps it from renaming any more."""
    target.goods.insert_many([{"_id": one, "u": one} for one in range(5)])
    action = rebuild(target)
    arrived = threading.Event()

    def holding_up(forward: Callable[[], None], _: socket.socket) -> None:
        time.sleep(1)
        target.goods.update_one({"_id": 1}, {"$set": {"n": 1}})
        forward()
        arrived.set()

    with proxied(documents, holding_up) as through:
        with pytest.raises(AutoReconnect):
            swap(through, action, Limits(lock_budget=100), _nothing, print)
        target.goods.update_one({"_id": 2}, {"$set": {"n": 1}})
        swap(through, action, Limits(lock_budget=100), _nothing, print)
        assert arrived.wait(10)
        time.sleep(0.1)
    swap(target, action, Limits(), _nothing, print, back=True)
    assert [one.get("n") for one in target.goods.find().sort("_id", 1)] == [None, 1, 1, None, None]


def test_transactions_that_end_by_themselves_come_after_the_rename(
    target: Database[Any], documents: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that sleeps in the moment of the swap until its transactions have expired: the rename has before."""
    target.goods.insert_many([{"_id": one, "n": 0, "u": one} for one in range(MANY)])
    target.goods.insert_many([{"_id": f"{name}{one}", "u": f"{name}{one}"} for one in range(4) for name in "abc"])
    action = rebuild(target)
    slept: list[float] = []

    def sleeping(*given: Any) -> None:
        def late(session: Any, until: float) -> None:
            if not slept:
                slept.append(until)
                time.sleep(2.2)
            given[-1](session, until)

        exchange(*given[:-1], late)

    monkeypatch.setattr("tasks.engines.mongodb.shadow.swap.exchange", sleeping)
    target.client.admin.command({"setParameter": 1, "transactionLifetimeLimitSeconds": 1})
    try:
        with counting(documents) as counters:
            until_it_passes(partial(swap, target, action, Limits(lock_budget=1000), _nothing, print))
    finally:
        target.client.admin.command({"setParameter": 1, "transactionLifetimeLimitSeconds": 60})
    assert slept
    counted = {key: value for one in counters for key, value in one.counted.items()}
    assert {one["_id"]: one["n"] for one in target.goods.find({"n": {"$exists": True}})} == counted


def test_what_was_written_when_the_server_did_not_wait_is_told(
    target: Database[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where somebody ends our sessions in the moment of the swap; told once, also by the run after one that died."""
    target.goods.insert_many([{"_id": one, "u": one} for one in range(5)])
    action = rebuild(target)

    def ended(database: Any, name: str, uuid: str, collection: str, budget: int, begun: Any, late: Any) -> None:
        ids = list[Any]()

        def noted(sessions: list[Any], tag: str) -> None:
            ids.extend(sessions)
            begun(sessions, tag)
            target.goods.insert_one({"_id": "missed"})

        def killed(session: Any, until: float) -> None:
            target.client.admin.command({"killSessions": ids})
            late(session, until)

        exchange(database, name, uuid, collection, budget, noted, killed)

    monkeypatch.setattr("tasks.engines.mongodb.shadow.swap.exchange", ended)
    with pytest.raises((PyMongoError, StepError)) as first:
        swap(target, action, Limits(), _nothing, print)
    assert place.look(target, action).state == "swapped"
    again = partial(work.forward, target, action, JOURNAL, None, Limits(), _nothing)  # type: ignore[arg-type]
    if not isinstance(first.value, StepError):
        assert is_transient(first.value)
        with pytest.raises(StepError, match="1 documents of goods were written to after"):
            again()
    again()
    noted = target[action.notes].find_one({"_id": "swap"})
    assert noted is not None
    assert noted["missed"] == ["missed"]
    target[action.notes].update_one({"_id": "swap"}, {"$set": {"checked": False}})
    with pytest.raises(StepError, match="1 documents of goods were written to after"):
        work.settle(target, action, _nothing)
    monkeypatch.undo()
    swap(target, action, Limits(), _nothing, print, back=True)
    assert target.goods.count_documents({}) == 5
