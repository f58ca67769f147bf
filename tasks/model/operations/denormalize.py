"""denormalize: a copy of a column in the rows that belong to it."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import Field

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Claim, Contradiction, Manner, Operation


class Denormalize(Operation):
    """Copy a column into the rows of another table that belong to its rows; both are in step until `contract`."""

    kind: ClassVar[str] = "denormalize"

    table: TableName
    column: Identifier
    to: TableName
    """The table that gets the copy."""
    to_column: Identifier | None = None
    """Its name there; the same unless given."""
    on: Mapping[Identifier, Identifier] = Field(min_length=1)
    """Which rows belong together: columns of `table`, a key of it, and the columns of `to` that they equal."""

    @property
    def new_name(self) -> str:
        """The name of the copy."""
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
        """Refuse a copy within one table, and one of what ties the rows."""
        if self.table == self.to:
            yield Contradiction(at=("to",), reason="this is the table of the column", hint="Name another table.")
        if self.column in self.on:
            yield Contradiction(
                at=("on",),
                reason=f"{self.to!r} has {self.column!r} already: it ties the rows",
                hint="Copy another column.",
            )

    def claims(self) -> Iterator[Claim]:
        """Make the copy, and read the rest."""
        yield Claim(table=self.to, column=self.new_name, manner=Manner.MAKES, at=("to_column",))
        yield Claim(table=self.table, column=self.column, manner=Manner.READS, at=("column",))
        for own, other in self.on.items():
            yield Claim(table=self.table, column=own, manner=Manner.READS, at=("on",))
            yield Claim(table=self.to, column=other, manner=Manner.READS, at=("on",))
