"""create_type: an enum, or a domain."""

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import AfterValidator, StrictBool

from tasks.model.names import MAX_BYTES, TableName
from tasks.model.operations.base import Contradiction, NewName, Operation, Part, refusal, relation
from tasks.model.operations.column import CheckConstraint
from tasks.model.operations.text import ColumnType, Expression, Text, is_serial


def _label(value: str) -> str:
    if len(value.encode()) > MAX_BYTES:
        raise refusal(f"a value of an enum has at most {MAX_BYTES} bytes", "Choose a shorter one.")
    return value


EnumValue = Annotated[Text, AfterValidator(_label)]
"""A value of an enum, as it is stored: without quotes."""


class Domain(Part):
    """A type with rules of its own."""

    type: ColumnType
    """The type beneath."""
    default: Expression | None = None
    nullable: StrictBool = True
    check: CheckConstraint | None = None
    """A condition over `value`."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse a shorthand for a type and a default."""
        if is_serial(self.type):
            yield Contradiction(at=("type",), reason=f"{self.type} is not a type", hint="Write integer or bigint.")
        if self.check is not None:
            yield from self.check.of_domain()


class CreateType(Operation):
    """Create an enum from its values, in their order, or a domain."""

    kind: ClassVar[str] = "create_type"

    name: TableName
    values: tuple[EnumValue, ...] | None = None
    """Of an enum."""
    domain: Domain | None = None

    @property
    def tables(self) -> tuple[str, ...]:
        """Return nothing: nobody uses the type yet."""
        return ()

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse anything but one of the two, and a value that is there twice."""
        if (self.values is None) == (self.domain is None):
            yield Contradiction(
                at=(), reason="a type is an enum or a domain, one of the two", hint="Write values, or domain."
            )
        yield from twice(self.values or (), "values")

    def new_names(self) -> Iterator[NewName]:
        """Name the type; a table of that name would have a type of that name."""
        yield relation(self.name, self.name.rpartition(".")[2], ("name",))


def twice(values: tuple[str, ...], key: str) -> Iterator[Contradiction]:
    """Refuse a value that stands in a list twice."""
    for position, value in enumerate(values):
        if value in values[:position]:
            yield Contradiction(at=(key, position), reason=f"{value!r} is there twice", hint="Remove one of the two.")
