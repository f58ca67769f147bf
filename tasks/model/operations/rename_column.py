"""rename_column: another name for a column, while applications still use the old one."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Claim, Contradiction, Manner, Operation


class RenameColumn(Operation):
    """Rename a column."""

    kind: ClassVar[str] = "rename_column"

    table: TableName
    from_: Identifier = Field(alias="from")
    to: Identifier

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table of the column."""
        return (self.table,)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse a new name that is the old one."""
        if self.from_ == self.to:
            yield Contradiction(at=("to",), reason="both names are the same", hint="Choose another name.")

    def claims(self) -> Iterator[Claim]:
        """Change the columns of both names."""
        yield Claim(table=self.table, column=self.from_, manner=Manner.RENAMES, at=("from",))
        yield Claim(table=self.table, column=self.to, manner=Manner.MAKES, at=("to",))
