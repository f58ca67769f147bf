"""split_table: columns that go to a table of their own, a row for a row."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Claim, Contradiction, Manner, NewName, Operation, constraint, relation


class SplitTable(Operation):
    """Move columns into a new table with the same key, one row to one row; both are in step until `contract`."""

    kind: ClassVar[str] = "split_table"

    table: TableName
    columns: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    """What moves, in the order in which the new table has it."""
    to: TableName
    """The table that is made: the key, which refers to `table`, and the columns."""
    key: Mapping[Identifier, Identifier] = Field(default_factory=dict)
    """Columns of the primary key of `table`, and their names in the new table, where they differ."""
    when_null: Literal["row", "no_row"] = "row"
    """Whether a row in which all of the columns are NULL has a row in the new table."""

    @property
    def foreign_key(self) -> str:
        """The name of the foreign key from the new table."""
        return f"{self.to.rpartition('.')[2]}_fkey"

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table that is split."""
        return (self.table,)

    @property
    def alone_on(self) -> tuple[str, ...]:
        """Return both tables: the names that the triggers know do not move beside them."""
        return (self.table, self.to)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse names that occur twice, or are too long."""
        if self.to == self.table:
            yield Contradiction(at=("to",), reason="there is a table of that name", hint="Choose another name.")
        for number, column in enumerate(self.columns):
            if column in self.columns[:number]:
                yield Contradiction(
                    at=("columns", number),
                    reason=f"the column {column!r} is named twice",
                    hint="Remove one of the two.",
                )
            if column in self.key:
                yield Contradiction(
                    at=("columns", number), reason=f"{column!r} is the key, which both tables have", hint="Remove it."
                )
        for own, new in self.key.items():
            if new in self.columns or list(self.key.values()).count(new) > 1:
                yield Contradiction(
                    at=("key", own),
                    reason=f"the new table has another column {new!r}",
                    hint="Choose another name.",
                )
        if len(self.foreign_key.encode()) > 63:
            yield Contradiction(
                at=("to",), reason=f"the name {self.foreign_key} has more than 63 bytes", hint="Give a shorter one."
            )

    def claims(self) -> Iterator[Claim]:
        """Remove the columns, and read the key."""
        for number, column in enumerate(self.columns):
            yield Claim(table=self.table, column=column, manner=Manner.REMOVES, at=("columns", number))
        for own in self.key:
            yield Claim(table=self.table, column=own, manner=Manner.READS, at=("key", own))

    def new_names(self) -> Iterator[NewName]:
        """Name the table and the foreign key."""
        yield relation(self.to, self.to.rpartition(".")[2], ("to",))
        yield constraint(self.to, self.foreign_key, ("to",))
