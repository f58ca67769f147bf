"""drop_column: a column that nobody needs any more."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import StrictBool

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Claim, Contradiction, Manner, Operation
from tasks.model.operations.text import Expression


class DropColumn(Operation):
    """Drop a column; it stays, and can be brought back, until `contract`."""

    kind: ClassVar[str] = "drop_column"

    table: TableName
    column: Identifier
    down: Expression | None = None
    """The value that the column would have had, from the new values of the row."""
    lossy: StrictBool = False
    """`down` need not bring the old value back exactly."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table of the column."""
        return (self.table,)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse `lossy` where nothing brings a value back."""
        if self.lossy and self.down is None:
            yield Contradiction(
                at=("lossy",),
                reason="lossy says something about down, which is not given",
                hint="Remove lossy, or add down.",
            )

    def claims(self) -> Iterator[Claim]:
        """Change the column."""
        yield Claim(table=self.table, column=self.column, manner=Manner.REMOVES, at=("column",))
