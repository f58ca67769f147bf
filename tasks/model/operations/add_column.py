"""add_column: a new column on a table that exists."""

from collections.abc import Iterator
from typing import ClassVar

from tasks.model.names import TableName
from tasks.model.operations.base import Claim, Contradiction, Manner, NewName, Operation
from tasks.model.operations.column import ColumnDefinition
from tasks.model.operations.text import Expression, is_null, is_serial


class AddColumn(Operation):
    """Add a column, and fill it for the rows that are there."""

    kind: ClassVar[str] = "add_column"

    table: TableName
    column: ColumnDefinition
    up: Expression | None = None
    """The value for a row, from the other columns of the row."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table that gets the column."""
        return (self.table,)

    @property
    def referenced(self) -> tuple[str, ...]:
        """Return the table that the column points to, if it does."""
        return (self.column.references.table,) if self.column.references else ()

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse a column that existing rows could not have."""
        column = self.column
        if column.pk:
            yield Contradiction(
                at=("column", "pk"),
                reason="a table that exists gets no primary key by a new column",
                hint="Write unique: true, and let a later migration exchange the primary key.",
            )
        if column.generated is not None:
            if self.up is not None:
                yield Contradiction(
                    at=("up",), reason="a generated column fills itself", hint="Remove up, or generated."
                )
        elif is_serial(column.type):
            if self.up is not None:
                yield Contradiction(
                    at=("up",),
                    reason=f"{column.type} draws a number for each row",
                    hint="Remove up; or write integer or bigint, and a sequence of your own in default.",
                )
        elif not column.nullable and column.default is None and self.up is None:
            yield Contradiction(
                at=("column", "nullable"),
                reason=f"rows that exist would have no value for {column.name!r}, which is not nullable",
                hint="Add up or default, or set nullable: true.",
            )
        if not column.nullable and is_null(self.up):
            yield Contradiction(
                at=("up",),
                reason=f"up gives NULL to {column.name!r}, which is not nullable",
                hint="Choose another value, or set nullable: true.",
            )

    def claims(self) -> Iterator[Claim]:
        """Make the column."""
        yield Claim(table=self.table, column=self.column.name, manner=Manner.MAKES, at=("column", "name"))

    def new_names(self) -> Iterator[NewName]:
        """Name the constraints of the column."""
        yield from self.column.new_names(self.table, ("column",))
