"""Documents that the server refuses to change: no other one waits for them, and nothing of them is lost."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from bson import Timestamp
from pymongo import MongoClient
from pymongo.database import Database

from profiles.model import Database as Named
from profiles.model import Limits
from tasks.engines.mongodb.documents import stream
from tasks.engines.mongodb.documents.dead_letters import keep
from tasks.engines.mongodb.documents.engine import MongoEngine
from tasks.engines.mongodb.documents.mapping import pairs_of
from tasks.engines.mongodb.documents.pipelines import Prefer, concerned, in_step, known, withdrawn
from tasks.engines.mongodb.documents.walk import until_none
from tasks.engines.postgresql.engine import PostgresEngine
from tasks.model.collection_documents import DocumentsSpec
from tasks.model.document_steps import Reshape
from tasks.model.errors import StateError, StepError
from tasks.model.steps import Phase, Step

RENAME = {"rename_field": {"from": "place", "to": "spot"}}
NOWHERE = {"type": "Point", "coordinates": [999, 0]}
"""What no geo index takes."""
LARGE = {"type": "Point", "coordinates": [5, 5], "note": "x" * 9_000_000}


@pytest.fixture
def target(documents: str) -> Iterator[Database[Any]]:
    with MongoClient(documents, w="majority") as client:
        database = client.get_default_database()
        database.c.create_index([("place", "2dsphere")])
        yield database


@pytest.fixture
def engine(database: str, documents: str) -> MongoEngine:
    given = {"limits": Limits(), "migration": "m", "run_id": "t", "database": Named(url_env="UNUSED")}
    return MongoEngine(
        url=documents, ledger=PostgresEngine(url=database, **given), taker_of=lambda _: "postgresql", **given
    )  # type: ignore[arg-type]


def reshape(*operations: dict[str, Any]) -> Reshape:
    spec = DocumentsSpec.model_validate({"collection": "c", "operations": list(operations)})
    return Reshape(table="d.c", collection="c", marker="_changeover_m", pairs=pairs_of(spec), does="swap")


def point(number: int) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [number, number]}


def test_a_rollback_does_not_begin_before_everything_is_carried_back(
    target: Database[Any], engine: MongoEngine
) -> None:
    """It says how many documents are left and lists them; those whose old field is the truth hold nobody up."""
    action = reshape(RENAME)
    swap = Step(key="swap/all", phase=Phase.SWAP, title="t", action=action)
    target.c.insert_many([{"_id": number, "place": point(number)} for number in range(60)])
    target.c.update_many({}, in_step(action, "old"))
    # A new application writes what the index on the old field does not take; an old one what is too large for both.
    target.c.update_many({"_id": {"$in": [7, 8]}}, {"$set": {"spot": NOWHERE}})
    target.c.update_one({"_id": 9}, {"$set": {"spot": point(1)}})
    target.c.update_one({"_id": 10}, {"$set": {"place": LARGE}})
    target.c.update_one({"_id": 50}, {"$set": {"spot": point(2)}})
    before = {one["_id"]: one for one in target.c.find({"_id": {"$in": [7, 8, 10]}})}
    said: list[str] = []
    for number in (7, 8):
        with pytest.raises(StateError, match=f"of {9 - number} documents MongoDB refuses"):
            engine.settle(swap, said.append)
        assert {one["_id"]["document"] for one in target["_changeover_m_refused"].find()} == set(range(number, 9))
        assert target.c.find_one({"_id": 9})["place"] == point(1)  # type: ignore[index]
        assert target.c.find_one({"_id": 50})["place"] == point(2)  # type: ignore[index]
        assert all(target.c.find_one({"_id": one}) == before[one] for one in range(number, 9))
        target.c.update_one({"_id": number}, {"$set": {"spot": point(3)}})
    assert said == []
    engine.settle(swap, said.append)
    assert len(said) == 1
    assert target.list_collection_names() == ["c"]
    assert target.c.find_one({"_id": 10}) == before[10]
    go_back(target, action)
    wanted = {number: point(number) for number in range(60)} | {7: point(3), 8: point(3), 9: point(1), 50: point(2)}
    assert list(target.c.find().sort("_id", 1)) == [
        {"_id": number, "place": LARGE if number == 10 else place} for number, place in wanted.items()
    ]


def go_back(target: Database[Any], action: Reshape) -> None:
    wanted = concerned(action, "withdraw")
    until_none(target, target.c, wanted, known(action), withdrawn(action), Limits(), nullcontext, "the new application")


def test_what_stages_fail_on_is_listed(target: Database[Any], engine: MongoEngine) -> None:
    """Where `down` fails, or nobody can tell which side is the truth; not where `up` fails on the old one alone."""
    stages = {"up": [{"$set": {"b": {"$split": ["$a", " "]}}}], "down": [{"$set": {"a": {"$arrayElemAt": ["$b", 0]}}}]}
    action = reshape({"transform": {"from": ["a"], "to": ["b"], **stages}}, RENAME)
    swap = Step(key="swap/all", phase=Phase.SWAP, title="t", action=action)
    target.c.insert_many([{"_id": number, "a": "x", "place": point(number)} for number in range(20)])
    target.c.update_many({}, in_step(action, "old"))
    target.c.update_one({"_id": 3}, {"$set": {"b": "text"}})
    target.c.update_one({"_id": 4}, {"$set": {"a": 5}, "$unset": {action.marker: 1}})
    target.c.update_one({"_id": 5}, {"$set": {"a": 5}})
    target.c.update_one({"_id": 6}, {"$set": {"a": 5, "spot": point(2)}})
    target.c.update_one({"_id": 7}, {"$set": {"spot": point(2)}})
    with pytest.raises(StateError, match="of 3 documents MongoDB refuses"):
        engine.settle(swap, lambda _: None)
    assert [one["_id"]["document"] for one in target["_changeover_m_refused"].find().sort("_id", 1)] == [3, 4, 6]
    assert target.c.find_one({"_id": 7})["place"] == point(2)  # type: ignore[index]
    target.c.update_many({"_id": {"$in": [3, 4, 6]}}, {"$set": {"a": "y", "b": ["y"]}})
    engine.settle(swap, lambda _: None)
    target.c.update_one({"_id": 8}, {"$set": {"a": 5}, "$unset": {action.marker: 1}})
    # Now it is what is asked of a document that fails.
    with pytest.raises(StepError, match="MongoDB refuses to change some"):
        go_back(target, action)
    assert [one["_id"] for one in target.c.find({"b": {"$exists": True}})] == [8]
    target.c.update_one({"_id": 8}, {"$unset": {"b": 1, "spot": 1}})
    go_back(target, action)
    found = {one["_id"]: one for one in target.c.find()}
    assert {number: found[number]["a"] for number in (2, 3, 4, 5, 6)} == {2: "x", 3: "y", 4: "y", 5: 5, 6: "y"}
    assert found[6] == {"_id": 6, "a": "y", "place": point(2)}


def test_what_comes_when_it_has_begun_stays_and_is_said(target: Database[Any]) -> None:
    """All other documents are taken back; corrected, that one is, too."""
    action = reshape(RENAME)
    target.c.insert_many([{"_id": number, "place": point(number)} for number in range(60)])
    target.c.update_many({}, in_step(action, "old"))
    target.c.update_one({"_id": 7}, {"$set": {"spot": NOWHERE}})
    with pytest.raises(StepError, match="MongoDB refuses to change some: 16755"):
        go_back(target, action)
    left = list(target.c.find({"spot": {"$exists": True}}, {action.marker: 0}))
    assert left == [{"_id": 7, "place": point(7), "spot": NOWHERE}]
    assert target.c.count_documents({action.marker: {"$exists": True}}) == 1
    target.c.update_one({"_id": 7}, {"$set": {"spot": point(8)}})
    go_back(target, action)
    assert target.c.find_one({"_id": 7}) == {"_id": 7, "place": point(8)}


def test_all_documents_are_gone_over_but_one(target: Database[Any], engine: MongoEngine) -> None:
    """Where the oplog is too short. Of that one, too, what does not need the expression that fails."""
    added = {"add_field": {"field": "full", "value": {"$concat": ["$a", "$b"]}}}
    target.c.insert_many([{"_id": number, "a": "x", "b": "y", "place": point(number)} for number in range(30)])
    target.c.update_one({"_id": 7}, {"$set": {"a": 5}})
    said: list[str] = []
    engine.go_over(reshape(added, RENAME), "old", nullcontext, said.append)
    assert said == ["documents of c cannot be brought into step: MongoDB said 16702"]
    for one in target.c.find():
        assert one["spot"] == one["place"]
        assert one.get("full") == (None if one["_id"] == 7 else "xy")
    target.c.update_one({"_id": 7}, {"$set": {"a": "z"}})
    engine.go_over(reshape(added), "old", nullcontext, said.append)
    assert len(said) == 1
    assert target.c.find_one({"_id": 7})["full"] == "zy"  # type: ignore[index]


def test_an_added_field_alone_that_fails_ends_nobody_who_follows(target: Database[Any]) -> None:
    """There is nothing else to be done of such a document."""
    action = reshape({"add_field": {"field": "full", "value": {"$concat": ["$a", "$b"]}}})
    target.c.insert_one({"_id": "before"})
    start = stream.position(target, action)
    target.c.insert_many([{"_id": number, "a": 5 if number == 1 else "x", "b": "y"} for number in range(3)])
    ended, said, reached = threading.Event(), list[str](), list[Timestamp]()
    wanted = stream.moment(target)

    @contextmanager
    def begun() -> Iterator[tuple[Prefer, Callable[[str], None]]]:
        yield "old", lambda _: None

    def tell(moment: Timestamp) -> None:
        reached.append(moment)
        if moment >= wanted:
            ended.set()

    timer = threading.Timer(30, ended.set)
    timer.start()
    stream.follow(target, action, start, begun, lambda: not ended.is_set(), tell, said.append)
    timer.cancel()
    assert max(reached) >= wanted
    assert said == ["documents of c cannot be brought into step: MongoDB said 16702"]
    found = {one["_id"]: one.get("full") for one in target.c.find()}
    assert found == {"before": None, 0: "xy", 1: None, 2: "xy"}


def test_what_is_kept_before_it_goes_is_looked_for_in_one_go(target: Database[Any]) -> None:
    """However much it is: and once more for what was written meanwhile. Identities are of several types."""
    asked = {"field": "price", "to": "amount", "type": "decimal", "back": "string", "unfit": "dead_letter"}
    action = reshape({"change_type": asked}).model_copy(update={"dead_letters": "letters"})
    many = 250
    target.c.insert_many(
        [
            {"_id": number if number % 2 else f"k{number}", "price": "about 3" if number % 5 < 2 else "3"}
            for number in range(many)
        ]
    )
    target.c.update_many({}, in_step(action, "old"))
    # Updates go on as fast as they do: a lease is short.
    target.command("profile", 1, filter={"op": "command"})
    keep(target, action, nullcontext, most=20)
    target.command("profile", 0)
    looks = target["system.profile"].find({"ns": f"{target.name}.c"})
    assert sum(one.get("docsExamined", 0) for one in looks) < 3 * many
    assert target.letters.count_documents({"value": "about 3"}) == many * 2 // 5
    assert target.c.count_documents({"price": "3"}) == target.c.count_documents({"price": {"$exists": True}})
    assert target.c.count_documents({"price": "3"}) == many * 3 // 5
