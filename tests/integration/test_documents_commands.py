"""Commands that lock a collection, behind a transaction that is still open: nobody waits behind them for long."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from profiles.model import Limits
from tasks.engines.mongodb.documents.commands import give
from tasks.engines.mongodb.documents.expressions import to_text
from tasks.model.document_steps import CollectionCommand
from tasks.model.errors import LockTimeoutError
from tests.servers.remains import soon

HELD = 4.0
BUDGET = Limits(lock_budget=200)
BUILD = {"createIndexes": "c", "indexes": [{"name": "by_a", "key": {"a": 1}}], "commitQuorum": "majority"}
COMMANDS = [
    {"collMod": "c", "validator": {"$jsonSchema": {"required": ["a"]}}, "validationAction": "warn"},
    {"collMod": "c", "index": {"name": "by_b", "hidden": True}},
    {"dropIndexes": "c", "index": "by_b"},
    BUILD,
]
ACTION = CollectionCommand(table="d.c", collection="c")


@pytest.fixture
def target(documents: str) -> Iterator[Database[Any]]:
    with MongoClient(documents, w="majority") as client:
        database = client.get_default_database()
        database.c.insert_many([{"_id": number, "a": number} for number in range(100)])
        database.c.create_index("b", name="by_b")
        yield database


@contextmanager
def held(target: Database[Any], seconds: float) -> Iterator[None]:
    """Hold the collection by a transaction of an application, for some seconds."""
    with target.client.start_session() as session:
        session.start_transaction()
        target.c.update_one({"_id": 1}, {"$set": {"n": 1}}, session=session)
        ending = threading.Timer(seconds, session.commit_transaction)
        ending.start()
        try:
            yield
        finally:
            ending.join()


@contextmanager
def measured(documents: str) -> Iterator[list[float]]:
    """Write all the time, by another client; gives how long each write took."""
    took, ended = list[float](), threading.Event()

    def work() -> None:
        with MongoClient(documents) as client:
            into = client.get_default_database().c
            while not ended.is_set():
                began = time.monotonic()
                into.update_one({"_id": 2}, {"$inc": {"n": 1}})
                took.append(time.monotonic() - began)
                time.sleep(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield took
    finally:
        ended.set()
        thread.join(60)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: next(iter(one)))
def test_others_wait_no_longer_than_the_budget(target: Database[Any], documents: str, command: dict[str, Any]) -> None:
    began, told = time.monotonic(), list[str]()
    with measured(documents) as took, held(target, HELD):
        give(target, ACTION, to_text(command), BUDGET, nullcontext, told.append)
        assert time.monotonic() - began >= HELD
    assert told
    assert max(took) < HELD / 2
    # Given again, as by a run that goes on.
    give(target, ACTION, to_text(command), BUDGET, nullcontext, told.append)
    indexes = {one["name"]: one for one in target.c.list_indexes()}
    assert ("by_a" in indexes) == (command is BUILD)
    assert ("by_b" in indexes) == ("dropIndexes" not in command)
    assert indexes.get("by_b", {}).get("hidden", False) == ("index" in command and "collMod" in command)
    assert bool(target.c.options().get("validator")) == ("validator" in command)


def test_patience_ends(target: Database[Any]) -> None:
    impatient = Limits(lock_budget=50, lock_patience=0.5)
    with held(target, 2), pytest.raises(LockTimeoutError, match=r"no lock on d\.c within 0\.5 s"):
        give(target, ACTION, to_text(BUILD), impatient, nullcontext, [].append)
    assert set(target.c.index_information()) == {"_id_", "by_b"}


def test_an_index_that_is_being_built_is_waited_for(target: Database[Any], documents: str) -> None:
    """As after a kill: the server goes on to build what was begun."""
    hangs = "hangAfterIndexBuildDumpsInsertsFromBulk"
    target.client.admin.command("configureFailPoint", hangs, mode="alwaysOn")
    with MongoClient(documents) as client:
        first = threading.Thread(target=client.get_default_database().command, args=(BUILD,))
        first.start()
        going = [{"$currentOp": {}}, {"$match": {"command.createIndexes": "c"}}]
        assert soon(lambda: bool(list(target.client.admin.aggregate(going))), seconds=30)
        off = {"mode": "off"}
        release = threading.Timer(1, target.client.admin.command, ("configureFailPoint", hangs), off)
        began = time.monotonic()
        release.start()
        give(target, ACTION, to_text(BUILD), BUDGET, nullcontext, [].append)
        assert time.monotonic() - began >= 1
        release.join()
        first.join(30)
    assert "by_a" in target.c.index_information()
