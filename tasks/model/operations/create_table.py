"""create_table: a table that does not exist yet."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool

from tasks.model.names import Identifier, TableName, quote
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
from tasks.model.operations.column import ColumnDefinition, ForeignKeyAction, MatchType, deferral
from tasks.model.operations.text import Expression, Text

Columns = Annotated[tuple[Identifier, ...], Field(min_length=1)]


class TableForeignKeyReference(Part):
    """Columns of another table that columns point to."""

    table: TableName
    columns: Columns
    on_delete: ForeignKeyAction = "NO ACTION"
    on_delete_set_columns: tuple[Identifier, ...] = ()
    """Those of the columns that `on_delete` sets, with SET NULL and SET DEFAULT; all of them unless given."""
    on_update: ForeignKeyAction = "NO ACTION"
    match_type: MatchType = "SIMPLE"

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse columns to set where none is set."""
        if self.on_delete_set_columns and self.on_delete not in ("SET NULL", "SET DEFAULT"):
            yield Contradiction(
                at=("on_delete_set_columns",),
                reason=f"on_delete is {self.on_delete}, which sets no column",
                hint="Write on_delete: SET NULL, or SET DEFAULT; or remove on_delete_set_columns.",
            )

    def actions(self, names: Mapping[str, str]) -> str:
        """Return what the key does, as SQL; `names` are those of the columns that it covers, where they differ."""
        listed = ", ".join(quote(names.get(column, column)) for column in self.on_delete_set_columns)
        some = f" ({listed})" if listed else ""
        return f"match {self.match_type} on delete {self.on_delete}{some} on update {self.on_update}"


class Exclusion(Part):
    """Which two rows cannot both be there."""

    index_method: Identifier = "gist"
    elements: Expression
    """Columns or expressions, each with an operator: `room with =, period with &&`."""
    predicate: Expression | None = None
    """Which rows are compared, without the word WHERE."""

    def definition(self, parameters: str = "") -> str:
        """Return what follows the name of the constraint, as SQL; `parameters` are those of its index."""
        where = f" where ({self.predicate}\n)" if self.predicate else ""
        return f"exclude using {quote(self.index_method)} ({self.elements}\n){parameters}{where}"


class TableConstraint(Part):
    """A constraint over one or more columns of the table."""

    optional_keys: ClassVar[frozenset[str]] = frozenset()
    """Keys that may be given where the type does not need them."""

    name: Identifier
    type: Literal["unique", "check", "primary_key", "foreign_key", "exclude"]
    columns: Columns | None = None
    """Not for `check` and `exclude`, whose expressions name their columns."""
    check: Expression | None = None
    """The condition, without the word CHECK."""
    references: TableForeignKeyReference | None = None
    exclude: Exclusion | None = None
    deferrable: StrictBool = False
    initially_deferred: StrictBool = False

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse what its type lacks or does not know, and keys of different lengths."""
        yield from self._keys()
        yield from deferral(deferrable=self.deferrable, initially_deferred=self.initially_deferred)
        if self.type == "check" and self.deferrable:
            yield Contradiction(
                at=("deferrable",), reason="a check constraint cannot be deferred", hint="Remove deferrable."
            )
        if self.columns and self.references and len(self.columns) != len(self.references.columns):
            yield Contradiction(
                at=("references", "columns"),
                reason=f"{len(self.columns)} columns cannot point to {len(self.references.columns)}",
                hint="Name as many columns on both sides.",
            )
        for position, column in enumerate(self.references.on_delete_set_columns if self.references else ()):
            if column not in (self.columns or ()):
                yield Contradiction(
                    at=("references", "on_delete_set_columns", position),
                    reason=f"the constraint does not cover the column {column!r}",
                    hint="Name one of its columns.",
                )

    def _keys(self) -> Iterator[Contradiction]:
        needs = {"check": {"check"}, "foreign_key": {"columns", "references"}, "exclude": {"exclude"}}
        wanted = needs.get(self.type, {"columns"})
        for key in ("columns", "check", "references", "exclude"):
            given = getattr(self, key) is not None
            if given and key not in wanted | self.optional_keys:
                yield Contradiction(
                    at=(key,), reason=f"a constraint of type {self.type} has no {key}", hint=f"Remove {key}."
                )
            elif not given and key in wanted:
                yield Contradiction(
                    at=(key,), reason=f"a constraint of type {self.type} needs {key}", hint=f"Add {key}."
                )


class IndexParameters(Part):
    """Settings of the index behind a constraint."""

    include_columns: tuple[Identifier, ...] = ()
    """Columns that the index holds beside its key."""
    storage_parameters: Text | None = None
    tablespace: Identifier | None = None


class CreatedConstraint(TableConstraint):
    """A constraint of a table that is made with it."""

    nulls_not_distinct: StrictBool = False
    """Two NULLs are the same, too."""
    no_inherit: StrictBool = False
    """A check that tables which inherit from this one need not meet."""
    index_parameters: IndexParameters | None = None

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse what its type lacks or does not know."""
        yield from super().contradictions()
        known = {
            "nulls_not_distinct": ("unique",),
            "no_inherit": ("check",),
            "index_parameters": ("unique", "primary_key", "exclude"),
        }
        for key, types in known.items():
            if getattr(self, key) and self.type not in types:
                yield Contradiction(
                    at=(key,), reason=f"a constraint of type {self.type} has no {key}", hint=f"Remove {key}."
                )


