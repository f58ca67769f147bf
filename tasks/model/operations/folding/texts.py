"""Expressions by the names that columns and tables have today, or will have, whichever they are written with.

`up` reads a row as it is today, and everything else one as it will be. A name that only the other shape knows can mean
but that column; where a word could be something else, it stays, and planning asks the database.
"""

from collections.abc import Mapping
from typing import Any

from tasks.model.operations.add_column import AddColumn
from tasks.model.operations.alter_column import AlterColumn
from tasks.model.operations.base import Operation
from tasks.model.operations.create_constraint import CreateConstraint
from tasks.model.operations.create_index import CreateIndex
from tasks.model.operations.drop_column import DropColumn
from tasks.model.operations.drop_constraint import DropConstraint
from tasks.model.operations.drop_multicolumn_constraint import DropMulticolumnConstraint
from tasks.model.operations.folding.entries import Operations
from tasks.model.operations.folding.names_within import UncertainError, with_other_names
from tasks.model.operations.rename_column import RenameColumn

_TEXTS = AddColumn | AlterColumn | DropColumn | DropConstraint | DropMulticolumnConstraint | CreateConstraint


def by_last_names(op: Operation, all_of: Operations, renamed: Mapping[str, str]) -> Operation:
    """Return an operation whose `up` names columns as they are called today, and the rest as they will be."""
    if not isinstance(op, _TEXTS | CreateIndex):
        return op
    before = {one.to: one.from_ for one in _renames(all_of, op.table)}
    after = {one.from_: one.to for one in _renames(all_of, op.table)}
    tables: dict[str, str] = {}
    if op.table in renamed:
        tables = {renamed[op.table].rpartition(".")[2]: op.table.rpartition(".")[2]}
    if not before and not tables:
        return op
    changes: dict[str, Any] = {}
    for key, names in (("up", before), ("down", after), ("check", after), ("predicate", after)):
        value = getattr(op, key, None)
        if isinstance(value, str):
            changes[key] = _text(value, names, tables)
        elif isinstance(value, Mapping):
            changes[key] = {column: _text(text, names, tables) for column, text in value.items()}
        elif value is not None:
            condition = _text(value.constraint, names, tables)
            changes[key] = value.model_copy(update={"constraint": condition})
    if isinstance(op, AddColumn) and op.column.check is not None:
        condition = _text(op.column.check.constraint, after, tables)
        check = op.column.check.model_copy(update={"constraint": condition})
        changes["column"] = op.column.model_copy(update={"check": check})
    changed = {key: value for key, value in changes.items() if value != getattr(op, key)}
    return op.model_copy(update=changed) if changed else op


def _renames(all_of: Operations, table: str) -> list[RenameColumn]:
    found = [entry.operation for entry in all_of.entries]
    return [one for one in found if isinstance(one, RenameColumn) and one.table == table]


def _text(text: str, names: Mapping[str, str], tables: Mapping[str, str]) -> str:
    try:
        return with_other_names(text, names, tables)
    except UncertainError:
        return text
