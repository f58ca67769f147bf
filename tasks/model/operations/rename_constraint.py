"""rename_constraint: another name for a rule."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Contradiction, NewName, Operation, constraint, relation


class RenameConstraint(Operation):
    """Rename a constraint, with the index behind it, at the swap."""

    kind: ClassVar[str] = "rename_constraint"

    table: TableName
    from_: Identifier = Field(alias="from")
    to: Identifier

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table of the constraint."""
        return (self.table,)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse a new name that is the old one."""
        if self.from_ == self.to:
            yield Contradiction(at=("to",), reason="both names are the same", hint="Choose another name.")

    def new_names(self) -> Iterator[NewName]:
        """Name the constraint; without a database nobody can tell whether there is an index behind it."""
        yield constraint(self.table, self.to, ("to",))
        yield relation(self.table, self.to, ("to",))

    def known_names(self) -> Iterator[NewName]:
        """Name the constraint as it is called now."""
        yield constraint(self.table, self.from_, ("from",))
