"""What a plan for documents refuses: validators and indexes with which writes of one of two applications would fail."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from profiles.model import Database as Named
from profiles.model import Limits
from tasks.engines.mongodb.documents.engine import MongoEngine
from tasks.engines.mongodb.rows.asked import asked_for, try_out
from tasks.engines.postgresql.engine import PostgresEngine
from tasks.model.errors import DataChanged, DriftError, SpecError
from tasks.model.plan import Plan
from tasks.model.spec import MigrationSpec
from tasks.model.steps import Phase
from tasks.model.transfer import TransferSpec

Planned = Callable[..., Plan]
RENAME = {"rename_field": {"from": "address.town", "to": "city"}}
REMOVE = {"remove_field": {"field": "address.town"}}


@pytest.fixture
def target(documents: str) -> Iterator[Database[Any]]:
    with MongoClient(documents) as client:
        yield client.get_default_database()


@pytest.fixture
def engine(database: str, documents: str) -> MongoEngine:
    given = {"limits": Limits(), "migration": "m", "run_id": "t", "database": Named(url_env="UNUSED")}
    return MongoEngine(
        url=documents, ledger=PostgresEngine(url=database, **given), taker_of=lambda _: "postgresql", **given
    )  # type: ignore[arg-type]


@pytest.fixture
def planned(engine: MongoEngine) -> Planned:
    def plan(*operations: dict[str, Any]) -> Plan:
        asked = {"migration": "m", "documents": {"collection": "users", "operations": list(operations)}}
        return engine.plan(MigrationSpec.model_validate(asked))

    return plan


def errors(plan: Plan) -> list[str]:
    return [finding.rule for finding in plan.findings if finding.severity == "error"]


TOWN = {"properties": {"address": {"required": ["town"]}}}
OLD_RULES: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({"$jsonSchema": TOWN}, {}, True),
    ({"address.town": {"$exists": True}}, {"validationLevel": "moderate"}, True),
    ({"$expr": {"$ne": ["$address.town", 1]}}, {}, True),
    ({"$jsonSchema": {"properties": {"city": {"bsonType": "int"}}}}, {}, True),
    ({"$jsonSchema": {"additionalProperties": False}}, {}, True),
    ({"$jsonSchema": TOWN}, {"validationAction": "warn"}, False),
    ({"$jsonSchema": TOWN}, {"validationLevel": "off"}, False),
    ({"$jsonSchema": {"title": "town", "description": "city", "required": ["name"]}}, {}, False),
]


@pytest.mark.parametrize(("rule", "options", "refused"), OLD_RULES)
def test_a_validator_that_one_of_two_applications_cannot_meet(
    target: Database[Any], planned: Planned, rule: dict[str, Any], options: dict[str, Any], refused: bool
) -> None:
    target.create_collection("users", validator=rule, **options)
    assert bool(errors(planned(RENAME))) == refused
    again = {"validator": {"schema": {"required": ["_id"]}}}
    # It is not replaced before the contract.
    assert bool(errors(planned(RENAME, again))) == refused


def test_a_validator_of_a_document_that_comes_with_a_field(target: Database[Any], planned: Planned) -> None:
    """Made for the new field, the document around it would have to have a street, and old applications no write."""
    within = {"properties": {"address": {"required": ["street"]}}}
    target.create_collection("users", validator={"$jsonSchema": within})
    assert errors(planned({"rename_field": {"from": "town", "to": "address.town"}}))
    assert errors(planned({"rename_field": {"from": "town", "to": "city"}})) == []


def test_what_is_hidden_already_or_needed_by_queries_is_only_dropped(target: Database[Any], planned: Planned) -> None:
    target.users.create_index([("words", "text")], name="by_words")
    target.users.create_index([("place", "2dsphere")], name="by_place")
    target.users.create_index("address.town", name="by_town", hidden=True)
    target.users.create_index("n", name="by_n")
    names = ("by_town", "by_n", "by_words", "by_place")
    plan = planned(RENAME, *({"drop_index": {"name": name}} for name in names))
    hides = [step.key.rpartition("/")[2] for step in plan.steps if step.phase is Phase.CONSTRAIN]
    assert hides == ["by_n"]
    assert [step.key.rpartition("/")[2] for step in plan.steps if step.phase is Phase.CONTRACT][1:] == list(names)


def test_a_new_validator_is_enforced_when_the_old_application_is_gone(target: Database[Any], planned: Planned) -> None:
    target.create_collection("users")
    plan = planned(RENAME, {"validator": {"schema": {"required": ["city"]}}})
    assert errors(plan) == []
    asked = {step.phase: str(step.action) for step in plan.steps if step.key.endswith("/validator")}
    assert {phase: '"error"' in text.partition("inverse")[0] for phase, text in asked.items()} == {
        Phase.EXPAND: False,
        Phase.CONTRACT: True,
    }
    for schema in (TOWN, {"additionalProperties": False}):
        assert errors(planned(RENAME, {"validator": {"schema": schema}}))


def test_a_unique_index_on_what_only_one_of_two_applications_writes(target: Database[Any], planned: Planned) -> None:
    """Missing twice is a duplicate; and a value that is handed over is for a moment in two documents."""
    target.users.insert_one({"address": {"town": 1}})
    index: dict[str, Any] = {"name": "n", "keys": {"name": 1}, "unique": True}
    assert planned(RENAME, {"create_index": index}).steps
    new = [index | {"keys": {"name": 1, "city": 1}}, index | {"partial": {"$and": [{"city": {"$exists": True}}]}}]
    for one in new:
        with pytest.raises(SpecError, match="which not all applications write"):
            planned(RENAME, {"create_index": one})
    dropped = {"drop_index": {"name": "by_town"}}
    for keys in ("address.town", "address", "city"):
        target.users.create_index(keys, name="by_town", unique=True)
        for operation in [RENAME] if keys == "city" else [RENAME, REMOVE]:
            with pytest.raises(SpecError, match="which not all applications write"):
                planned(operation, dropped)
        # That is the way: a migration before this one.
        assert planned(dropped).steps
        target.users.drop_index("by_town")
    target.users.create_index("address.town", name="by_town")
    assert planned(RENAME, dropped).steps


def test_expressions_that_the_server_cannot_take(target: Database[Any], planned: Planned) -> None:
    """On the way back, too: found when that is planned, and not when it is needed."""
    target.users.insert_one({"a": 1})
    good = [{"$set": {"a": "$b"}}]
    stage = {"$set": {"b": {"$add": ["$b", 1]}}}
    for up, down in (
        ([{"$set": {"b": {"$nothing": "$a"}}}], good),
        ([{"$set": {"b": "$a"}}], [{"$set": {"a": {"$nothing": "$b"}}}]),
        ([{"$set": {"b": "$a"}}, *[stage] * 100], good),
    ):
        with pytest.raises(SpecError, match="MongoDB cannot read the expression"):
            planned({"transform": {"from": ["a"], "to": ["b"], "up": up, "down": down}})
    assert errors(planned({"transform": {"from": ["a"], "to": ["b"], "up": [stage] * 20, "down": good}})) == []


def test_an_expression_is_tried_without_a_look_at_the_documents(target: Database[Any], planned: Planned) -> None:
    """On a large collection to plan would load production, and never be done."""
    target.users.insert_many([{"address": {"town": number}, "a": 1, "c": 1} for number in range(300)])
    target.users.create_index("c")
    up = [{"$set": {"b": "$a"}}]
    copied: dict[str, Any] = {"collection": "users", "where": {"c": 1}, "columns": {"b": {"up": {"$add": ["$a", 1]}}}}
    copied["to"] = {"database": "main", "table": "users"}
    target.command("profile", 2)
    assert planned(RENAME, {"transform": {"from": ["a"], "to": ["b"], "up": up, "down": [{"$set": {"a": "$b"}}]}}).steps
    with pytest.raises(SpecError, match="cannot read the expression"):
        planned({"transform": {"from": ["a"], "to": ["b"], "up": up, "down": [{"$set": {"a": {"$nothing": 1}}}]}})
    wanted = TransferSpec.model_validate(copied)
    try_out(target, asked_for(wanted), wanted)
    target.command("profile", 0)
    # Of a long command the profiler keeps a text.
    done = list(target.system.profile.find({"command.listIndexes": None, "command.find": None, "errCode": None}))
    done = [one for one in done if "$match" in str(one["command"])]
    assert [(one["keysExamined"], one["docsExamined"]) for one in done] == [(0, 0)] * 3


def test_a_collection_that_is_gone_is_drift(target: Database[Any], planned: Planned, engine: MongoEngine) -> None:
    """And no mistake in a name that the spec had right. What the steps themselves change is none."""
    target.create_collection("users")
    plan = planned(RENAME)
    with engine.connect("test") as conn:
        target.users.create_index("n")
        engine.refuse_drift_since(conn, plan)
        target.drop_collection("users")
        for refuse, changed in (
            (engine.refuse_drift, DataChanged.NO),
            (engine.refuse_drift_since, DataChanged.PARTIALLY),
        ):
            with pytest.raises(DriftError, match="users: the table is gone") as refused:
                refuse(conn, plan)
            assert refused.value.changed is changed
