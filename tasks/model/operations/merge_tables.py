"""merge_tables: the columns of a table with a row for a row go into the one that it belongs to."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import Field

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Claim, Contradiction, Manner, Operation


class MergeTables(Operation):
    """Put the columns of a table into the one that its primary key refers to; both are in step until `contract`."""

    kind: ClassVar[str] = "merge_tables"

    table: TableName
    """The table that gets the columns."""
    from_: TableName = Field(alias="from")
    """The table that `contract` drops: at most one row for a row of `table`."""
    columns: Mapping[Identifier, Identifier] = Field(default_factory=dict)
    """Columns of `from`, and their names in `table`, where they differ."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Return both tables."""
        return (self.table, self.from_)

    @property
    def alone_on(self) -> tuple[str, ...]:
        """Return both tables: the names that the triggers know do not move beside them."""
        return (self.table, self.from_)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse a table that is merged with itself, and two columns of one name."""
        if self.table == self.from_:
            yield Contradiction(at=("from",), reason="this is the same table", hint="Name another table.")
        names = list(self.columns.values())
        for own, new in self.columns.items():
            if names.count(new) > 1:
                yield Contradiction(
                    at=("columns", own), reason=f"two columns become {new!r}", hint="Choose another name."
                )

    def claims(self) -> Iterator[Claim]:
        """Make the columns that have other names, and remove what they are made of."""
        for own, new in self.columns.items():
            yield Claim(table=self.table, column=new, manner=Manner.MAKES, at=("columns", own))
            yield Claim(table=self.from_, column=own, manner=Manner.REMOVES, at=("columns", own))
