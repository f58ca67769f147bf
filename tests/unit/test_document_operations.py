"""Operations on documents: every contradiction that they refuse, at its place."""

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.model.spec import MigrationSpec
from tests.unit.refusals import at_the_mark

BEFORE = "migration: m\ndocuments:\n  collection: c\n  operations:\n    - "
CONVERT = "type: int, back: string"
ONE = {
    "{add_field: {field: a, value: {$add: [1]}, default: ▸1}}": "there is a value, too",
    "{add_field: {field: a, ▸value: {$add: [$b, {$rand: {}}]}}}": "$rand gives another value each time",
    "{rename_field: {from: ▸_id, to: a}}": "_id never changes",
    "{rename_field: {from: a, to: ▸_id.b}}": "_id never changes",
    "{rename_field: {from: a, to: ▸a.b}}": "one field would be inside of the other",
    f"{{change_type: {{field: ▸_id, to: a, {CONVERT}}}}}": "_id never changes",
    f"{{change_type: {{field: a.b, to: ▸a, {CONVERT}}}}}": "one field would be inside of the other",
}
STAGES = {
    "[▸{$match: {a: 1}}]": "a stage has one key, its kind",
    "[▸{$set: {a: 1}, $unset: b}]": "a stage has one key, its kind",
    "[{$set: {b: 1}}, ▸{$set: [b]}]": "$set names no field",
    "[▸{$unset: []}]": "$unset names no field",
    "[▸{$unset: [a, b.c]}]": "a stage cannot be about 'b.c'",
    "[▸{$set: {_id: 1}}]": "a stage cannot be about '_id'",
    "[▸{$set: {b: {c: $a}}}]": "b is given a document",
    "[▸{$set: {b: {1: $a}}}]": "b is given a document",
    "[▸{$project: {a: 1, b: 0}}]": "$project takes some fields and leaves others out",
    "[▸{$set: {b: [{$rand: {}}]}}]": "$rand gives another value each time",
    "[▸{$set: {b: {$add: [$$NOW, 1]}}}]": "$$NOW gives another value each time",
    "[▸{$set: {b: $$ROOT.c}}]": "a stage is not given $$ROOT",
}
SIDES = {
    "from: [▸a.b], to: [c]": "stages cannot be about a.b",
    "from: [a], to: [▸_id]": "stages cannot be about _id",
    "from: [a, b], to: [c, ▸b]": "b is named twice",
}
GOOD = "[{$set: {b: $a}}, {$addFields: {c: {$literal: {d: 1}}, e: [$$CURRENT.a]}}, {$unset: e}, {$project: {a: 0}}]"
ANEW = "migration: m\nstrategy: shadow_table\ndocuments:\n  collection: c\n  operations:\n    - "
REBUILT = {
    ANEW + "{rebuild_collection: {▸up: [{$set: {a: 1}}]}}": "there is no down",
    ANEW + "{rebuild_collection: {▸down: [{$unset: a}]}}": "there is no up",
    ANEW + "{rebuild_collection: {up: [▸{$set: {_id: 1}}], down: [{$unset: a}]}}": "a stage cannot be about '_id'",
    ANEW
    + "{rebuild_collection: {}}\n    - ▸{remove_field: {field: a}}": "a collection that is made anew has all of its new"
    " shape by rebuild_collection",
    ANEW + "{rebuild_collection: {}}\n    - ▸{rebuild_collection: {}}": "an operation before it already says this",
    ANEW.replace("shadow", "▸shadow")
    + "{remove_field: {field: a}}": "these operations change documents where they are",
    "▸" + BEFORE + "{rebuild_collection: {}}": "a collection is made anew only by way of another one",
}
SEVERAL: list[tuple[str, list[dict[str, Any]]]] = [
    ("already concerns the field a", [{"remove_field": {"field": "a"}}, {"add_field": {"field": "a.b"}}]),
    ("already says this", [{"validator": {"schema": {}}}, {"validator": {"schema": {}}}]),
    ("already says this", [{"drop_index": {"name": "i"}}, {"create_index": {"name": "i", "keys": {"a": 1}}}]),
    ("has one key", [{"remove_field": {"field": "a"}, "drop_index": {"name": "i"}}]),
    ("has one key", [{}]),
    (
        "already concerns the field b",
        [
            {"transform": {"from": ["a"], "to": ["b"], "up": [{"$set": {"b": 1}}], "down": [{"$unset": "a"}]}},
            {"remove_field": {"field": "b.c"}},
        ],
    ),
]


@pytest.mark.parametrize(("operation", "reason"), ONE.items())
def test_what_one_operation_refuses(operation: str, reason: str) -> None:
    assert at_the_mark(BEFORE + operation)[1] == reason


@pytest.mark.parametrize(("stages", "reason"), STAGES.items())
def test_what_stages_refuse(stages: str, reason: str) -> None:
    for up, down in ((stages, GOOD), (GOOD, stages)):
        body = f"{{transform: {{from: [a], to: [b], up: {up}, down: {down}}}}}"
        assert at_the_mark(BEFORE + body)[1] == reason


@pytest.mark.parametrize(("sides", "reason"), SIDES.items())
def test_what_fields_stages_refuse(sides: str, reason: str) -> None:
    body = f"{{transform: {{{sides}, up: {GOOD}, down: {GOOD}}}}}"
    assert at_the_mark(BEFORE + body)[1] == reason


@pytest.mark.parametrize(("spec", "reason"), REBUILT.items())
def test_what_a_collection_that_is_made_anew_refuses(spec: str, reason: str) -> None:
    assert at_the_mark(spec)[1] == reason


@pytest.mark.parametrize(("reason", "operations"), SEVERAL)
def test_what_cannot_stand_together(reason: str, operations: list[dict[str, Any]]) -> None:
    with pytest.raises(ValidationError, match=reason):
        MigrationSpec.model_validate({"migration": "m", "documents": {"collection": "c", "operations": operations}})
