"""create_constraint: a rule over one or more columns of a table that exists."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, StrictBool

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import (
    Claim,
    Contradiction,
    Manner,
    NewName,
    Operation,
    Part,
    constraint,
    relation,
)
from tasks.model.operations.column import Orphans
from tasks.model.operations.conversions import Expressions, converted, given_claims, lossy_without_conversion
from tasks.model.operations.create_table import TableConstraint
from tasks.model.operations.text import is_null


def _as_in_tables(value: Any) -> Any:
    """Take the word that people use of a constraint for the one that a table has of it."""
    return "exclude" if value == "exclusion" else value


class Survivor(Part):
    """Of rows that are equal, the one that stays; of several that could, the one with the first key."""

    keep: Literal["greatest", "least"]
    column: Identifier
    """Whose value is the greatest, or the least; NULL is neither."""


class CreateConstraint(TableConstraint, Operation):
    """Add a constraint.

    With `up` the values of a column are converted into a new column that takes its place at the swap; a column
    that is only named there, as in `up: {c: c}`, stays where it is.
    """

    kind: ClassVar[str] = "create_constraint"
    optional_keys: ClassVar[frozenset[str]] = frozenset({"columns"})

    table: TableName
    type: Annotated[
        Literal["unique", "check", "primary_key", "foreign_key", "exclude"],
        BeforeValidator(
            _as_in_tables,
            json_schema_input_type=Literal["unique", "check", "primary_key", "foreign_key", "exclude", "exclusion"],
        ),
    ]
    """`exclude` can be written `exclusion`, too."""
    no_inherit: StrictBool = False
    """A check that tables which inherit from this one need not meet."""
    orphans: Orphans | Literal["archive"] = "reject"
    """Of a foreign key: what becomes of rows that refer to nothing. `archive`: they move to another table."""
    duplicates: Literal["reject", "archive"] = "reject"
    """Of a unique constraint: what becomes of rows that are equal, but for the survivor. `archive`: they move."""
    survivor: Survivor | None = None
    """Which of them stays."""
    archive: TableName | None = None
    """The table that is made for them; `TABLE_orphans`, or `TABLE_duplicates`, unless given."""
    up: Expressions | None = None
    """For each column, the new value, from the old values of the row."""
    down: Expressions | None = None
    """For each column, the old value, from the new values of the row."""
    lossy: StrictBool = False
    """`down` need not bring the old values back exactly."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table that gets the constraint."""
        return (self.table,)

    @property
    def referenced(self) -> tuple[str, ...]:
        """Return the table that a foreign key points to."""
        return (self.references.table,) if self.references else ()

    @property
    def archive_name(self) -> str:
        """The name of the table for rows that the constraint would refuse."""
        return self.archive or f"{self.table}_{'orphans' if self.orphans == 'archive' else 'duplicates'}"

    @property
    def archives(self) -> bool:
        """True when rows that the constraint would refuse move to another table."""
        return "archive" in (self.orphans, self.duplicates)

    @property
    def alone_on(self) -> tuple[str, ...]:
        """Return the table of which rows go to another one, and that one: both have to be alike."""
        return (self.table, self.archive_name) if self.archives else ()

    @property
    def converted(self) -> tuple[str, ...]:
        """Return the columns whose values move to a new column."""
        return converted(self.up, self.down)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse what the type does not know, columns named twice, and values of columns that it does not cover."""
        yield from super().contradictions()
        yield from self._excluded()
        columns = self.columns or ()
        for position, name in enumerate(columns):
            if name in columns[:position]:
                yield Contradiction(
                    at=("columns", position),
                    reason=f"the column {name!r} is named twice",
                    hint="Remove one of the two.",
                )
        if self.orphans == "set_null" and (self.type != "foreign_key" or self.up or self.down):
            yield Contradiction(
                at=("orphans",),
                reason="orphans is for a foreign key whose values are not converted otherwise",
                hint="Remove orphans, and let `up` give NULL to the column that shall refer to nothing.",
            )
        if self.orphans == "archive" and (self.type != "foreign_key" or self.converted):
            yield Contradiction(
                at=("orphans",),
                reason="orphans is for a foreign key whose values are not converted",
                hint="Convert them in a migration of its own first, or remove orphans.",
            )
        if self.duplicates == "archive" and (self.type != "unique" or self.converted):
            yield Contradiction(
                at=("duplicates",),
                reason="duplicates is for a unique constraint whose values are not converted",
                hint="Convert them in a migration of its own first, or remove duplicates.",
            )
        if (self.survivor is not None) != (self.duplicates == "archive"):
            yield Contradiction(
                at=("survivor",),
                reason="a survivor is what is left of duplicates that are archived",
                hint="Write duplicates: archive and survivor, both or neither.",
            )
        if self.archive is not None and not self.archives:
            yield Contradiction(
                at=("archive",),
                reason="nothing is archived",
                hint="Write orphans: archive, or duplicates: archive; or remove archive.",
            )
        if self.no_inherit and self.type != "check":
            yield Contradiction(
                at=("no_inherit",),
                reason=f"a constraint of type {self.type} has no no_inherit",
                hint="Remove no_inherit.",
            )
        yield from lossy_without_conversion(lossy=self.lossy, converts=bool(self.converted))
        yield from self._values()

    def _excluded(self) -> Iterator[Contradiction]:
        """Refuse columns of an exclusion constraint: its elements name them, and nobody can tell which."""
        for key in ("columns", "up", "down") if self.type == "exclude" else ():
            if getattr(self, key) is not None:
                yield Contradiction(
                    at=(key,),
                    reason=f"a constraint of type exclude has no {key}",
                    hint=f"Remove {key}." if key == "columns" else f"Remove {key}, and convert it with alter_column.",
                )

    def _values(self) -> Iterator[Contradiction]:
        for direction, expressions in (("up", self.up or {}), ("down", self.down or {})):
            for column, expression in expressions.items():
                if self.columns is not None and column not in self.columns:
                    yield Contradiction(
                        at=(direction, column),
                        reason=f"the constraint does not cover the column {column!r}",
                        hint="Name it under columns, or convert it with alter_column.",
                    )
                elif direction == "up" and self.type == "primary_key" and is_null(expression):
                    yield Contradiction(
                        at=(direction, column),
                        reason=f"up gives NULL to {column!r}; a column of the primary key is never NULL",
                        hint="Choose another value.",
                    )

    def claims(self) -> Iterator[Claim]:
        """Change the columns that get other values, and read the others."""
        given = {*(self.up or {}), *(self.down or {})}
        for position, column in enumerate(self.columns or ()):
            if column not in given:
                manner = Manner.CHANGES if self.orphans == "set_null" else Manner.READS
                yield Claim(table=self.table, column=column, manner=manner, at=("columns", position))
        yield from given_claims(self.table, self.up, self.down)

    def new_names(self) -> Iterator[NewName]:
        """Name the constraint, and the index behind it."""
        yield constraint(self.table, self.name, ("name",))
        if self.type in ("unique", "primary_key", "exclude"):
            yield relation(self.table, self.name, ("name",))
        if self.archives:
            yield relation(self.archive_name, self.archive_name.rpartition(".")[2], ("archive",))
