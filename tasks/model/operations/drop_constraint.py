"""drop_constraint: a rule that nobody needs any more."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import StrictBool

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Contradiction, NewName, Operation, constraint
from tasks.model.operations.conversions import lossy_without_conversion
from tasks.model.operations.text import Expression


class DropConstraint(Operation):
    """Drop a constraint at the swap; a rollback puts it back.

    With `down`, the values that break it are kept from the old shape, by way of a new column.
    """

    kind: ClassVar[str] = "drop_constraint"

    table: TableName
    name: Identifier
    up: Expression | None = None
    """The new value of the constraint's only column, from the old values of the row."""
    down: Expression | None = None
    """The old value, which meets the constraint, from the new values of the row."""
    lossy: StrictBool = False
    """`down` need not bring the old value back exactly."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table of the constraint."""
        return (self.table,)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse `lossy` where nothing is converted."""
        yield from lossy_without_conversion(lossy=self.lossy, converts=self.up is not None or self.down is not None)

    def known_names(self) -> Iterator[NewName]:
        """Name the constraint."""
        yield constraint(self.table, self.name, ("name",))
