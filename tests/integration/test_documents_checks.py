"""Conditions on documents that applications write while they are looked at."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pymongo import MongoClient, monitoring
from pymongo.database import Database

from tasks.engines.mongodb.documents.checks import MOST, broken
from tasks.engines.mongodb.documents.expressions import to_text

QUERY = to_text({"collection": "c", "filter": {"$expr": {"$ne": ["$a", "$b"]}}, "values": ["$a", "$b"]})
SLOW = {"failCommands": ["aggregate"], "blockConnection": True, "blockTimeMS": 800}


class After(monitoring.CommandListener):
    """Does something whenever the documents were looked at: all of them, or some once more."""

    def __init__(self, do: Callable[[bool], object]) -> None:
        self.do, self.all = do, dict[int, bool]()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name == "aggregate":
            self.all[event.request_id] = "hint" in event.command

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        if event.request_id in self.all:
            self.do(self.all[event.request_id])

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing is expected to fail."""


@pytest.fixture
def target(documents: str) -> Iterator[Database[Any]]:
    with MongoClient(documents, w="majority") as client:
        database = client.get_default_database()
        database.c.insert_many([{"_id": number, "a": 1, "b": number % 4 and 1} for number in range(8 * MOST)])
        yield database


@contextmanager
def watched(documents: str, do: Callable[[bool], object]) -> Iterator[Database[Any]]:
    with MongoClient(documents, event_listeners=[After(do)]) as client:
        yield client.get_default_database()


@pytest.mark.parametrize("lasts", [False, True])
def test_what_was_being_written_is_looked_at_again_however_long_the_first_look_took(
    target: Database[Any], documents: str, lasts: bool
) -> None:
    """With all documents that takes hours; what was written a moment before would be wrong for good."""
    target.c.update_many({"_id": {"$gte": 400}}, {"$set": {"b": 1}})
    target.client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=SLOW)
    began = time.monotonic()

    def follow(_: bool) -> None:
        if not lasts:
            target.c.update_many({}, {"$set": {"b": 1}})

    with watched(documents, follow) as database:
        found = broken(database, QUERY, patience=0.5)
    assert time.monotonic() - began >= 0.8
    assert found.documents == (100 if lasts else 0)


def test_it_goes_on_where_more_is_being_written_than_is_looked_at_at_once(
    target: Database[Any], documents: str
) -> None:
    """Always 2,000 documents wait for the follower, each for a moment."""
    looks = list[bool]()

    def follow(everything: bool) -> None:
        looks.append(everything)
        if everything:
            target.c.update_many({}, {"$set": {"b": 1}})
        else:
            target.c.update_many({"_id": {"$mod": [4, 0]}}, {"$inc": {"b": 2}})

    with watched(documents, follow) as database:
        assert broken(database, QUERY, patience=2).documents == 0
    assert looks == [True, False, True, False, True]
