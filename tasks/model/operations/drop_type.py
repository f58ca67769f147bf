"""drop_type: an enum or a domain that no column has any more."""

from collections.abc import Iterator
from typing import ClassVar

from tasks.model.names import TableName
from tasks.model.operations.base import Operation


class DropType(Operation):
    """Drop a type at `contract`, when the columns that this spec takes it from are gone."""

    kind: ClassVar[str] = "drop_type"

    name: TableName

    @property
    def tables(self) -> tuple[str, ...]:
        """Return nothing: the columns of that type are named by the operations that change them."""
        return ()

    def settles(self) -> Iterator[str]:
        """Decide what becomes of the type."""
        yield f"the type {self.name!r}"
