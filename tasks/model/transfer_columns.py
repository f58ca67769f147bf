"""What a spec says of the columns of a table that rows of another database are copied into."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import GetJsonSchemaHandler, SerializerFunctionWrapHandler, model_serializer, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tasks.model.names import Identifier
from tasks.model.operations.base import Contradiction, Part
from tasks.model.operations.text import ColumnType, Expression


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

    column: Identifier | None = None
    """A column of the source; the one of the same name unless given."""
    up: Expression | None = None
    """An expression over the columns, which the source evaluates."""
    type: ColumnType | None = None
    """The type of the new column, instead of the one that the plan would choose."""
    unfit: Literal["fail", "reject", "null"] = "fail"
    """What becomes of a value that cannot be held exactly.

    The run stops before anything is done (`fail`), the row is left out and noted with the reason (`reject`), or the
    value becomes NULL (`null`)."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse two sources of a value."""
        if self.column is not None and self.up is not None:
            yield Contradiction(
                at=("up",), reason="a value comes from a column or from an expression", hint="Give one of the two."
            )


class OrItsColumn:
    """Let the JSON Schema allow the name of the column alone."""

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}
