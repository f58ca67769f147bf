"""create_api_version: a view with a name that a service can rely on."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

from pydantic import Field, StrictBool

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Contradiction, NewName, Operation, Part, relation
from tasks.model.operations.text import ColumnType, Expression


class ApiFunction(Part):
    """A question to an API version: rows of the view, found by some values."""

    parameters: Annotated[Mapping[Identifier, ColumnType], Field(min_length=1)]
    """Their names and types, in the order in which they are given."""
    predicate: Expression
    """Which rows of the view it gives: over the columns that the view shows, and the parameters."""


class CreateApiVersion(Operation):
    """Show a table to a service under a name and with columns that stay, until `drop_api_version`.

    The view runs with the rights of who uses it.
    """

    kind: ClassVar[str] = "create_api_version"

    name: TableName
    """Of the view: `users_api_v1`."""
    table: TableName
    columns: Annotated[Mapping[Identifier, Expression], Field(min_length=1)]
    """What the view shows, by name: a column, or an expression over the columns of the row."""
    predicate: Expression | None = None
    """Which rows it shows."""
    functions: Mapping[Identifier, ApiFunction] = Field(default_factory=dict)
    """What may be asked by name, in the schema of the view."""
    roles: tuple[Identifier, ...] = ()
    """Who may use it."""
    writable: StrictBool = False
    """They may write through it, too: only what it shows as a plain column."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table."""
        return (self.table,)

    @property
    def alone_on(self) -> tuple[str, ...]:
        """Return the table: the view is of the shape that it has."""
        return (self.table,)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse to let nobody write, and a role that is there twice."""
        if self.writable and not self.roles:
            yield Contradiction(at=("writable",), reason="nobody could write", hint="Name roles, or remove writable.")
        for position, role in enumerate(self.roles):
            if role in self.roles[:position]:
                yield Contradiction(at=("roles", position), reason=f"{role!r} is there twice", hint="Remove one.")
        for name, function in self.functions.items():
            for parameter in function.parameters:
                if parameter in self.columns:
                    yield Contradiction(
                        at=("functions", name, "parameters", parameter),
                        reason=f"{parameter!r} is a column of the view, and in the predicate it would be meant",
                        hint="Choose another name for the parameter.",
                    )

    def new_names(self) -> Iterator[NewName]:
        """Name the view and its functions."""
        yield relation(self.name, self.name.rpartition(".")[2], ("name",))
        schema = self.name.rpartition(".")[0]
        for name in self.functions:
            yield NewName(space=f"the functions of {schema or 'the schema'}", name=name, at=("functions", name))
