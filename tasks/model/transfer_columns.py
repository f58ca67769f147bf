"""What a spec says of the columns of a table that rows of another database are copied into."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tasks.model.names import OWN_PREFIX, Identifier
from tasks.model.operations.base import Contradiction, Part, refusal
from tasks.model.operations.text import ColumnType, Expression


def _source(value: str) -> str:
    if not value or "\x00" in value or value.startswith(OWN_PREFIX):
        raise refusal(f"{value[:80]!r} is no name of a column or a field", "Write the name as the source has it.")
    return value


SourceName = Annotated[str, AfterValidator(_source)]
"""A column of a table, or the path of a field, which may be longer."""


class OfColumn(Part):
    """A rule that is written as the name of a column where it says nothing else."""

    column: Identifier | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _shortest(self, handler: SerializerFunctionWrapHandler) -> Any:
        dumped = handler(self)
        return self.column if dumped.keys() == {"column"} else dumped


class ColumnRule(OfColumn):
    """What one column of the new table holds, where that is not what the plan would choose.

    A column alone is written as its name.
    """

    column: SourceName | None = None
    """A column of the source, or the path of a field with dots in it; the one of the same name unless given."""
    up: Expression | Mapping[str, Any] | None = None
    """An expression over the columns, or an aggregation expression over the document, which the source evaluates."""
    constant: str | bool | int | None = None
    """The same value in every row; of documents only."""
    type: ColumnType | None = None
    """The type of the new column, instead of the one that the plan would choose."""
    unfit: Literal["fail", "reject", "null", "string", "tag"] = "fail"
    """What becomes of a value that cannot be held exactly.

    The run stops before anything is done (`fail`), the row is left out and noted with the reason (`reject`), or the
    value becomes NULL (`null`). Of documents it may become its text in a column of text (`string`), and extended JSON
    in one of json or jsonb (`tag`)."""
    nulls: Literal["null", "missing", "both"] | None = None
    """Which of the two NULL stands for, where documents have a null, or no such field; the other one does not fit."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse two sources of a value, and options that a constant has no use for."""
        given = [name for name in ("column", "up", "constant") if getattr(self, name) is not None]
        if len(given) > 1:
            yield Contradiction(
                at=(given[-1],),
                reason="a value comes from a column, or from an expression `up`, or is a constant",
                hint="Give one of the three.",
            )
        elif self.constant is not None and (self.unfit != "fail" or self.nulls is not None):
            yield Contradiction(
                at=("constant",), reason="a constant is as it is written", hint="Remove unfit and nulls."
            )
        if isinstance(self.constant, int) and not -(2**63) <= self.constant < 2**63:
            yield Contradiction(at=("constant",), reason="the number has more than 64 bits", hint="Write it as a text.")


class OrItsColumn:
    """Let the JSON Schema allow the name of the column alone."""

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}
