"""Definitions of columns and constraints, shared by several operations."""

from collections.abc import Iterator
from typing import Literal

from pydantic import StrictBool

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Contradiction, Location, NewName, Part, constraint, relation
from tasks.model.operations.text import ColumnType, Expression, Text, is_null, is_serial

ForeignKeyAction = Literal["NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT"]
MatchType = Literal["SIMPLE", "FULL"]


Orphans = Literal["reject", "set_null"]
"""What becomes of rows that refer to nothing: the gate counts and refuses them, or they refer to nothing by NULL."""


class CheckConstraint(Part):
    """A condition that each row must meet."""

    name: Identifier
    constraint: Expression
    """The condition, without the word CHECK."""
    no_inherit: StrictBool = False
    """Tables that inherit from this one need not meet it."""

    @property
    def definition(self) -> str:
        """The constraint as SQL, without its name."""
        return f"check ({self.constraint}\n){' no inherit' if self.no_inherit else ''}"

    def of_domain(self) -> Iterator[Contradiction]:
        """Refuse what only the check of a table can say."""
        if self.no_inherit:
            yield Contradiction(
                at=("check", "no_inherit"), reason="nothing inherits from a domain", hint="Remove no_inherit."
            )


class UniqueConstraint(Part):
    """A promise that no two rows share a value."""

    name: Identifier


class ForeignKeyReference(Part):
    """A column of another table that a column points to."""

    name: Identifier
    """Of the foreign key."""
    table: TableName
    column: Identifier
    on_delete: ForeignKeyAction = "NO ACTION"
    on_update: ForeignKeyAction = "NO ACTION"
    match_type: MatchType = "SIMPLE"
    deferrable: StrictBool = False
    initially_deferred: StrictBool = False

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse a check at commit time on a key that cannot be deferred."""
        yield from deferral(deferrable=self.deferrable, initially_deferred=self.initially_deferred)


def deferral(*, deferrable: bool, initially_deferred: bool) -> Iterator[Contradiction]:
    """Refuse `initially_deferred` without `deferrable`."""
    if initially_deferred and not deferrable:
        yield Contradiction(
            at=("initially_deferred",),
            reason="a constraint that is initially deferred has to be deferrable",
            hint="Add deferrable: true.",
        )


def not_null(
    *, nullable: bool | None, default: str | None, references: ForeignKeyReference | None
) -> Iterator[Contradiction]:
    """Refuse what would put a NULL into a column that takes none."""
    if nullable is not False:
        return
    if is_null(default):
        yield Contradiction(
            at=("default",),
            reason="the default is NULL and the column is not nullable",
            hint="Choose another default, or set nullable: true.",
        )
    for event in ("on_delete", "on_update"):
        if references is not None and getattr(references, event) == "SET NULL":
            yield Contradiction(
                at=("references", event),
                reason=f"{event} would set a column to NULL that is not nullable",
                hint="Set nullable: true, or choose another action.",
            )


class Identity(Part):
    """A number that the database draws from a sequence of the column's own."""

    user_specified_values: Literal["ALWAYS", "BY DEFAULT"] = "ALWAYS"
    """With BY DEFAULT, a value that an application gives is taken."""
    sequence_options: Text | None = None
    """As in CREATE SEQUENCE: `start with 1000 increment by 10`."""


class Generated(Part):
    """A column that fills itself."""

    expression: Expression | None = None
    """Computed from the other columns of the row, and stored."""
    identity: Identity | None = None

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse anything but one of the two."""
        if (self.expression is None) == (self.identity is None):
            yield Contradiction(
                at=(),
                reason="a generated column has an expression or is an identity, one of the two",
                hint="Write expression or identity.",
            )


class ColumnDefinition(Part):
    """A column as it shall be."""

    name: Identifier
    type: ColumnType
    nullable: StrictBool = False
    """False unless given, as in pgroll."""
    default: Expression | None = None
    unique: StrictBool = False
    pk: StrictBool = False
    """Part of the primary key."""
    check: CheckConstraint | None = None
    references: ForeignKeyReference | None = None
    comment: Text | None = None
    generated: Generated | None = None
    """An expression on a table that exists: by strategy: shadow_table; an identity: by expand_contract."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse NULL where there can be none, and a second default."""
        yield from self._generated()
        yield from not_null(nullable=self.nullable, default=self.default, references=self.references)
        if self.pk and self.nullable:
            yield Contradiction(
                at=("nullable",),
                reason="a column of the primary key is never NULL",
                hint="Remove nullable: true.",
            )
        if is_serial(self.type) and self.default is not None:
            yield Contradiction(
                at=("default",),
                reason=f"{self.type} brings its own default",
                hint="Remove the default, or write integer or bigint as the type.",
            )
        if is_serial(self.type) and self.nullable:
            yield Contradiction(
                at=("nullable",),
                reason=f"{self.type} is never NULL",
                hint="Remove nullable: true, or write integer or bigint as the type.",
            )

    def _generated(self) -> Iterator[Contradiction]:
        if self.generated is None:
            return
        if self.default is not None:
            yield Contradiction(
                at=("default",), reason="a generated column has no default", hint="Remove default, or generated."
            )
        if self.generated.identity is not None and self.nullable:
            yield Contradiction(
                at=("nullable",), reason="an identity column is never NULL", hint="Remove nullable: true."
            )

    def new_names(self, table: str, at: Location) -> Iterator[NewName]:
        """Yield the names of its constraints; `at` is where the column stands in the operation."""
        yield from constraint_names(table, at, check=self.check, references=self.references)


def constraint_names(
    table: str,
    at: Location,
    *,
    check: CheckConstraint | None = None,
    references: ForeignKeyReference | None = None,
    unique: UniqueConstraint | None = None,
) -> Iterator[NewName]:
    """Yield the names of the constraints of a column; a unique one names its index, too."""
    if check is not None:
        yield constraint(table, check.name, (*at, "check", "name"))
    if references is not None:
        yield constraint(table, references.name, (*at, "references", "name"))
    if unique is not None:
        yield constraint(table, unique.name, (*at, "unique", "name"))
        yield relation(table, unique.name, (*at, "unique", "name"))
