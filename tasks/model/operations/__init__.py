"""What a spec can ask for: one operation a file, in the words of pgroll.

A new operation is a file with a subclass of `Operation`, its import here, and a line in `AnyOperation`.
"""

from tasks.model.operations.add_column import AddColumn
from tasks.model.operations.alter_column import AlterColumn
from tasks.model.operations.base import Operation
from tasks.model.operations.create_index import CreateIndex
from tasks.model.operations.create_table import CreateTable
from tasks.model.operations.drop_column import DropColumn
from tasks.model.operations.rename_column import RenameColumn
from tasks.model.operations.sql import Sql

AnyOperation = (
    CreateTable
    | AddColumn
    | RenameColumn
    | AlterColumn
    | DropColumn
    | CreateIndex
    | Sql
)  # fmt: skip
"""Every operation there is. A `match` over it is checked for completeness by mypy."""

__all__ = [
    "AddColumn",
    "AlterColumn",
    "AnyOperation",
    "CreateIndex",
    "CreateTable",
    "DropColumn",
    "Operation",
    "RenameColumn",
    "Sql",
]
