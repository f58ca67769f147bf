"""extract_junction: references of a column, one or a list of them, as rows of a table between the two."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Claim, Contradiction, Manner, NewName, Operation, constraint, relation


class ExtractJunction(Operation):
    """Put the references of a column into a new table, a row for each, so that a row can have many.

    The column is a foreign key, an array, or a text with a delimiter. Both are in step until `contract`.
    """

    kind: ClassVar[str] = "extract_junction"

    table: TableName
    column: Identifier
    references: TableName
    """The table that the values refer to: by the foreign key of the column, or else by its primary key."""
    to: TableName
    """The table that is made: the key of `table`, and a reference; together they are its primary key."""
    key: Mapping[Identifier, Identifier] = Field(default_factory=dict)
    """Columns of the primary key of `table`, and their names in the new table, where they differ."""
    reference: Identifier | None = None
    """The name of the reference in the new table; that of the column unless given."""
    delimiter: Annotated[str, Field(min_length=1, max_length=10)] | None = None
    """What stands between the values of a text; white space around a value does not count."""

    @property
    def new_name(self) -> str:
        """The name of the reference in the new table."""
        return self.reference or self.column

    @property
    def foreign_keys(self) -> tuple[str, str]:
        """The names of the foreign keys of the new table: to `table`, and to `references`."""
        bare = self.to.rpartition(".")[2]
        return f"{bare}_fkey", f"{bare}_{self.new_name}_fkey"

    @property
    def index(self) -> str:
        """The name of the index on the reference."""
        return f"{self.to.rpartition('.')[2]}_{self.new_name}_idx"

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table of the column, and the one that it refers to."""
        return tuple(dict.fromkeys((self.table, self.references)))

    @property
    def alone_on(self) -> tuple[str, ...]:
        """Return all of them: the names that the triggers know do not move beside them."""
        return (*self.tables, self.to)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse names that occur twice, or are too long."""
        if self.to in self.tables:
            yield Contradiction(at=("to",), reason="there is a table of that name", hint="Choose another name.")
        if self.column in self.key:
            yield Contradiction(
                at=("key", self.column), reason=f"{self.column!r} cannot be a part of the key", hint="Remove it."
            )
        for own, new in self.key.items():
            if new == self.new_name or list(self.key.values()).count(new) > 1:
                yield Contradiction(
                    at=("key", own), reason=f"the new table has another column {new!r}", hint="Choose another name."
                )
        for name in (*self.foreign_keys, self.index):
            if len(name.encode()) > 63:
                yield Contradiction(
                    at=("to",), reason=f"the name {name} has more than 63 bytes", hint="Give a shorter one."
                )
        if self.delimiter is not None and not self.delimiter.strip():
            yield Contradiction(
                at=("delimiter",), reason="white space around a value does not count", hint="Choose a sign."
            )

    def claims(self) -> Iterator[Claim]:
        """Remove the column, and read the key."""
        yield Claim(table=self.table, column=self.column, manner=Manner.REMOVES, at=("column",))
        for own in self.key:
            yield Claim(table=self.table, column=own, manner=Manner.READS, at=("key", own))

    def new_names(self) -> Iterator[NewName]:
        """Name the table, its foreign keys and its index."""
        yield relation(self.to, self.to.rpartition(".")[2], ("to",))
        yield relation(self.to, self.index, ("to",))
        for name in dict.fromkeys(self.foreign_keys):
            yield constraint(self.to, name, ("to",))
