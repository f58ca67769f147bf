"""The elements of an array become rows of a table of their own, and are its elements again after each write."""

from collections.abc import Iterator
from json import loads
from typing import Any

import bson
import pytest
from bson import Int64
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.database import Database

from profiles.model import Limits
from tasks.engines.mongodb.connect import connected
from tasks.engines.mongodb.rows import following
from tasks.engines.mongodb.rows.planner import plan_rows
from tasks.engines.mongodb.rows.reading import Reading
from tasks.engines.mongodb.rows.scan import examine_documents
from tasks.engines.receiving.follow import Carried, follow
from tasks.model.plan import Plan
from tasks.model.spec import MigrationSpec
from tasks.model.transfer_steps import RowTransfer
from tests.integration.test_mongodb_following import Copy
from tests.integration.test_mongodb_following_mariadb import Copy as InMaria

COLUMNS: dict[str, Any] = {
    "_id": {"type": "numeric"},
    "sku": {"column": "cart.items.sku", "unfit": "reject", "type": "text", "nulls": "both"},
    "customer": {"column": "customer.name", "type": "text", "nulls": "both"},
    "twice": {"up": {"$multiply": ["$cart.items.n", 2]}, "type": "integer", "nulls": "both"},
    "n": {"column": "cart.items.n", "type": "integer", "nulls": "missing"},
}  # fmt: skip
GIVEN: dict[str, Any] = {
    "columns": COLUMNS, "unnest": "cart.items", "position": "line", "omit": ["cart.items.secret"], "rest": "others",
}  # fmt: skip
WRITES: list[Any] = [
    {"$push": {"cart.items": {"$each": [{"sku": "new"}], "$position": 0}}},
    {"$pull": {"cart.items": {"sku": "a"}}},
    {"$pop": {"cart.items": 1}},
    {"$set": {"cart.items": []}},
    {"$set": {"cart": {"items": [{"sku": "again"}]}, "customer": {"name": "Eve"}}},
    {"$set": {"cart.items": [{"sku": "x", "n": number} for number in range(1500)]}},
    {"$unset": {"cart.items": 1}},
]


def item(sku: Any, n: int | None = None, **more: Any) -> dict[str, Any]:
    """Return an element."""
    return {"sku": sku, **({} if n is None else {"n": n}), **more}


MARIA = {"_id": "decimal(10,2)", "sku": "longtext", "customer": "longtext", "twice": "int", "n": "int"}


@pytest.fixture
def source(documents: str) -> Iterator[Database[Any]]:
    with MongoClient(documents) as client:
        database = client.get_default_database()
        database.t.insert_many([
            {"_id": 0, "cart": {"items": [item("stays", n) for n in range(3)]}},
            {"_id": 1, "cart": {"items": [item("a", 1, secret=5), item("b", 2, colour="red"), {}], "total": 3},
             "customer": {"name": "Ada", "age": 36}, "ignored": Int64(1)},
            {"_id": 2, "cart": {"items": []}}, {"_id": 3, "cart": {"items": None}}, {"_id": 4, "cart": {}},
            {"_id": 5, "cart": 7}, {"_id": 6},
            {"_id": 7.5, "cart": {"items": [item(None, 1), item(8, 2), item("c"), item(9, 3)]}},
        ])  # fmt: skip
        yield database


def drawn(url: str, **transfer: Any) -> Plan:
    """Plan a copy."""
    whole = {"collection": "t", "to": {"database": "main", "table": "t"}, **transfer}
    spec = {"migration": "copy", "database": "shop", "strategy": "cross_database", "transfer": whole}
    with connected(url, name="test") as database:
        return plan_rows(database, MigrationSpec.model_validate(spec), "postgresql")


def copied(plan: Plan) -> RowTransfer:
    """Return what copies."""
    return next(step.action for step in plan.steps if isinstance(step.action, RowTransfer))


def wanted(source: Database[Any]) -> list[Any]:
    """Say what the rows should be, without the code that makes them."""
    rows: list[Any] = []
    for one in source.t.find():
        cart = one.get("cart")
        for line, element in enumerate((cart.get("items") if isinstance(cart, dict) else None) or []):
            sku, n = element.get("sku"), element.get("n")
            if isinstance(sku, int):
                continue
            rest = {key: value for key, value in element.items() if key not in ("sku", "n", "secret")}
            customer = one.get("customer", {}).get("name")
            others = {"cart": {"items": rest}} if rest else None
            rows.append((float(one["_id"]), line, sku, customer, None if n is None else 2 * n, n, others))
    return sorted(rows, key=lambda row: row[:2])


