"""What operations on a column of two tables have in common, whose rows are tied to each other."""

from collections.abc import Iterator, Mapping

from pydantic import Field

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Claim, Manner, Operation


class Linked(Operation):
    """Concern a column, and the rows of another table that belong to its rows."""

    table: TableName
    column: Identifier
    to: TableName
    """The table that gets the column."""
    to_column: Identifier | None = None
    """Its name there; the same unless given."""
    on: Mapping[Identifier, Identifier] = Field(min_length=1)
    """Which rows belong together: columns of `table`, and the columns of `to` that they equal."""

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

    def claims_of(self, manner: Manner) -> Iterator[Claim]:
        """Make the one column, treat the other in a manner, and read what ties them."""
        yield Claim(table=self.to, column=self.new_name, manner=Manner.MAKES, at=("to_column",))
        yield Claim(table=self.table, column=self.column, manner=manner, at=("column",))
        for own, other in self.on.items():
            yield Claim(table=self.table, column=own, manner=Manner.READS, at=("on",))
            yield Claim(table=self.to, column=other, manner=Manner.READS, at=("on",))
