"""Stages of a pipeline as one expression: a query can ask by it, too, whether both sides are what they should be.

A stage sees what the one before has made, by way of the variable CURRENT, in which each `$field` is looked up.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.engines.mongodb.documents.expressions import (
    REMOVE,
    ROOT,
    Expression,
    Path,
    is_missing,
    plain,
    read,
    read_all,
)
from tasks.model.document_stages import changed_by, leaves_out


def made_by(
    stages: Sequence[Mapping[str, Any]], given: Sequence[Path], wanted: Sequence[Path], root: Expression = ROOT
) -> Expression:
    """Return what stages make of some fields, and of nothing else; missing where none of them is there."""
    document: Expression = {path[0]: read(path, root) for path in given}
    for stage in stages:
        document = {"$let": {"vars": {"CURRENT": document}, "in": _after(stage)}}
    made = {"$let": {"vars": {"made": document}, "in": read_all(wanted, "$$made")}}
    return {"$cond": [is_missing(read_all(given, root)), REMOVE, made]}


def _after(stage: Mapping[str, Any]) -> Expression:
    kind, asked = changed_by(stage)
    changes = {name: plain(value) for name, value in asked.items()}
    if kind == "$project" and not any(leaves_out(value) for value in changes.values()):
        return {name: f"${name}" if _takes(value) else value for name, value in changes.items()}
    if kind in ("$project", "$unset"):
        changes = dict.fromkeys(changes, REMOVE)
    made: Expression = "$$CURRENT"
    for name, value in changes.items():
        made = {"$setField": {"field": {"$literal": name}, "input": made, "value": value}}
    return made


def _takes(value: Any) -> bool:
    return isinstance(value, bool | int | float)
