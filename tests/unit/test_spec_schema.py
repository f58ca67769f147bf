"""The JSON Schema of a spec: it takes and refuses what the model does, and describes it."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tasks.model.operations import AlterColumn, CreateIndex
from tasks.model.spec import MigrationSpec
from tests.unit.documents import FULL, SCHEMA, add, alter, drop


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(MigrationSpec.model_json_schema())


@pytest.mark.parametrize("document", [FULL, MigrationSpec.model_validate(FULL).model_dump(mode="json")])
def test_the_schema_takes_what_the_model_takes(document: dict[str, Any]) -> None:
    assert [error.message for error in SCHEMA.iter_errors(document)] == []


@pytest.mark.parametrize(
    "operation",
    [
        {},
        {"drop_table": {"table": "t"}},
        {**add("c"), **drop("d")},
        {"rename_column": {"table": "t", "from_": "a", "to": "b"}},
        {"drop_column": {"table": "t", "column": "c", "down": None}},
        {"drop_column": {"table": "t", "colum": "c"}},
        {"sql": {"up": "a", "on_complete": True, "onComplete": True}},
        alter("c", nullable="yes"),
        alter("c", unique=None),
        add("c", default=0),
        {"create_index": {"name": "i", "table": "t", "columns": {"a": {"column": "a"}}}},
        {"create_index": {"name": "i", "table": "t", "columns": []}},
    ],
)
def test_the_schema_refuses_what_an_author_may_not_write(operation: dict[str, Any]) -> None:
    assert not SCHEMA.is_valid({"migration": "m", "operations": [operation]})


def test_the_schema_describes_every_operation_under_its_key() -> None:
    choices = MigrationSpec.model_json_schema()["properties"]["operations"]["items"]["oneOf"]
    names = {kind: body["$ref"] for choice in choices for kind, body in choice["properties"].items()}
    assert names == {
        "create_table": "#/$defs/CreateTable",
        "add_column": "#/$defs/AddColumn",
        "rename_column": "#/$defs/RenameColumn",
        "alter_column": "#/$defs/AlterColumn",
        "drop_column": "#/$defs/DropColumn",
        "create_index": "#/$defs/CreateIndex",
        "drop_index": "#/$defs/DropIndex",
        "create_constraint": "#/$defs/CreateConstraint",
        "drop_constraint": "#/$defs/DropConstraint",
        "drop_multicolumn_constraint": "#/$defs/DropMulticolumnConstraint",
        "rename_constraint": "#/$defs/RenameConstraint",
        "rename_table": "#/$defs/RenameTable",
        "drop_table": "#/$defs/DropTable",
        "set_replica_identity": "#/$defs/SetReplicaIdentity",
        "rebuild_table": "#/$defs/RebuildTable",
        "move_column": "#/$defs/MoveColumn",
        "denormalize": "#/$defs/Denormalize",
        "extract_lookup": "#/$defs/ExtractLookup",
        "split_table": "#/$defs/SplitTable",
        "extract_junction": "#/$defs/ExtractJunction",
        "merge_tables": "#/$defs/MergeTables",
        "create_api_version": "#/$defs/CreateApiVersion",
        "drop_api_version": "#/$defs/DropApiVersion",
        "sql": "#/$defs/Sql",
        "create_type": "#/$defs/CreateType",
        "alter_type": "#/$defs/AlterType",
        "drop_type": "#/$defs/DropType",
        "clean_column": "#/$defs/CleanColumn",
    }


def test_null_is_a_value_only_where_it_says_something() -> None:
    definitions = MigrationSpec.model_json_schema()["$defs"]
    with_null = {
        (name, key)
        for name, definition in definitions.items()
        for key, value in definition["properties"].items()
        if "null" in value.get("type", ())
    }
    assert with_null == {("AlterColumn", "default"), ("AlterColumn", "comment")}


def test_equal_operations_are_hashable_and_equal() -> None:
    one, other = (CreateIndex(name="i", table="t", columns=("a",)) for _ in range(2))
    assert len({one, other}) == 1
    assert AlterColumn(table="t", column="c", nullable=True) != AlterColumn(table="t", column="c", nullable=False)