@pytest.mark.parametrize("taker", ["postgresql", "mariadb"])
def test_rows_are_the_elements_and_stay_so(
    documents: str,
    database: str,
    source: Database[Any],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    taker: str,
) -> None:
    """Each with its place, also where others are rejected; after each write they are what the array is then."""
    copy: Copy | InMaria
    if taker == "mariadb":
        columns = {name: {**rule, "type": MARIA[name]} for name, rule in COLUMNS.items()}
        url = request.getfixturevalue("maria_database")
        copy = InMaria(documents, url, database, **{**GIVEN, "columns": columns})
    else:
        copy = Copy(documents, database, **GIVEN)
    copy.load()

    def rows() -> list[Any]:
        found = copy.asked("select _id, line, sku, customer, twice, n, others from {t} order by 1, 2")
        return [(float(key), *row, loads(last) if isinstance(last, str) else last) for key, *row, last in found]

    rejected = copy.asked("select {key}, field from {rejected} order by field")
    assert rejected == [('{"_id": {"$numberDouble": "7.5"}}', f"sku at {place}") for place in (1, 3)]
    assert len(rows()) == 8
    assert (copy.compare().equal, rows()) == (True, wanted(source))
    # Each note by itself, also of a document of more elements than are taken together.
    monkeypatch.setattr(following, "_BYTES", 1)
    for change in WRITES:
        source.t.update_many({"_id": {"$in": [1, 2, 7.5]}}, change)
        assert copy.follow(2) > 0
        assert rows() == wanted(source)
    assert copy.asked("select {key} from {rejected}") == []
    # More of them than are noted by one statement.
    source.t.insert_one({"_id": 9, "cart": {"items": [item(5)] * 201}})
    assert copy.follow(2) == 1
    assert copy.asked("select count(*) from {rejected}") == [(201,)]
    source.t.delete_one({"_id": 9})
    assert copy.follow(2) == 1
    assert copy.asked("select {key} from {rejected}") == []
    source.t.insert_one({"_id": 8, "cart": {"items": [item("z"), item(5)]}})
    # The same identity in another type: one document, of two notes.
    source.t.delete_one({"_id": 6})
    source.t.insert_one({"_id": 6.0, "cart": {"items": [item("q"), item("r")]}})
    source.t.delete_one({"_id": 0})
    found = copy.compare()
    assert (found.equal, found.unsettled, found.rejected) == (True, 6, 1)
    assert copy.follow(1000) == 4
    found = copy.compare()
    assert (found.equal, found.unsettled, found.rejected, rows()) == (True, 0, 1, wanted(source))
    copy.asked("delete from {t} where line = 1 returning 1")
    copy.asked("insert into {t} (_id, line) values (8, 7) returning 1")
    found = copy.compare()
    assert (found.differing, found.superfluous, found.equal) == (1, 1, False)


