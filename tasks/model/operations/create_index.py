"""create_index: an index, built while applications write."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, StrictBool
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import (
    Claim,
    Contradiction,
    Manner,
    NewName,
    Operation,
    Part,
    refusal,
    relation,
)
from tasks.model.operations.text import Expression, Text


class OperatorClass(Part):
    """How the values of an index column are compared."""

    name: Text
    params: tuple[Text, ...] = ()
    """Each as `parameter=value`."""


class IndexField(Part):
    """A column of an index, or an expression, and how it is ordered in it."""

    column: Identifier | None = None
    expression: Expression | None = None
    """Over columns of the row, in place of `column`: `lower(name)`."""
    collate: Identifier | None = None
    sort: Literal["ASC", "DESC"] | None = None
    nulls: Literal["FIRST", "LAST"] | None = None
    opclass: OperatorClass | None = None

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse anything but one of column and expression."""
        if (self.column is None) == (self.expression is None):
            yield Contradiction(
                at=() if self.column is None else ("expression",),
                reason="neither a column nor an expression is given"
                if self.column is None
                else "both a column and an expression are given",
                hint="Write one of the two.",
            )


def _as_fields(value: Any) -> Any:
    if isinstance(value, dict):
        return [_with_column(column, settings) for column, settings in value.items()]
    if isinstance(value, list | tuple):
        return [{"column": one} if isinstance(one, str) else one for one in value]
    return value


def _with_column(column: Any, settings: Any) -> Any:
    if settings is None:
        return {"column": column}
    if not isinstance(settings, dict):
        raise refusal(f"the settings of the column {column!r} are a mapping", "Write for example {sort: DESC} or {}.")
    for key in ("column", "expression"):
        if key in settings:
            reason = f"the column {column!r} is named a second time by its settings"
            raise refusal(reason if key == "column" else f"{column!r} is a column, not an expression", f"Remove {key}.")
    return {"column": column, **settings}


class _ThreeForms:
    """Describe the forms that `_as_fields` takes: names, mappings with a column, or one mapping by column."""

    @staticmethod
    def __get_pydantic_json_schema__(core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        fields = handler(core)
        settings = dict(handler.resolve_ref_schema(fields["items"]))
        settings["properties"] = {k: v for k, v in settings["properties"].items() if k not in ("column", "expression")}
        settings["type"] = ["object", "null"]
        return {
            "anyOf": [
                {**fields, "items": {"anyOf": [{"type": "string"}, fields["items"]]}},
                {"type": "object", "additionalProperties": settings, "minProperties": 1},
            ]
        }


Fields = Annotated[tuple[IndexField, ...], Field(min_length=1), BeforeValidator(_as_fields), _ThreeForms()]


class CreateIndex(Operation):
    """Create an index."""

    kind: ClassVar[str] = "create_index"

    name: Identifier
    table: TableName
    columns: Fields
    """Names; or mappings with `column` and its settings; or one mapping from column to settings."""
    include: Annotated[tuple[Identifier, ...], Field(min_length=1)] | None = None
    """Columns that the index holds besides, for queries that then need not read the table."""
    unique: StrictBool = False
    nulls_not_distinct: StrictBool = False
    """A unique index takes NULLs for equal (PostgreSQL 15 and later)."""
    method: Literal["btree", "hash", "gist", "spgist", "gin", "brin"] = "btree"
    predicate: Expression | None = None
    """Which rows are indexed, without the word WHERE."""
    storage_parameters: Text | None = None
    """Separated by commas: `fillfactor = 70`."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table of the index."""
        return (self.table,)

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse what the access method cannot do, and what says nothing."""
        yield from self._included()
        if self.nulls_not_distinct and not self.unique:
            yield Contradiction(
                at=("nulls_not_distinct",),
                reason="only a unique index compares NULLs",
                hint="Remove nulls_not_distinct, or add unique: true.",
            )
        if self.method == "btree":
            return
        if self.unique:
            yield Contradiction(
                at=("unique",),
                reason=f"an index of method {self.method} cannot be unique",
                hint="Remove unique, or use method: btree.",
            )
        for number, field in enumerate(self.columns):
            for setting in ("sort", "nulls"):
                if getattr(field, setting) is not None:
                    yield Contradiction(
                        at=("columns", number, setting),
                        reason=f"an index of method {self.method} has no order",
                        hint=f"Remove {setting}, or use method: btree.",
                    )
        if self.method in ("hash", "spgist") and len(self.columns) > 1:
            yield Contradiction(
                at=("columns",),
                reason=f"an index of method {self.method} has one column",
                hint="Name one column, or use method: btree.",
            )

    def _included(self) -> Iterator[Contradiction]:
        if self.include is None:
            return
        if self.method in ("hash", "gin", "brin"):
            yield Contradiction(
                at=("include",),
                reason=f"an index of method {self.method} holds no further columns",
                hint="Remove include, or use method: btree.",
            )
        keys = {field.column for field in self.columns}
        for number, name in enumerate(self.include):
            if name in keys or name in self.include[:number]:
                yield Contradiction(
                    at=("include", number),
                    reason=f"the index holds the column {name!r} already",
                    hint="Remove it from include.",
                )

    def claims(self) -> Iterator[Claim]:
        """Read its columns."""
        for number, field in enumerate(self.columns):
            if field.column is not None:
                at = ("columns", number, "column")
                yield Claim(table=self.table, column=field.column, manner=Manner.READS, at=at)
        for number, name in enumerate(self.include or ()):
            yield Claim(table=self.table, column=name, manner=Manner.READS, at=("include", number))

    def new_names(self) -> Iterator[NewName]:
        """Name the index."""
        yield relation(self.table, self.name, ("name",))
