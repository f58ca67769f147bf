"""The base of every record: frozen, and strict about unknown keys."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Hold values that never change after they were checked.

    Unknown keys are refused, so that a misspelt option can never be silently ignored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False, use_attribute_docstrings=True)
