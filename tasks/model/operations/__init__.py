"""What a spec can ask for: one operation a file, in the words of pgroll.

A new operation is a file with a subclass of `Operation`, its import here, and a line in `AnyOperation`.
"""

from tasks.model.operations.add_column import AddColumn
from tasks.model.operations.alter_column import AlterColumn
from tasks.model.operations.alter_type import AlterType
from tasks.model.operations.base import Operation
from tasks.model.operations.clean_column import CleanColumn
from tasks.model.operations.create_api_version import CreateApiVersion
from tasks.model.operations.create_constraint import CreateConstraint
from tasks.model.operations.create_index import CreateIndex
from tasks.model.operations.create_table import CreateTable
from tasks.model.operations.create_type import CreateType
from tasks.model.operations.denormalize import Denormalize
from tasks.model.operations.drop_api_version import DropApiVersion
from tasks.model.operations.drop_column import DropColumn
from tasks.model.operations.drop_constraint import DropConstraint
from tasks.model.operations.drop_index import DropIndex
from tasks.model.operations.drop_multicolumn_constraint import DropMulticolumnConstraint
from tasks.model.operations.drop_table import DropTable
from tasks.model.operations.drop_type import DropType
from tasks.model.operations.extract_junction import ExtractJunction
from tasks.model.operations.extract_lookup import ExtractLookup
from tasks.model.operations.merge_tables import MergeTables
from tasks.model.operations.move_column import MoveColumn
from tasks.model.operations.rebuild_table import RebuildTable
from tasks.model.operations.rename_column import RenameColumn
from tasks.model.operations.rename_constraint import RenameConstraint
from tasks.model.operations.rename_table import RenameTable
from tasks.model.operations.set_replica_identity import SetReplicaIdentity
from tasks.model.operations.split_table import SplitTable
from tasks.model.operations.sql import Sql

AnyOperation = (
    CreateTable
    | AddColumn
    | RenameColumn
    | AlterColumn
    | DropColumn
    | CreateIndex
    | DropIndex
    | CreateConstraint
    | DropConstraint
    | DropMulticolumnConstraint
    | RenameConstraint
    | RenameTable
    | DropTable
    | SetReplicaIdentity
    | RebuildTable
    | MoveColumn
    | CreateType
    | AlterType
    | DropType
    | CleanColumn
    | Denormalize
    | ExtractLookup
    | ExtractJunction
    | SplitTable
    | MergeTables
    | CreateApiVersion
    | DropApiVersion
    | Sql
)  # fmt: skip
"""Every operation there is. A `match` over it is checked for completeness by mypy."""

__all__ = [
    "AddColumn",
    "AlterColumn",
    "AlterType",
    "AnyOperation",
    "CleanColumn",
    "CreateApiVersion",
    "CreateConstraint",
    "CreateIndex",
    "CreateTable",
    "CreateType",
    "Denormalize",
    "DropApiVersion",
    "DropColumn",
    "DropConstraint",
    "DropIndex",
    "DropMulticolumnConstraint",
    "DropTable",
    "DropType",
    "ExtractJunction",
    "ExtractLookup",
    "MergeTables",
    "MoveColumn",
    "Operation",
    "RebuildTable",
    "RenameColumn",
    "RenameConstraint",
    "RenameTable",
    "SetReplicaIdentity",
    "SplitTable",
    "Sql",
]
