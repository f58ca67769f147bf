"""drop_multicolumn_constraint: a rule over several columns that nobody needs any more."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import StrictBool

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Claim, Contradiction, NewName, Operation, constraint
from tasks.model.operations.conversions import Expressions, converted, given_claims, lossy_without_conversion


class DropMulticolumnConstraint(Operation):
    """Drop a constraint over any number of columns at the swap; a rollback puts it back.

    With `down`, the values that break it are kept from the old shape, by way of new columns; a column that is
    only named there, as in `down: {c: c}`, stays where it is.
    """

    kind: ClassVar[str] = "drop_multicolumn_constraint"

    table: TableName
    name: Identifier
    up: Expressions | None = None
    """For each column, the new value, from the old values of the row."""
    down: Expressions | None = None
    """For each column, the old value, from the new values of the row; together they meet the constraint."""
    lossy: StrictBool = False
    """`down` need not bring the old values back exactly."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table of the constraint."""
        return (self.table,)

    @property
    def converted(self) -> tuple[str, ...]:
        """Return the columns whose values move to a new column."""
        return converted(self.up, self.down)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse `lossy` where nothing is converted."""
        yield from lossy_without_conversion(lossy=self.lossy, converts=bool(self.converted))

    def claims(self) -> Iterator[Claim]:
        """Change the columns that get other values, and read the others that are named."""
        yield from given_claims(self.table, self.up, self.down)

    def known_names(self) -> Iterator[NewName]:
        """Name the constraint."""
        yield constraint(self.table, self.name, ("name",))
