"""Documents of MongoDB changed where they are, through a real Prefect: there, back, and for good, under writers."""

import itertools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bson import Decimal128
from prefect import flow
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from flows.contract import contract
from flows.expand_contract import expand_contract
from flows.rollback import rollback
from tasks.dual_write import dual_write
from tasks.follow_documents import following
from tasks.migration import open_migration
from tasks.model.errors import PreflightError, SpecError, StateError, StepError
from tasks.model.status import MigrationState
from tests.acceptance.documents import as_new, beside_their_ledger, everything, fill, writing

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(600)]
S = MigrationState
RENAME = """
migration: town_to_city
database: documents
documents:
  collection: users
  operations:
    - rename_field: {from: address.town, to: place.city}
"""


@pytest.fixture
def profile(database: str, documents: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return beside_their_ledger(database, documents, tmp_path, monkeypatch)


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "rename.yaml"
    path.write_text(RENAME)
    return str(path)


def test_rename_there_back_and_for_good(target: Database[Any], profile: str, spec: str, documents: str) -> None:
    """Old applications write all the time; a rollback gives their documents back, a contract the new ones."""
    fill(target, "users", "twin")
    with writing(documents) as writers:
        report = expand_contract(spec, profile)
        assert report.state is S.COMPLETE
        assert [gate.passed for gate in report.gates] == [True, True]
        time.sleep(0.2)
        # It would be larger than 16 MiB with both: others are carried back, and nothing is undone.
        target.users.insert_one({"_id": "large", "place": {"city": "x" * 9_000_000}})
        with pytest.raises(StateError, match="of 1 documents MongoDB refuses"):
            rollback("town_to_city", profile, "documents")
        target.users.update_one({"_id": "large"}, {"$set": {"place.city": "short"}})
        # A new value that has no place in the old shape: nothing is undone as long as it is there.
        target.users.insert_one({"_id": "no place", "address": None, "place": {"city": "x"}})
        with pytest.raises(StateError, match="cannot hold"):
            rollback("town_to_city", profile, "documents")
        assert target.users.find_one_and_delete({"_id": "no place"})["place"] == {"city": "x"}  # type: ignore[index]
        assert rollback("town_to_city", profile, "documents").state is S.ROLLED_BACK
    assert [failed for one in writers for failed in one.failed] == []
    assert min(one.writes for one in writers) > 20
    assert target.users.find_one_and_delete({"_id": "large"})["address"] == {"town": "short"}  # type: ignore[index]
    assert everything(target, "users") == everything(target, "twin")
    assert sorted(target.list_collection_names()) == ["twin", "users"]

    with writing(documents) as writers:
        assert expand_contract(spec, profile).state is S.COMPLETE
    assert [failed for one in writers for failed in one.failed] == []
    # What was written after the run: the contract brings it into step first. So does a new application's document.
    target.users.insert_one({"_id": "of the new one", "place": {"city": "new"}})
    assert contract("town_to_city", profile, "documents").state is S.CONTRACTED
    wanted = [as_new(one) for one in everything(target, "twin")]
    found = [one for one in everything(target, "users") if one["_id"] != "of the new one"]
    assert found == wanted
    assert target.users.find_one({"_id": "of the new one"}) == {"_id": "of the new one", "place": {"city": "new"}}


EVERYTHING = """
migration: everything
database: documents
documents:
  collection: goods
  operations:
    - change_type: {field: price, to: amount, type: decimal, back: string, unfit: dead_letter}
    - change_type: {field: sold, to: sold_at, type: date, back: string, unfit: "null"}
    - add_field: {field: tags, default: []}
    - add_field: {field: label, value: {$concat: [$name, "/", $kind]}}
    - transform:
        from: [maker, town]
        to: [origin]
        up:
          - $set: {where: $town}
          - $set: {origin: {$mergeObjects: [{by: $maker, at: $where}]}}
          - $project: {origin: 1}
        down:
          - $set: {maker: $origin.by, town: $origin.at}
    - remove_field: {field: detail.legacy}
    - create_index: {name: by_label, keys: {label: 1}}
    - drop_index: {name: by_price}
    - validator: {schema: {required: [tags, label], properties: {label: {bsonType: string}}}}
"""
PRICES = ("1.10", "2", "about 3", None, 4, 5.5, True)


def origin_of(number: int) -> dict[str, Any]:
    """Two fields of the old shape; of some neither, and of some one, or null."""
    by: dict[str, Any] = {} if number % 5 == 0 else {"maker": f"m{number}" if number % 4 else None}
    return by if number % 3 == 0 else by | {"town": "there"}


def goods(target: Database[Any]) -> None:
    made = [
        {"_id": number, "name": f"g{number}", "kind": "k", "price": PRICES[number % 7],
         "detail": {"legacy": 1, "kept": 2}, "sold": "2026-01-02T03:04:05Z" if number % 2 else "long ago"}
        | origin_of(number)
        for number in range(300)
    ]  # fmt: skip
    for name in ("goods", "twin"):
        target[name].insert_many(made)
    target.goods.create_index("price", name="by_price")


@contextmanager
def old_goods(url: str) -> Iterator[list[str]]:
    """An old application that makes, replaces and deletes goods without the fields that are new; gives what failed."""
    failed: list[str] = []
    ended = threading.Event()

    def work() -> None:
        with MongoClient(url) as client:
            database = client.get_default_database()
            for number in itertools.count():
                one = {"name": f"o{number}", "kind": "k", "price": str(number), "detail": {"legacy": 1, "kept": 2}}
                one |= origin_of(number)
                try:
                    for name in ("goods", "twin"):
                        database[name].insert_one({"_id": f"o{number}", **one})
                        database[name].replace_one({"_id": f"o{number - 1}"}, one)
                        database[name].delete_one({"_id": f"o{number - 2}"})
                except PyMongoError as error:
                    failed.append(repr(error))
                if ended.wait(0.02):
                    return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield failed
    finally:
        ended.set()
        thread.join(30)


def test_every_operation_there_back_and_for_good(
    target: Database[Any], profile: str, documents: str, tmp_path: Path
) -> None:
    """One spec with all of them; what cannot be converted is kept, and nothing is left behind on either way."""
    goods(target)
    spec = tmp_path / "everything.yaml"
    spec.write_text(EVERYTHING)
    indexes = target.goods.index_information()

    with old_goods(documents) as failed:
        assert expand_contract(str(spec), profile).state is S.COMPLETE
    assert failed == []
    one = target.goods.find_one({"_id": 1})
    assert one is not None
    assert (one["price"], one["amount"], one["tags"], one["label"]) == ("2", Decimal128("2"), [], "g1/k")
    assert one["sold_at"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert target.goods.find_one({"_id": 2}).get("amount", "none") == "none"  # type: ignore[union-attr]
    assert target.goods.find_one({"_id": 2})["sold_at"] is None  # type: ignore[index]
    assert set(target.goods.index_information()) == {"_id_", "by_price", "by_label"}
    # A new application, after the swap: the old one finds what it wrote.
    target.goods.update_one({"_id": 1}, {"$set": {"amount": Decimal128("9.90")}})
    target.twin.update_one({"_id": 1}, {"$set": {"price": "9.90"}})
    target.goods.update_one({"_id": 4}, {"$set": {"origin": {"by": "new"}}})
    target.twin.update_one({"_id": 4}, {"$set": {"maker": "new"}, "$unset": {"town": 1}})
    # It writes what the old shape cannot hold: nobody takes that away unasked.
    target.goods.update_one({"_id": 3}, {"$set": {"amount": {"not": "a number"}, "origin": {"by": "m3", "since": 1}}})
    with pytest.raises(StateError, match="cannot hold") as refused:
        rollback("everything", profile, "documents")
    assert "1 rows break: origin can become maker, town again" in str(refused.value)
    target.goods.update_one({"_id": 3}, {"$set": {"amount": None}, "$unset": {"origin.since": 1}})
    assert rollback("everything", profile, "documents").state is S.ROLLED_BACK
    assert everything(target, "goods") == everything(target, "twin")
    assert target.goods.index_information() == indexes
    assert not target.goods.options().get("validator")

    before = everything(target, "goods")
    assert expand_contract(str(spec), profile).state is S.COMPLETE
    assert contract("everything", profile, "documents").state is S.CONTRACTED
    with pytest.raises(PyMongoError, match="failed validation"):
        target.goods.insert_one({"_id": "invalid"})
    assert set(target.goods.index_information()) == {"_id_", "by_label"}
    for old in before:
        found = target.goods.find_one({"_id": old["_id"]})
        assert found is not None
        assert found.keys() <= {"_id", "name", "kind", "detail", "amount", "sold_at", "tags", "label", "origin"}
        assert found["detail"] == {"kept": 2}
        names = {"maker": "by", "town": "at"}
        assert found.get("origin", {}) == {new: old[name] for name, new in names.items() if name in old}
    letters = {one["_id"]["document"]: one["value"] for one in target["_changeover_everything_dead_letters"].find()}
    assert letters == {old["_id"]: old["price"] for old in before if old["price"] == "about 3"}


ADDED = (
    RENAME
    + """
    - add_field: {field: label, value: {$concat: [$first, $last]}}
"""
)


def test_stopped_before_the_backfill_with_a_document_that_an_expression_cannot_read(
    target: Database[Any], profile: str, tmp_path: Path
) -> None:
    """It keeps nobody else from being followed, nor the way back; what was followed is taken back, too."""
    spec = tmp_path / "added.yaml"
    spec.write_text(ADDED)
    fill(target, "users")
    target.users.update_many({}, {"$set": {"first": "a", "last": "b"}})

    @flow
    def stopped() -> None:
        with open_migration(str(spec), profile) as m:
            dual_write(m)
            with following(m) as changes:
                into = target.users.with_options(write_concern=WriteConcern("majority"))
                into.insert_many(
                    [{"_id": f"late {n}", "first": 5 if n == 1 else "a", "address": {"town": n}} for n in range(3)]
                )
                before.extend(everything(target, "users"))
                changes.catch_up()

    before: list[Any] = []
    stopped()
    followed = list(target.users.find({"_id": {"$regex": "late"}}, {"place": 1, "label": 1}).sort("_id", 1))
    assert followed == [
        {"_id": f"late {n}", "place": {"city": n}} | ({} if n == 1 else {"label": None}) for n in range(3)
    ]
    # Not swapped, but followed both ways: a new application wrote what the old shape cannot hold, nothing is undone.
    target.users.insert_one({"_id": "no place", "address": None, "place": {"city": "x"}})
    with pytest.raises(StateError, match="cannot hold"):
        rollback("town_to_city", profile, "documents")
    assert target.users.find_one_and_delete({"_id": "no place"})["place"] == {"city": "x"}  # type: ignore[index]
    assert rollback("town_to_city", profile, "documents").state is S.ROLLED_BACK
    assert everything(target, "users") == before


def test_failures_that_pass_for_as_long_as_it_follows(target: Database[Any], profile: str, spec: str) -> None:
    """More of them than one try has, each after something has been followed; and whoever watches hears of the end."""
    target.users.insert_one({"address": {"town": 0}})
    fails = {"failCommands": ["update"], "errorCode": 112, "appName": "changeover town_to_city"}
    into = target.users.with_options(write_concern=WriteConcern("majority"))

    @flow
    def followed() -> None:
        with open_migration(spec, profile) as m:
            dual_write(m)
            with following(m) as changes:
                for number in range(m.engine.limits.attempts + 2):
                    target.client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=fails)
                    into.insert_one({"_id": number, "address": {"town": number}})
                    changes.catch_up()
                    assert into.find_one({"_id": number})["place"] == {"city": number}  # type: ignore[index]
                into.drop()
                for _ in range(600):
                    changes.require()
                    time.sleep(0.05)

    try:
        with pytest.raises(StepError, match="dropped"):
            followed()
    finally:
        target.client.admin.command("configureFailPoint", "failCommand", mode="off")


def test_a_collection_that_takes_other_strings_for_equal_is_refused(
    target: Database[Any], profile: str, spec: str
) -> None:
    """There nobody could tell that "ann" has become "Ann"."""
    target.create_collection("users", collation={"locale": "en", "strength": 1})
    with pytest.raises(SpecError, match="collation"):
        expand_contract(spec, profile)


def test_what_stands_in_the_way_is_told_before_anything_changes(
    target: Database[Any], profile: str, spec: str, tmp_path: Path
) -> None:
    """Counts, and nothing is done: the field is there, an array on the way, a value that nothing is said about."""
    target.users.insert_many([{"place": {"city": 1}}, {"address": [{"town": 1}]}, {"address": {"town": 1}, "place": 5}])
    before = everything(target, "users")
    with pytest.raises(PreflightError) as refused:
        expand_contract(spec, profile)
    for told in ("place.city is not there yet: 1 doc", "address.town: 1 doc", "place.city has room: 1 doc"):
        assert told in str(refused.value)
    convert = tmp_path / "convert.yaml"
    convert.write_text(EVERYTHING.replace("dead_letter", "fail").replace("everything", "unfit"))
    goods(target)
    with pytest.raises(PreflightError, match="values of price become amount: 43 documents"):
        expand_contract(str(convert), profile)
    assert everything(target, "users") == before
    assert everything(target, "goods") == everything(target, "twin")


def test_failures_that_pass_and_changes_that_are_forgotten(
    target: Database[Any], profile: str, spec: str, documents: str
) -> None:
    """Elections and lost connections pass; where the oplog has rolled over, all documents are gone over instead."""
    fill(target, "users", "twin")
    # As in an election: updates and reads of our own sessions fail, several times.
    fails = {"failCommands": ["update", "getMore"], "errorCode": 189, "appName": "changeover town_to_city"}
    target.client.admin.command("configureFailPoint", "failCommand", mode={"times": 6}, data=fails)
    try:
        with writing(documents) as writers:
            assert expand_contract(spec, profile).state is S.COMPLETE
    finally:
        target.client.admin.command("configureFailPoint", "failCommand", mode="off")
    assert [failed for one in writers for failed in one.failed] == []
    with writing(documents) as writers:
        time.sleep(1)
    with psycopg.connect(os.environ["LEDGER_URL"], autocommit=True) as conn:
        # A moment long before the first that the oplog still has.
        old = "regexp_replace(payload::text, '(_data[^0-9A-F]*82)........', '\\100000001')::json"
        changed = f"update changeover.snapshots set payload = {old} where name = 'stream' returning payload::text"
        rows = conn.execute(changed.encode()).fetchall()
        assert len(rows) == 1
        assert "8200000001" in rows[0][0]
    assert contract("town_to_city", profile, "documents").state is S.CONTRACTED
    assert everything(target, "users") == [as_new(one) for one in everything(target, "twin")]
