"""alter_type: further values of an enum, or one more rule of a domain."""

from collections.abc import Iterator
from typing import ClassVar

from tasks.model.names import TableName
from tasks.model.operations.base import Contradiction, NewName, Operation, Part
from tasks.model.operations.column import CheckConstraint
from tasks.model.operations.create_type import EnumValue, twice


class AddedValue(Part):
    """A value that an enum gets, and where in its order."""

    value: EnumValue
    before: EnumValue | None = None
    after: EnumValue | None = None
    """Without either, it comes last."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse two places."""
        if self.before is not None and self.after is not None:
            yield Contradiction(at=("after",), reason="both before and after are given", hint="Write one of the two.")


class AlterType(Operation):
    """Add values to an enum, or a constraint to a domain.

    The values are there from the beginning of the run, and stay after a rollback: PostgreSQL cannot take one away.
    To rename or remove values, make another enum and let `alter_column` map the one to the other.
    """

    kind: ClassVar[str] = "alter_type"

    name: TableName
    add_values: tuple[AddedValue, ...] | None = None
    """To an enum."""
    check: CheckConstraint | None = None
    """To a domain: a condition over `value`, for every column of that type."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Return nothing: which tables have columns of the type is known to the database."""
        return ()

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse anything but one of the two, and a value that is there twice."""
        if (not self.add_values) == (self.check is None):
            yield Contradiction(
                at=(),
                reason="values are for an enum and check is for a domain, one of the two",
                hint="Write add_values, or check.",
            )
        if self.check is not None:
            yield from self.check.of_domain()
        yield from twice(tuple(one.value for one in self.add_values or ()), "add_values")

    def settles(self) -> Iterator[str]:
        """Decide what becomes of the type."""
        yield f"the type {self.name!r}"

    def new_names(self) -> Iterator[NewName]:
        """Name the constraint."""
        if self.check is not None:
            yield NewName(space=f"constraints of type {self.name}", name=self.check.name, at=("check", "name"))
