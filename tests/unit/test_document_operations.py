"""Operations on documents: every contradiction that they refuse, at its place."""

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.model.spec import MigrationSpec
from tests.unit.refusals import at_the_mark

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
SEVERAL: list[tuple[str, list[dict[str, Any]]]] = [
    ("already concerns the field a", [{"remove_field": {"field": "a"}}, {"add_field": {"field": "a.b"}}]),
    ("already says this", [{"validator": {"schema": {}}}, {"validator": {"schema": {}}}]),
    ("already says this", [{"drop_index": {"name": "i"}}, {"create_index": {"name": "i", "keys": {"a": 1}}}]),
    ("has one key", [{"remove_field": {"field": "a"}, "drop_index": {"name": "i"}}]),
    ("has one key", [{}]),
]


@pytest.mark.parametrize(("operation", "reason"), ONE.items())
def test_what_one_operation_refuses(operation: str, reason: str) -> None:
    text = f"migration: m\ndocuments:\n  collection: c\n  operations:\n    - {operation}\n"
    assert at_the_mark(text)[1] == reason


@pytest.mark.parametrize(("reason", "operations"), SEVERAL)
def test_what_cannot_stand_together(reason: str, operations: list[dict[str, Any]]) -> None:
    with pytest.raises(ValidationError, match=reason):
        MigrationSpec.model_validate({"migration": "m", "documents": {"collection": "c", "operations": operations}})
