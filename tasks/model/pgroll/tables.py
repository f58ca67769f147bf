"""The tables of a pgroll file, with their columns and constraints, in our words."""

from collections.abc import Mapping
from typing import Any

from tasks.model.document import Location
from tasks.model.operations.text import is_serial
from tasks.model.pgroll.reader import Reader, each, mappings, part, plain, texts, without_false
from tasks.model.pgroll.values import condition, upper

_ACTIONS = ("on_delete", "on_update", "match_type")


def create_table(body: Mapping[str, Any], at: Location, reader: Reader) -> dict[str, Any]:
    """Say create_table; what its primary key covers is never nullable."""
    found = reader.given(body, at)
    each(found, "columns", at, reader, read_column)
    each(found, "constraints", at, reader, read_table_constraint)
    _not_inherited(found)
    primary = [one for one in mappings(found.get("constraints")) if one.get("type") == "primary_key"]
    keys = [name for one in primary for name in texts(one.get("columns"))]
    for column in mappings(found.get("columns")):
        # To pgroll nullable is a wish, and the primary key has the last word.
        if column.get("nullable") is True and (column.get("name") in keys or column.get("pk") is True):
            del column["nullable"]
    return found


def _not_inherited(found: dict[str, Any]) -> None:
    """Make checks of columns, where they are not inherited, checks of the table: there they can say so."""
    constraints = found.get("constraints", [])
    for column in mappings(found.get("columns")):
        check = column.get("check")
        if isinstance(constraints, list) and isinstance(check, dict) and check.get("no_inherit") is True:
            said = {key: value for key, value in check.items() if key != "constraint"}
            constraints = [*constraints, {**said, "type": "check", "check": check.get("constraint")}]
            found["constraints"] = constraints
            del column["check"]


def read_column(body: Mapping[str, Any], at: Location, reader: Reader) -> dict[str, Any]:
    """Read the definition of a column."""
    found = reader.given(body, at)
    fills_itself = isinstance(found.get("type"), str) and is_serial(found["type"])
    if fills_itself or _is_identity(found.get("generated")):
        # It is never NULL, whatever is wished.
        found = {key: value for key, value in found.items() if (key, value) != ("nullable", True)}
    part(found, "check", at, reader, read_check)
    part(found, "references", at, reader, read_references)
    part(found, "generated", at, reader, _generated)
    return found


def _is_identity(generated: Any) -> bool:
    return isinstance(generated, dict) and isinstance(generated.get("identity"), dict)


def _generated(body: Mapping[str, Any], at: Location, reader: Reader) -> dict[str, Any]:
    found = reader.given(body, at)
    part(found, "identity", at, reader, plain)
    return found


def read_check(body: Mapping[str, Any], at: Location, reader: Reader) -> dict[str, Any]:
    """Read a condition on one column."""
    found = without_false(reader.given(body, at), "no_inherit")
    return found | {"constraint": condition(found["constraint"])} if "constraint" in found else found


def read_references(body: Mapping[str, Any], at: Location, reader: Reader) -> dict[str, Any]:
    """Read where a foreign key points."""
    found = upper(reader.given(body, at), *_ACTIONS)
    if found.get("on_delete_set_columns") == []:
        del found["on_delete_set_columns"]
    return found


def read_table_constraint(body: Mapping[str, Any], at: Location, reader: Reader) -> dict[str, Any]:
    """Read a constraint of a table."""
    found = without_false(reader.given(body, at), "no_inherit", "nulls_not_distinct")
    if "check" in found:
        found["check"] = condition(found["check"])
    if found.get("type") == "check":
        # The condition names them.
        found.pop("columns", None)
    part(found, "references", at, reader, read_references)
    part(found, "exclude", at, reader, plain)
    read_index_parameters(found, at, reader)
    return found


def read_index_parameters(found: dict[str, Any], at: Location, reader: Reader) -> None:
    """Read the settings of the index behind a constraint; none at all are left out."""
    part(found, "index_parameters", at, reader, plain)
    if found.get("index_parameters") in ({}, {"include_columns": []}):
        del found["index_parameters"]
