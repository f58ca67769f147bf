"""drop_api_version: a view that no service uses any more."""

from collections.abc import Iterator
from typing import ClassVar

from tasks.model.names import TableName
from tasks.model.operations.base import NewName, Operation, relation


class DropApiVersion(Operation):
    """Drop a view that `create_api_version` made; it stays until `contract`."""

    kind: ClassVar[str] = "drop_api_version"

    name: TableName

    @property
    def tables(self) -> tuple[str, ...]:
        """Return nothing: the table below does not change."""
        return ()

    def known_names(self) -> Iterator[NewName]:
        """Name the view."""
        yield relation(self.name, self.name.rpartition(".")[2], ("name",))
