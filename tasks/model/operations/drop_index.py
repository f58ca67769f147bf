"""drop_index: an index that no query needs any more."""

from collections.abc import Iterator
from typing import ClassVar

from tasks.model.names import TableName
from tasks.model.operations.base import Operation


class DropIndex(Operation):
    """Drop an index; it stays, and is kept up, until `contract`."""

    kind: ClassVar[str] = "drop_index"

    name: TableName
    """`index` or `schema.index`."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Return nothing: only the database knows the table of an index."""
        return ()

    def settles(self) -> Iterator[str]:
        """Decide whether the index stays."""
        yield f"the end of the index {self.name!r}"
