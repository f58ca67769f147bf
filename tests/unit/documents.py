"""Operations and a whole spec as documents, for tests of what can stand together."""

from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tasks.model.spec import MigrationSpec

SCHEMA = Draft202012Validator(MigrationSpec.model_json_schema())


def add(name: str, table: str = "t", **more: Any) -> dict[str, Any]:
    """Add a column."""
    return {"add_column": {"table": table, "column": {"name": name, "type": "int", "nullable": True, **more}}}


def alter(column: str, table: str = "t", **more: Any) -> dict[str, Any]:
    """Alter a column."""
    return {"alter_column": {"table": table, "column": column, **(more or {"nullable": True})}}


def convert(column: str, table: str = "t") -> dict[str, Any]:
    """Give a column another type."""
    return alter(column, table, type="text", up="a", down="b")


def rename(from_: str, to: str, table: str = "t") -> dict[str, Any]:
    """Rename a column."""
    return {"rename_column": {"table": table, "from": from_, "to": to}}


def drop(column: str, table: str = "t") -> dict[str, Any]:
    """Drop a column."""
    return {"drop_column": {"table": table, "column": column}}


def index(name: str, *columns: str, table: str = "t") -> dict[str, Any]:
    """Make an index."""
    return {"create_index": {"name": name, "table": table, "columns": list(columns)}}


def create(name: str, *columns: str, **more: Any) -> dict[str, Any]:
    """Make a table."""
    return {"create_table": {"name": name, "columns": [{"name": c, "type": "int"} for c in columns], **more}}


def foreign_key(table: str) -> dict[str, Any]:
    """A reference to a table."""
    return {"references": {"name": "f", "table": table, "column": "id"}}


FULL = {
    "migration": "everything",
    "description": "d",
    "owner": "o",
    "ticket": "T-1",
    "database": "other",
    "soak": 1.5,
    "gates": {"before_swap": ["a.b:c"], "after_swap": ["x.json"]},
    "backfill": {"key": {"t": ["a"]}, "user_triggers": "bypass"},
    "operations": [
        create("n", "id", comment="c", constraints=[{"name": "p", "type": "primary_key", "columns": ["id"]}]),
        add("c", default="1", references={"name": "f", "table": "n", "column": "id", "on_delete": "SET NULL"}),
        rename("d", "e"),
        alter("g", default=None, comment=None, unique={"name": "u"}),
        convert("h"),
        {"drop_column": {"table": "t", "column": "i", "down": "1", "lossy": True}},
        {"create_index": {"name": "x", "table": "t", "columns": {"c": None, "z": {"sort": "DESC", "nulls": "LAST",
         "collate": "C", "opclass": {"name": "text_ops", "params": ["a=1"]}}}, "predicate": "c > 0"}},
        {"sql": {"up": "select 1; select 2;", "onComplete": True}},
    ],
}  # fmt: skip
"""A spec that says everything that can be said."""
