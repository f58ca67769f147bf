"""What a spec says of the fields of documents that rows become."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Contradiction, Location, Part, refusal
from tasks.model.operations.text import Expression
from tasks.model.transfer_columns import OfColumn, OrItsColumn

Misfit = Literal["fail", "reject", "string", "tag"]


def _path(value: str) -> str:
    parts = value.split(".")
    if not all(parts) or any(part.startswith("$") for part in parts) or "\x00" in value:
        raise refusal(
            f"{value[:80]!r} is no path of a field",
            "Write names with dots between them; none is empty or starts with $.",
        )
    return value


FieldPath = Annotated[str, AfterValidator(_path)]
"""`name`, or `outer.inner` for a field of a nested document."""


def refuse_within(paths: Iterable[tuple[str, ...]], at: Location) -> Iterator[Contradiction]:
    """Refuse a field that would have a value, and fields of its own."""
    known = set(paths)
    for path in known:
        if any(path[:length] in known for length in range(1, len(path))):
            yield Contradiction(
                at=(*at, ".".join(path)),
                reason="a field cannot hold a value and have fields of its own",
                hint="Rename one of the two.",
            )


class Lookup(Part):
    """A value of the one row of another table that a foreign key of this row refers to."""

    table: TableName
    """The table that is referred to."""
    by: tuple[Identifier, ...] = ()
    """The columns of the foreign key; needed where several lead there."""
    column: Identifier | None = None
    """A column of that table."""
    up: Expression | None = None
    """An expression over the columns of that table."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse two sources of a value, or none."""
        if (self.column is None) is (self.up is None):
            yield Contradiction(
                at=() if self.up is None else ("up",),
                reason="what is looked up is a column, or an expression `up`",
                hint="Give one of the two.",
            )


class ValueRule(OfColumn):
    """What one field of a document holds. A column alone is written as its name."""

    column: Identifier | None = None
    """A column of the table."""
    up: Expression | None = None
    """An expression over the columns, which the source evaluates."""
    constant: str | bool | int | float | None = None
    """The same value in every document."""
    lookup: Lookup | None = None
    """A value of the row that a foreign key refers to; NULL where it refers to none."""
    type: Literal["date", "string", "boolean", "decimal", "json", "objectId", "extended_json"] | None = None
    """`date`: a moment, where a date or a timestamp without a zone is taken as UTC. `string`: the source's own text.

    Needed for types that have no counterpart of their own. `objectId`: of 24 hexadecimal digits, or 12 bytes.
    `extended_json`: of JSON, where `{"$oid": ...}` and its like are the values that they say. MariaDB has no types for
    what `boolean` and `json` make of 0 and 1, and of a text; `decimal` holds its unsigned integers to the last."""
    unfit: Misfit = "fail"
    """What becomes of a value that cannot be held exactly.

    The run stops before anything is done (`fail`), the row is left out and noted with the reason (`reject`), the value
    becomes the source's text (`string`), or a document with its type and its text (`tag`)."""
    nulls: Literal["keep", "missing"] = "keep"
    """What becomes of NULL: a null, or no field at all."""

    _sources: ClassVar[Mapping[str, str]] = {
        "column": "a column",
        "up": "an expression `up`",
        "constant": "a constant",
        "lookup": "a `lookup`",
    }

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse two sources of a value, or none, and options that a constant has no use for."""
        given = [name for name in self._sources if getattr(self, name) is not None]
        if len(given) != 1:
            yield Contradiction(
                at=(given[-1],) if given else (),
                reason=f"a field is one of these: {', '.join(self._sources.values())}",
                hint="Give one of them.",
            )
        elif self.constant is not None and (self.type, self.unfit, self.nulls) != (None, "fail", "keep"):
            yield Contradiction(
                at=("constant",), reason="a constant is as it is written", hint="Remove type, unfit and nulls."
            )
        if isinstance(self.constant, int) and not -(2**63) <= self.constant < 2**63:
            yield Contradiction(at=("constant",), reason="the number has more than 64 bits", hint="Write it as a text.")


ValueRuleOrName = Annotated[ValueRule, OrItsColumn()]


class Embedded(Part):
    """Rows of another table that refer to this one: each a document, all of them an array in the field."""

    table: TableName
    """The table whose foreign key refers to the table that is copied."""
    by: tuple[Identifier, ...] = ()
    """The columns of that foreign key; needed where the table has several that lead here."""
    order: tuple[Identifier, ...] = ()
    """Columns of that table, in whose order the documents stand; rows that are equal in them by its key."""
    where: Expression | None = None
    """Only rows of it for which this is true."""
    fields: Annotated[Mapping[FieldPath, ValueRuleOrName], Field(min_length=1)]
    """The fields of each of these documents, in their order, over the columns of that table."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse fields that would stand in each other."""
        yield from refuse_within([tuple(path.split(".")) for path in self.fields], ("fields",))


class FieldRule(ValueRule):
    """What one field of a document holds, where it may be rows of another table. A column alone is its name."""

    embed: Embedded | None = None
    """The rows of another table that refer to this row; an empty array, or with `nulls: missing` no field, where there
    are none. With `unfit: reject` a document that would be larger than 16 MiB is left out."""

    _sources: ClassVar[Mapping[str, str]] = {**ValueRule._sources, "embed": "an `embed`"}

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse, beside what a value refuses, options that rows have no use for."""
        yield from super().contradictions()
        if self.embed is not None and (self.type is not None or self.unfit not in ("fail", "reject")):
            yield Contradiction(
                at=("embed",),
                reason="rows are an array of documents, whose fields have policies of their own",
                hint="Remove type; unfit is fail or reject, for documents that become too large.",
            )

    @property
    def of_another_table(self) -> bool:
        """It is not of the row itself."""
        return self.embed is not None or self.lookup is not None


FieldRuleOrName = Annotated[FieldRule, OrItsColumn()]