def test_what_is_no_array_is_counted_and_what_elements_are_is_chosen(documents: str, source: Database[Any]) -> None:
    """A column for each of their fields, one of all where they are no documents; found before the run."""
    sku = {"column": "cart.items.sku", "type": "jsonb"}
    plan = drawn(documents, unnest="cart.items", columns={"_id": {"type": "numeric"}, "sku": sku})
    action = copied(plan)
    assert [(one.name, one.type) for one in action.columns] == [
        ("_id", "numeric"), ("position", "integer"), ("sku", "jsonb"), ("cart_items_n", "integer"),
        ("cart_items_secret", "integer"), ("cart_items_colour", "text"),
    ]  # fmt: skip
    assert action.target_key == ("_id", "position")
    assert plan.estimates[0].rows == 10
    assert drawn(documents, **GIVEN).findings[1].message.endswith("its element is left out, and noted with the reason")
    with connected(documents, name="test") as found:
        assert examine_documents(found, plan).passed
        assert Reading(found).count(action) == 10
        # Ten are in eight documents: three in two of them, more or less.
        assert Reading(found).end_of_batch(action, None, None, 3) == ('{"_id": {"$numberInt": "1"}}',)
        source.t.insert_many([
            {"_id": 10, "cart": {"items": "x"}}, {"_id": 11, "cart": {"items": {"sku": "x"}}},
            {"_id": 12, "cart": [{"items": [item("x")]}]}, {"_id": 13, "cart": {"items": [None, "x", [1]]}},
        ])  # fmt: skip
        told = {check.name: check.message for check in examine_documents(found, plan).failed}
        assert told["values of position fit"] == (
            "3 × no array, or a field that is there twice, where elements become rows; choose documents by"
            " `where: {cart.items: {$type: array}}`"
        )
        assert told["the field cart.items has a column"].startswith("3 × a field that has no column")
        # A field twice, of which the server looks at the empty one: nothing would be read of the other.
        source.t.delete_many({"_id": {"$ne": 13}})
        twice = [bson.encode({"items": items})[4:-1] for items in ([], [item("x")])]
        body = b"".join(twice)
        cart = RawBSONDocument((len(body) + 5).to_bytes(4, "little") + body + b"\0")
        source.t.insert_one(RawBSONDocument(bson.encode({"_id": 14, "cart": cart})))
        told = {check.name: check.message for check in examine_documents(found, plan).failed}
        assert told["values of position fit"].startswith("1 × no array, or a field that is there twice")
    source.t.delete_many({"_id": {"$ne": 13}})
    (_, place, one) = copied(drawn(documents, unnest="cart.items", position="p")).columns
    assert (place.name, one.name, one.type) == ("p", "cart_items", "jsonb")


def test_what_is_no_document_beside_elements_is_not_as_if_nothing_were_there(
    documents: str, source: Database[Any]
) -> None:
    """Where the path of a column goes on; a null is where NULL says so. Fields that no column names are not read."""
    columns = {
        "_id": {"type": "numeric"}, "sku": {"column": "cart.items.sku", "type": "jsonb", "nulls": "both"},
        "first": {"column": "who.name.first", "type": "text", "nulls": "missing"},
        "of": {"column": "cart.of.n", "type": "integer", "nulls": "both"},
    }  # fmt: skip
    source.t.delete_many({"_id": {"$ne": 0}})
    plan = drawn(documents, unnest="cart.items", columns=columns, omit=["cart.items.n"])

    def told(**change: Any) -> dict[str, str]:
        source.t.update_one({"_id": 0}, {"$set": change} if change else {"$unset": {"who": 1}})
        with connected(documents, name="test") as found:
            return {check.name: check.message for check in examine_documents(found, plan).failed}

    assert told() == told(who={"name": {"first": "Ada"}, "x": 1}) == {}
    for who, at in (("Ada", "who"), (None, "who"), ({"name": "Ada", "x": 1}, "who.name"), (["Ada"], "who")):
        assert told(who=who)[f"the field {at} has a column"].startswith("3 × a field that has no column")
    assert told() == told(**{"cart.of": None}) == {}
    assert list(told(**{"cart.of": 5})) == ["the field cart.of has a column"]


def test_as_many_notes_are_carried_at_once_as_their_elements_allow(
    documents: str, database: str, source: Database[Any]
) -> None:
    """By what documents that are copied have of them, however few of all these are; then by what came of the last."""
    source.t.delete_many({})
    source.t.insert_many([{"_id": one, "cart": {"items": [item("a", n) for n in range(10)]}} for one in range(4)])
    source.t.insert_many([{"_id": one} for one in range(4, 60)])
    copy = Copy(documents, database, **GIVEN, where={"cart.items": {"$type": "array"}})
    copy.load()
    source.t.update_one({"_id": 1}, {"$set": {"seen": True}})
    sizes: list[int] = []

    def bite(size: int) -> Carried:
        return Carried(notes=size, rows=1000 * size, more=len(sizes) < 2)

    # The server may find no documents at random.
    failing = {"failCommands": ["aggregate"], "errorCode": 28799}
    with copy.reading() as (_, reading):
        source.client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=failing)
        assert reading.end_of_batch(copy.action, None, None, 20) == ('{"_id": {"$numberInt": "1"}}',)
        follow(reading, copy.action, Limits(), sizes.append, bite, own=True)
    assert sizes == [100, 20]
