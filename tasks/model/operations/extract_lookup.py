"""extract_lookup: values that repeat, once each in a table of their own."""

from collections.abc import Iterator
from typing import ClassVar

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Claim, Contradiction, Manner, NewName, Operation, constraint, relation


class ExtractLookup(Operation):
    """Put the values of a column into a new table, once each, and a reference to it in place of the column.

    Column and reference are in step until `contract`, whichever of them is written.
    """

    kind: ClassVar[str] = "extract_lookup"

    table: TableName
    column: Identifier
    to: TableName
    """The table that is made: `id`, and the value."""
    to_column: Identifier | None = None
    """The name of the value there; that of the column unless given."""
    reference: Identifier | None = None
    """The name of the column that refers to it; `COLUMN_id` unless given."""

    @property
    def value(self) -> str:
        """The name of the value in the new table."""
        return self.to_column or self.column

    @property
    def new_name(self) -> str:
        """The name of the column that refers to the new table."""
        return self.reference or f"{self.column}_id"

    @property
    def foreign_key(self) -> str:
        """The name of the foreign key."""
        return f"{self.table.rpartition('.')[2]}_{self.new_name}_fkey"

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table of the column."""
        return (self.table,)

    @property
    def alone_on(self) -> tuple[str, ...]:
        """Return both tables: the names that the triggers know do not move beside them."""
        return (self.table, self.to)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse names that are taken, or too long."""
        if self.value == "id":
            yield Contradiction(
                at=("to_column",), reason="the new table has a key of that name", hint="Choose another name."
            )
        if self.to == self.table:
            yield Contradiction(at=("to",), reason="there is a table of that name", hint="Choose another name.")
        for name, key in ((self.new_name, "reference"), (self.foreign_key, "reference")):
            if len(name.encode()) > 63:
                yield Contradiction(
                    at=(key,), reason=f"the name {name} has more than 63 bytes", hint="Give a shorter one."
                )

    def claims(self) -> Iterator[Claim]:
        """Make the one column, remove the other."""
        yield Claim(table=self.table, column=self.new_name, manner=Manner.MAKES, at=("reference",))
        yield Claim(table=self.table, column=self.column, manner=Manner.REMOVES, at=("column",))

    def new_names(self) -> Iterator[NewName]:
        """Name the table and the foreign key."""
        yield relation(self.to, self.to.rpartition(".")[2], ("to",))
        yield constraint(self.table, self.foreign_key, ("reference",))