class CreateTable(Operation):
    """Create a table."""

    kind: ClassVar[str] = "create_table"

    name: TableName
    columns: Annotated[tuple[ColumnDefinition, ...], Field(min_length=1)]
    constraints: tuple[CreatedConstraint, ...] = ()
    comment: Text | None = None

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table itself."""
        return (self.name,)

    @property
    def referenced(self) -> tuple[str, ...]:
        """Return the tables that its foreign keys point to; it may be one of them."""
        of_columns = [column.references.table for column in self.columns if column.references]
        of_table = [one.references.table for one in self.constraints if one.references]
        return tuple(dict.fromkeys(of_columns + of_table))

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse a column named twice, a constraint on an unknown column, and two primary keys."""
        seen: set[str] = set()
        for number, column in enumerate(self.columns):
            if column.name in seen:
                yield Contradiction(
                    at=("columns", number, "name"),
                    reason=f"the column {column.name!r} is defined twice",
                    hint="Remove one of the two, or name it otherwise.",
                )
            seen.add(column.name)
        for number, one in enumerate(self.constraints):
            yield from self._constrained_columns(number, one)
        yield from self._primary_key()

    def _constrained_columns(self, number: int, one: CreatedConstraint) -> Iterator[Contradiction]:
        columns = {column.name: column for column in self.columns}
        counts = Counter(one.columns or ())
        for position, name in enumerate(one.columns or ()):
            at = ("constraints", number, "columns", position)
            if name not in columns:
                yield Contradiction(
                    at=at,
                    reason=f"the table has no column {name!r}",
                    hint=f"Name one of {', '.join(columns)}.",
                )
            elif counts[name] > 1:
                yield Contradiction(at=at, reason=f"the column {name!r} is named twice", hint="Remove one of the two.")
            elif one.type == "primary_key" and columns[name].nullable:
                yield Contradiction(
                    at=at,
                    reason=f"the column {name!r} is nullable; a column of the primary key is never NULL",
                    hint=f"Remove nullable: true from {name!r}.",
                )

    def _primary_key(self) -> Iterator[Contradiction]:
        numbers = [number for number, one in enumerate(self.constraints) if one.type == "primary_key"]
        if numbers and any(column.pk for column in self.columns):
            yield Contradiction(
                at=("constraints", numbers[0]),
                reason="the primary key is defined twice, by pk and by a constraint",
                hint="Remove pk: true from the columns, or remove this constraint.",
            )
        for number in numbers[1:]:
            yield Contradiction(
                at=("constraints", number), reason="the primary key is defined twice", hint="Remove one."
            )

    def claims(self) -> Iterator[Claim]:
        """Make every column."""
        for number, column in enumerate(self.columns):
            at = ("columns", number, "name")
            yield Claim(table=self.name, column=column.name, manner=Manner.MAKES, at=at)

    def new_names(self) -> Iterator[NewName]:
        """Name the table, its constraints, and the indexes behind them."""
        yield relation(self.name, self.name.rpartition(".")[2], ("name",))
        for number, column in enumerate(self.columns):
            yield from column.new_names(self.name, ("columns", number))
        for number, one in enumerate(self.constraints):
            at = ("constraints", number, "name")
            yield constraint(self.name, one.name, at)
            if one.type in ("unique", "primary_key", "exclude"):
                yield relation(self.name, one.name, at)
