"""move_column: a column that belongs to another table."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field, StrictBool

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Claim, Contradiction, Manner, Operation


class MoveColumn(Operation):
    """Move a column to the rows of another table that its rows belong to; both are in step until `contract`."""

    kind: ClassVar[str] = "move_column"

    table: TableName
    column: Identifier
    to: TableName
    """The table that gets the column."""
    to_column: Identifier | None = None
    """Its name there; the same unless given."""
    on: Mapping[Identifier, Identifier] = Field(min_length=1)
    """Which rows belong together: columns of `table`, and the columns of `to` that they equal."""
    when_differ: Literal["refuse", "min", "max"] = "refuse"
    """What several rows of `table` that belong to one row of `to` give it, where their values differ."""
    lossy: StrictBool = False
    """Values of rows that no row of `to` belongs to need not go anywhere."""

    @property
    def new_name(self) -> str:
        """The name of the column in the table that gets it."""
        return self.to_column or self.column

    @property
    def tables(self) -> tuple[str, ...]:
        """Return both tables."""
        return (self.table, self.to)

    @property
    def alone_on(self) -> tuple[str, ...]:
        """Return both tables: the names that the triggers know do not move beside them."""
        return (self.table, self.to)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse a move to itself, and a column that says where it goes."""
        if self.table == self.to:
            yield Contradiction(
                at=("to",),
                reason="the column is in this table already",
                hint="Name another table, or write rename_column.",
            )
        if self.column in self.on:
            yield Contradiction(
                at=("on",),
                reason=f"the rows belong together by {self.column!r}, which is the column that moves",
                hint="Name the key or the foreign key between the two tables.",
            )

    def claims(self) -> Iterator[Claim]:
        """Make the one column, remove the other, and read what ties them."""
        yield Claim(table=self.to, column=self.new_name, manner=Manner.MAKES, at=("to_column",))
        yield Claim(table=self.table, column=self.column, manner=Manner.REMOVES, at=("column",))
        for own, other in self.on.items():
            yield Claim(table=self.table, column=own, manner=Manner.READS, at=("on",))
            yield Claim(table=self.to, column=other, manner=Manner.READS, at=("on",))
