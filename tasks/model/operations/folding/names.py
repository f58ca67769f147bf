"""The names of tables in operations, by which they are known before any of them gets another."""

from collections.abc import Mapping
from typing import Any, TypeVar

from tasks.model.operations.add_column import AddColumn
from tasks.model.operations.alter_column import AlterColumn
from tasks.model.operations.base import Operation
from tasks.model.operations.column import ColumnDefinition
from tasks.model.operations.create_constraint import CreateConstraint
from tasks.model.operations.create_index import CreateIndex
from tasks.model.operations.create_table import CreatedConstraint, CreateTable
from tasks.model.operations.drop_column import DropColumn
from tasks.model.operations.drop_constraint import DropConstraint
from tasks.model.operations.drop_multicolumn_constraint import DropMulticolumnConstraint
from tasks.model.operations.drop_table import DropTable
from tasks.model.operations.folding.entries import ApartError
from tasks.model.operations.rename_column import RenameColumn
from tasks.model.operations.rename_constraint import RenameConstraint
from tasks.model.operations.rename_table import RenameTable
from tasks.model.operations.set_replica_identity import SetReplicaIdentity

OF_ONE = (
    *(AddColumn, AlterColumn, CreateConstraint, CreateIndex, DropColumn, DropConstraint, DropMulticolumnConstraint),
    *(RenameColumn, RenameConstraint, SetReplicaIdentity),
)
"""Operations that name their table under `table`."""
Referring = TypeVar("Referring", ColumnDefinition, CreatedConstraint, AlterColumn, CreateConstraint)


def with_tables(op: Operation, names: Mapping[str, str]) -> Operation:
    """Return an operation with other names for its tables, and for those it refers to. Raises ApartError."""
    if not any(name in names for name in (*op.tables, *op.referenced)):
        return op
    changes: dict[str, Any] = {}
    match op:
        case CreateTable():
            # Its own name is a new one.
            changes["columns"] = tuple(_referring(one, names) for one in op.columns)
            changes["constraints"] = tuple(_referring(one, names) for one in op.constraints)
        case DropTable():
            changes["name"] = names.get(op.name, op.name)
        case RenameTable():
            changes["from_"] = names.get(op.from_, op.from_)
        case _ if isinstance(op, OF_ONE):
            changes["table"] = names.get(op.table, op.table)
        case _:
            raise ApartError(
                f"{op.kind} concerns a table that gets another name in the same spec",
                "Put the two into migrations of their own, one after the other.",
            )
    match op:
        case AddColumn():
            changes["column"] = _referring(op.column, names)
        case AlterColumn():
            changes["references"] = _referring(op, names).references
        case CreateConstraint():
            changes["references"] = _referring(op, names).references
    return op.model_copy(update={key: value for key, value in changes.items() if getattr(op, key) != value})


def _referring(part: Referring, names: Mapping[str, str]) -> Referring:
    reference = part.references
    if reference is None or reference.table not in names:
        return part
    changed = reference.model_copy(update={"table": names[reference.table]})
    return part.model_copy(update={"references": changed})
