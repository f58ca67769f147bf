"""drop_table: a table that nobody needs any more."""

from typing import ClassVar

from tasks.model.names import TableName
from tasks.model.operations.base import Operation


class DropTable(Operation):
    """Drop a table; it stays as it is until `contract`, which copies it to a file first."""

    kind: ClassVar[str] = "drop_table"

    name: TableName

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table."""
        return (self.name,)

    @property
    def alone_on(self) -> tuple[str, ...]:
        """Return the table: what else is done to it would be lost."""
        return (self.name,)
