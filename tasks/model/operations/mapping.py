"""An operation in a spec: a mapping whose single key is the kind of the operation."""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Any, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, SerializerFunctionWrapHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from tasks.model.operations import AnyOperation
from tasks.model.operations.base import Operation, refusal


def _check_form(kinds: Iterable[str], value: Any) -> Any:
    """Refuse what is neither an operation nor a mapping with a known kind as its only key."""
    if isinstance(value, Operation):
        return value
    if not isinstance(value, dict):
        raise refusal("an operation is a mapping", f"Write one of {', '.join(kinds)}, and a colon.")
    if len(value) != 1:
        keys = ", ".join(repr(key) for key in value) or "none"
        raise refusal(
            f"an operation has one key, its kind; here there are: {keys}",
            "Begin each operation with a dash of its own, and indent what belongs to it below its kind.",
        )
    (kind,) = value
    if kind not in kinds:
        close = get_close_matches(str(kind), kinds, n=1)
        raise refusal(
            f"unknown operation {kind!r}",
            f"Did you mean {close[0]!r}?" if close else f"Write one of {', '.join(kinds)}.",
        )
    return value


def _kind(value: Any) -> str:
    return value.kind if isinstance(value, Operation) else next(iter(value))


def _body(kind: str, value: Any) -> Any:
    return value if isinstance(value, Operation) else value[kind]


def _dump(operation: Operation, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
    return {operation.kind: dump(operation)}


class _SingleKey:
    """Tell pydantic how to read, write and describe the union."""

    @staticmethod
    def __get_pydantic_core_schema__(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # The tag of the union becomes part of an error's location, so that it is the path in the document.
        choices: dict[Any, CoreSchema] = {
            one.kind: core_schema.no_info_before_validator_function(
                partial(_body, one.kind), handler.generate_schema(one)
            )
            for one in get_args(source)
        }
        return core_schema.no_info_before_validator_function(
            partial(_check_form, tuple(choices)),
            core_schema.tagged_union_schema(choices, discriminator=_kind),
            serialization=core_schema.wrap_serializer_function_ser_schema(_dump),
        )

    @staticmethod
    def __get_pydantic_json_schema__(core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        bodies = handler(core)["oneOf"]
        kinds = [one.kind for one in get_args(AnyOperation)]
        return {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {kind: body},
                    "required": [kind],
                    "additionalProperties": False,
                }
                for kind, body in zip(kinds, bodies, strict=True)
            ]
        }


SpecOperation = Annotated[AnyOperation, _SingleKey()]
"""An operation as it stands in a spec; Python code may pass the operation itself."""
