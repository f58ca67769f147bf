"""denormalize: a copy of a column in the rows that belong to it."""

from collections.abc import Iterator
from typing import ClassVar

from tasks.model.operations.base import Claim, Contradiction, Manner
from tasks.model.operations.linked import Linked


class Denormalize(Linked):
    """Copy a column into the rows of another table that belong to its rows; both are in step until `contract`.

    The columns of `table` in `on` are a key of it.
    """

    kind: ClassVar[str] = "denormalize"

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
        """Make the copy; the column itself stays."""
        yield from self.claims_of(Manner.READS)
