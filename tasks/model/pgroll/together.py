"""What one file says about a table that it makes: pgroll goes step by step, here the table is made whole."""

from collections.abc import Sequence
from typing import Any

from tasks.model.pgroll.reader import mappings


def together(operations: Sequence[Any]) -> tuple[list[Any], tuple[int, ...]]:
    """Put constraints of a table that the file makes into its create_table.

    Return the operations that are left, and for each the number that it has in the file. `up` and `down` of such a
    constraint say nothing: the table has no rows yet, and nobody who knows it without the constraint.
    """
    left: list[Any] = []
    numbers: list[int] = []
    made: dict[str, dict[str, Any]] = {}
    for number, one in enumerate(operations):
        kind, body = _parts(one)
        name = body.get("name") if kind == "create_table" else body.get("table")
        table = made.get(name) if isinstance(name, str) else None
        if kind == "create_constraint" and table is not None and isinstance(table.get("constraints", []), list):
            table["constraints"] = [*table.get("constraints", []), _constraint(body)]
            _never_null(table, body)
            continue
        if kind == "create_table" and isinstance(name, str):
            made[name] = body
        left.append(one)
        numbers.append(number)
    return left, tuple(numbers)


def _parts(one: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(one, dict) and len(one) == 1:
        ((kind, body),) = one.items()
        if isinstance(body, dict):
            return kind, body
    return "", {}


def _constraint(body: dict[str, Any]) -> dict[str, Any]:
    without = {"table", "up", "down", "lossy"} | ({"columns"} if body.get("type") == "check" else set())
    return {key: value for key, value in body.items() if key not in without}


def _never_null(table: dict[str, Any], constraint: dict[str, Any]) -> None:
    """The columns of a primary key are not nullable, whatever is wished."""
    keys = constraint.get("columns")
    if constraint.get("type") != "primary_key" or not isinstance(keys, list):
        return
    for column in mappings(table.get("columns")):
        if column.get("name") in keys and column.get("nullable") is True:
            del column["nullable"]
