"""The JSON Schema of a spec, for editors and for other tools."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


class SpecJsonSchema(GenerateJsonSchema):
    """Describe what an author may write: a key that is not needed is left out, never null.

    A field that gives null a meaning says so itself, by `json_schema_extra`.
    """

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        """Add the dialect."""
        return {"$schema": self.schema_dialect, **super().generate(schema, mode)}

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Leave the null out."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Leave a default of null out."""
        default: Any = schema.get("default")
        return self.generate_inner(schema["schema"]) if default is None else super().default_schema(schema)

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the signature of pydantic
        """Leave out titles that only repeat the key."""
        return False
