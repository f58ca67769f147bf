"""The operations of a pgroll file, one by one, in our words."""

from collections.abc import Mapping
from typing import Any

from tasks.model.document import Location
from tasks.model.names import quote
from tasks.model.operations.conversions import converted, is_column
from tasks.model.pgroll.reader import Read, Reader, each, part, plain, without_false
from tasks.model.pgroll.tables import create_table, read_check, read_column, read_index_parameters, read_references
from tasks.model.pgroll.values import condition, expression


def operation(value: Any, at: Location, reader: Reader) -> Any:
    """Say one operation in our words; what is no operation is left as it is, for the spec to refuse."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((kind, body),) = value.items()
    if not isinstance(body, dict):
        return value
    here = (*at, kind)
    if kind == "alter_column" and "name" in body:
        return _renamed(reader.given(body, here, _NULLS), here, reader)
    return {kind: _BODIES.get(kind, plain)(body, here, reader)}


def _add_column(body: Mapping[str, Any], at: Location, reader: Reader) -> dict[str, Any]:
    found = reader.given(body, at)
    part(found, "column", at, reader, read_column)
    return _expressions(found)


_NULLS = frozenset({"default", "comment"})
_MEANS_THE_COLUMN = ("unique", "nullable", "default", "comment")
"""What pgroll alters without being told `down`."""


def _alter_column(body: Mapping[str, Any], at: Location, reader: Reader) -> dict[str, Any]:
    found = reader.given(body, at, _NULLS)
    if found.get("comment") == "":
        found["comment"] = None
    part(found, "check", at, reader, read_check)
    part(found, "references", at, reader, read_references)
    part(found, "unique", at, reader, plain)
    column = found.get("column")
    changes = found.keys() - {"table", "column", "up", "down"}
    if changes and _stays(found, column) and "type" not in found and found.get("nullable") is not True:
        if "up" in found or "down" in found:
            reader.in_place.append(f"{found.get('table')}.{column}")
        return {key: value for key, value in found.items() if key not in ("up", "down")}
    if "up" in found and "down" not in found and isinstance(column, str) and changes & {*_MEANS_THE_COLUMN}:
        found["down"] = quote(column)
    return _lossy(_expressions(found), at, reader)


def _stays(found: Mapping[str, Any], column: Any) -> bool:
    """Tell whether neither expression changes the value."""
    texts = (column, found.get("up", ""), found.get("down", ""))
    return all(isinstance(one, str) for one in texts) and all(is_column(found.get(k), column) for k in ("up", "down"))


def _renamed(found: dict[str, Any], at: Location, reader: Reader) -> Any:
    """Read a rename as pgroll wrote it before rename_column; beside other changes it is a second operation."""
    others = found.keys() - {"table", "column", "name", "up", "down"}
    if others or "column" not in found:
        reason = "an alter_column of pgroll that also gives the column another name is no longer known"
        reader.refuse((*at, "name"), reason, "Write rename_column with from and to, in a migration of its own.")
        return {"alter_column": found}
    return {"rename_column": {"from": found["column"], "to": found["name"], **_table(found)}}


def _table(found: dict[str, Any]) -> dict[str, Any]:
    return {"table": found["table"]} if "table" in found else {}


def _drop_column(body: Mapping[str, Any], at: Location, reader: Reader) -> dict[str, Any]:
    return _lossy(_expressions(reader.given(body, at)), at, reader)


def _expressions(found: dict[str, Any]) -> dict[str, Any]:
    for key in ("up", "down"):
        if isinstance(found.get(key), dict):
            found[key] = {column: expression(text) for column, text in found[key].items()}
        elif key in found:
            found[key] = expression(found[key])
    return found


def _lossy(found: dict[str, Any], at: Location, reader: Reader) -> dict[str, Any]:
    """Let `down` be what it is to pgroll: a value for the old applications, not a way back to the old one."""
    if "down" not in found or not _converts(found):
        return found
    reader.lossy.append(at)
    return {**found, "lossy": True}


def _converts(found: Mapping[str, Any]) -> bool:
    up, down = found.get("up"), found.get("down")
    if isinstance(down, dict) and isinstance(up, dict | None):
        texts = (*down.values(), *(up or {}).values())
        return all(isinstance(one, str) for one in texts) and bool(converted(up, down))
    return True


def _create_index(body: Mapping[str, Any], at: Location, reader: Reader) -> dict[str, Any]:
    found = reader.given(body, at)
    each(found, "columns", at, reader, _index_field)
    columns = found.get("columns")
    if isinstance(columns, dict):
        found["columns"] = {
            name: _index_field(settings, (*at, "columns", name), reader) if isinstance(settings, dict) else settings
            for name, settings in columns.items()
        }
    return found


def _index_field(body: Mapping[str, Any], at: Location, reader: Reader) -> dict[str, Any]:
    found = reader.given(body, at)
    part(found, "opclass", at, reader, plain)
    return {key: value for key, value in found.items() if key != "opclass" or value != {}}


def _create_constraint(body: Mapping[str, Any], at: Location, reader: Reader) -> dict[str, Any]:
    found = without_false(reader.given(body, at), "no_inherit")
    if "check" in found:
        found["check"] = condition(found["check"])
    part(found, "references", at, reader, read_references)
    read_index_parameters(found, at, reader)
    if "index_parameters" in found:
        reader.refuse(
            (*at, "index_parameters"),
            "the index behind a constraint that is added has no settings",
            "Remove them: pgroll does not use them here, either.",
        )
    return _lossy(_expressions(found), at, reader)


def _drop_constraint(body: Mapping[str, Any], at: Location, reader: Reader) -> dict[str, Any]:
    return _lossy(_expressions(reader.given(body, at)), at, reader)


def _replica_identity(body: Mapping[str, Any], at: Location, reader: Reader) -> dict[str, Any]:
    found = reader.given(body, at)
    part(found, "identity", at, reader, plain)
    return found


_BODIES: Mapping[str, Read] = {
    "create_table": create_table,
    "add_column": _add_column,
    "alter_column": _alter_column,
    "drop_column": _drop_column,
    "create_index": _create_index,
    "create_constraint": _create_constraint,
    "drop_constraint": _drop_constraint,
    "drop_multicolumn_constraint": _drop_constraint,
    "set_replica_identity": _replica_identity,
}
