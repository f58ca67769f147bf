"""move_column: a column that belongs to another table."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import StrictBool

from tasks.model.operations.base import Claim, Contradiction, Manner
from tasks.model.operations.linked import Linked


class MoveColumn(Linked):
    """Move a column to the rows of another table that its rows belong to; both are in step until `contract`."""

    kind: ClassVar[str] = "move_column"

    when_differ: Literal["refuse", "min", "max"] = "refuse"
    """What several rows of `table` that belong to one row of `to` give it, where their values differ."""
    lossy: StrictBool = False
    """Values of rows that no row of `to` belongs to need not go anywhere."""

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
        """Make the one column, remove the other."""
        yield from self.claims_of(Manner.REMOVES)
