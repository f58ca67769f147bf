"""create_table: generated columns, and constraints with what only a new table can have."""

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.model.operations import AddColumn, CreateTable


def refused(table: type[CreateTable] | type[AddColumn], value: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Where and why a definition is refused."""
    with pytest.raises(ValidationError) as caught:
        table.model_validate(value)
    return [(*one["loc"], one["ctx"]["reason"]) for one in caught.value.errors() if one["type"] == "refused"]


def with_column(**column: Any) -> dict[str, Any]:
    return {"name": "t", "columns": [{"name": "a", "type": "int", **column}]}


def with_constraint(**constraint: Any) -> dict[str, Any]:
    return {"name": "t", "columns": [{"name": "a", "type": "int"}], "constraints": [{"name": "k", **constraint}]}


@pytest.mark.parametrize(
    "generated",
    [{"expression": "1"}, {"identity": {}}, {"identity": {"user_specified_values": "BY DEFAULT"}}],
)
def test_a_generated_column_survives_a_dump(generated: dict[str, Any]) -> None:
    table = CreateTable.model_validate(with_column(generated=generated))
    assert CreateTable.model_validate(table.model_dump(mode="json", exclude_defaults=True)) == table


@pytest.mark.parametrize(
    ("column", "where", "reason"),
    [
        ({"generated": {}}, (), "a generated column has an expression or is an identity, one of the two"),
        (
            {"generated": {"expression": "1", "identity": {}}},
            (),
            "a generated column has an expression or is an identity, one of the two",
        ),
    ],
)
def test_a_generated_column_is_one_or_the_other(column: dict[str, Any], where: tuple[str, ...], reason: str) -> None:
    assert refused(CreateTable, with_column(**column)) == [("columns", 0, "generated", *where, reason)]


def test_a_generated_column_has_no_default_and_an_identity_no_null() -> None:
    column = {"generated": {"identity": {}}, "default": "1", "nullable": True}
    assert refused(CreateTable, with_column(**column)) == [
        ("columns", 0, "default", "a generated column has no default"),
        ("columns", 0, "nullable", "an identity column is never NULL"),
    ]


def test_nothing_fills_a_new_column_that_fills_itself() -> None:
    column = {"name": "a", "type": "int", "generated": {"expression": "b"}}
    assert refused(AddColumn, {"table": "t", "column": column, "up": "1"}) == [
        ("up", "a generated column fills itself")
    ]


@pytest.mark.parametrize(
    ("constraint", "key"),
    [
        ({"type": "check", "check": "a > 0", "nulls_not_distinct": True}, "nulls_not_distinct"),
        ({"type": "primary_key", "columns": ["a"], "nulls_not_distinct": True}, "nulls_not_distinct"),
        ({"type": "unique", "columns": ["a"], "no_inherit": True}, "no_inherit"),
        ({"type": "check", "check": "a > 0", "index_parameters": {"tablespace": "s"}}, "index_parameters"),
        ({"type": "unique", "columns": ["a"], "exclude": {"elements": "a with ="}}, "exclude"),
        ({"type": "exclude", "exclude": {"elements": "a with ="}, "columns": ["a"]}, "columns"),
    ],
)
def test_a_constraint_has_only_what_its_type_knows(constraint: dict[str, Any], key: str) -> None:
    kind = constraint["type"]
    assert refused(CreateTable, with_constraint(**constraint)) == [
        ("constraints", 0, key, f"a constraint of type {kind} has no {key}")
    ]


def test_an_exclusion_says_what_it_excludes_and_names_an_index() -> None:
    assert refused(CreateTable, with_constraint(type="exclude")) == [
        ("constraints", 0, "exclude", "a constraint of type exclude needs exclude")
    ]
    table = CreateTable.model_validate(with_constraint(type="exclude", exclude={"elements": "a with ="}))
    assert ("tables and indexes", "k") in {(one.space, one.name) for one in table.new_names()}
