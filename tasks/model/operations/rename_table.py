"""rename_table: another name for a table, while applications still use the old one."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Contradiction, NewName, Operation, relation


class RenameTable(Operation):
    """Rename a table; until `contract`, both names can be read and written."""

    kind: ClassVar[str] = "rename_table"

    from_: TableName = Field(alias="from")
    to: Identifier
    """Without a schema: the table stays in its own."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table, by its old name."""
        return (self.from_,)

    @property
    def alone_on(self) -> tuple[str, ...]:
        """Return the table: its name is part of whatever else is done to it."""
        return (self.from_,)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse a new name that is the old one, or that seems to name a schema."""
        if "." in self.to:
            yield Contradiction(
                at=("to",),
                reason="a table stays in its schema when it is renamed",
                hint="Write the new name alone, without a schema and a dot.",
            )
        elif self.to == self.from_.rpartition(".")[2]:
            yield Contradiction(at=("to",), reason="both names are the same", hint="Choose another name.")

    def new_names(self) -> Iterator[NewName]:
        """Name the table anew."""
        yield relation(self.from_, self.to, ("to",))
