"""alter_column: another type, other values, or other rules for a column."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue, StrictBool

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Claim, Contradiction, Manner, NewName, Operation, relation
from tasks.model.operations.column import (
    CheckConstraint,
    ForeignKeyReference,
    Generated,
    Orphans,
    UniqueConstraint,
    constraint_names,
    not_null,
)
from tasks.model.operations.create_constraint import CreateConstraint
from tasks.model.operations.create_table import TableForeignKeyReference
from tasks.model.operations.text import ColumnType, Expression, Text, is_null, is_serial


def _generated_or_null(schema: dict[str, Any]) -> None:
    reference = schema.pop("$ref", None)
    if reference is not None:
        schema["anyOf"] = [{"$ref": reference}, {"type": "null"}]


_ARCHIVING = {"table", "column", "references", "orphans", "archive"}
"""All that may be given with `orphans: archive`."""
_OR_NULL: dict[str, JsonValue] = {"type": ["string", "null"]}


class AlterColumn(Operation):
    """Alter a column.

    With `up` its values are converted into a new column that takes its place at the swap; otherwise it is
    altered where it is.
    """

    kind: ClassVar[str] = "alter_column"
    null_is_a_value: ClassVar[frozenset[str]] = frozenset({"default", "comment", "generated"})

    table: TableName
    column: Identifier
    type: ColumnType | None = None
    nullable: StrictBool | None = None
    default: Expression | None = Field(None, json_schema_extra=_OR_NULL)
    """The new default; null drops it, by expand-contract with the contract where the column is NOT NULL."""
    check: CheckConstraint | None = None
    """A constraint to add."""
    unique: UniqueConstraint | None = None
    """A constraint to add."""
    references: ForeignKeyReference | None = None
    """A foreign key to add."""
    orphans: Orphans | Literal["archive"] = "reject"
    """With references: what becomes of rows that refer to nothing. `archive`: they move to another table."""
    archive: TableName | None = None
    """The table that is made for them; `TABLE_orphans` unless given."""
    comment: Text | None = Field(None, json_schema_extra=_OR_NULL)
    """The new comment; null drops it."""
    generated: Generated | None = Field(None, json_schema_extra=_generated_or_null)
    """An identity for a column of integers, or an expression (by shadow table); null takes either away."""
    up: Expression | None = None
    """The new value, from the old values of the row."""
    down: Expression | None = None
    """The old value, from the new values of the row."""
    lossy: StrictBool = False
    """`down` need not bring the old value back exactly."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table of the column."""
        return (self.table,)

    @property
    def referenced(self) -> tuple[str, ...]:
        """Return the table that the column shall point to, if it shall."""
        return (self.references.table,) if self.references else ()

    @property
    def archiving(self) -> CreateConstraint | None:
        """The foreign key as an operation of its own, where rows that it would refuse move to another table."""
        if self.orphans != "archive" or self.references is None:
            return None
        return self._foreign_key(self.references).model_copy(update={"orphans": "archive", "archive": self.archive})

    def constraints(self) -> Iterator[CreateConstraint]:
        """Yield the constraints to add as operations of their own; what becomes of rows aside."""
        if self.check is not None:
            yield CreateConstraint(
                table=self.table,
                name=self.check.name,
                type="check",
                columns=(self.column,),
                check=self.check.constraint,
                no_inherit=self.check.no_inherit,
            )
        if self.unique is not None:
            yield CreateConstraint(table=self.table, name=self.unique.name, type="unique", columns=(self.column,))
        if self.references is not None:
            yield self._foreign_key(self.references)

    def _foreign_key(self, given: ForeignKeyReference) -> CreateConstraint:
        return CreateConstraint(
            table=self.table,
            name=given.name,
            type="foreign_key",
            columns=(self.column,),
            references=TableForeignKeyReference(
                table=given.table,
                columns=(given.column,),
                on_delete=given.on_delete,
                on_update=given.on_update,
                match_type=given.match_type,
            ),
            deferrable=given.deferrable,
            initially_deferred=given.initially_deferred,
        )

    @property
    def alone_on(self) -> tuple[str, ...]:
        """Return the table of which rows go to another one, and that one."""
        return self.archiving.alone_on if self.archiving is not None else ()

    @property
    def sets_default(self) -> bool:
        """True when there is a new default."""
        return self.default is not None

    @property
    def drops_default(self) -> bool:
        """True when the default was given as null."""
        return self.default is None and "default" in self.model_fields_set

    @property
    def drops_identity(self) -> bool:
        """True when generated was given as null."""
        return self.generated is None and "generated" in self.model_fields_set

    @property
    def computes(self) -> str | None:
        """The expression that the column gets its values by from now on."""
        return self.generated.expression if self.generated is not None else None

    @property
    def sets_comment(self) -> bool:
        """True when there is a new comment, or null to drop it."""
        return self.comment is not None or "comment" in self.model_fields_set

    @property
    def converts(self) -> bool:
        """True when the values move to a new column; False when the column is altered where it is."""
        given = self.type is not None or self.up is not None or self.down is not None
        return given or self.orphans == "set_null"

    @property
    def _changes(self) -> bool:
        added = (self.type, self.nullable, self.check, self.unique, self.references, self.up, self.generated)
        return any(one is not None for one in added) or bool(self.null_is_a_value & self.model_fields_set)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse a change of nothing, a conversion without a way back, and NULL where there can be none."""
        if not self._changes and self.down is None:
            yield Contradiction(
                at=(),
                reason="nothing is to be altered",
                hint="Add one of type, nullable, default, check, unique, references, comment, generated, up.",
            )
        yield from self._conversion()
        yield from self._identity()
        yield from not_null(nullable=self.nullable, default=self.default, references=self.references)
        if self.nullable is False and is_null(self.up):
            yield Contradiction(
                at=("up",),
                reason="up gives NULL to a column that is not to be nullable",
                hint="Choose another value, or remove nullable: false.",
            )

    def _conversion(self) -> Iterator[Contradiction]:
        yield from self._orphans()
        if self.type is not None and is_serial(self.type):
            yield Contradiction(
                at=("type",),
                reason=f"{self.type} is not a type to change to",
                hint="Write integer or bigint.",
            )
        if self.lossy and not self.converts and not self.computes and not self.drops_identity:
            yield Contradiction(
                at=("lossy",), reason="lossy says something about down, and nothing is converted", hint="Remove lossy."
            )

    def _identity(self) -> Iterator[Contradiction]:
        if "generated" not in self.model_fields_set:
            return
        if self.converts or "default" in self.model_fields_set or self.nullable is True:
            yield Contradiction(
                at=("generated",),
                reason="what a column is generated by comes, or goes, without another type, default, up or down",
                hint="Put the two into migrations of their own, one after the other.",
            )

    def _orphans(self) -> Iterator[Contradiction]:
        if self.archive is not None and self.orphans != "archive":
            yield Contradiction(
                at=("archive",), reason="nothing is archived", hint="Write orphans: archive, or remove archive."
            )
        if self.orphans == "reject":
            return
        if self.references is None:
            yield Contradiction(
                at=("orphans",), reason="there are orphans only of a foreign key", hint="Add references."
            )
        if self.orphans == "archive":
            if self.model_fields_set - _ARCHIVING:
                yield Contradiction(
                    at=("orphans",),
                    reason="rows go to another table, which is made like this one, and the column is altered, too",
                    hint="Put what is altered beside the foreign key into a migration of its own.",
                )
            return
        if self.type is not None or self.up is not None or self.down is not None:
            yield Contradiction(
                at=("orphans",),
                reason="the values are converted already",
                hint="Let `up` give NULL for a row that refers to nothing, and remove orphans.",
            )
        if self.nullable is False:
            yield Contradiction(
                at=("nullable",), reason="orphans become NULL in a column that takes none", hint="Remove orphans."
            )

    def claims(self) -> Iterator[Claim]:
        """Change the column, or restrict it where it is."""
        manner = Manner.CHANGES if self.converts else Manner.RESTRICTS
        yield Claim(table=self.table, column=self.column, manner=manner, at=("column",))

    def new_names(self) -> Iterator[NewName]:
        """Name the constraints to add, and the table for rows that one of them would refuse."""
        yield from constraint_names(self.table, (), check=self.check, references=self.references, unique=self.unique)
        if self.archiving is not None:
            name = self.archiving.archive_name
            yield relation(name, name.rpartition(".")[2], ("archive",))
