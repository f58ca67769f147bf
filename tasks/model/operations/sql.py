"""sql: statements of the author's own, where no other operation fits."""

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import AliasChoices, ConfigDict, Field, StrictBool

from tasks.model.operations.base import Contradiction, Operation
from tasks.model.operations.text import Text


def _both_spellings(schema: dict[str, Any]) -> None:
    # JSON Schema knows no aliases: the second spelling is a property of its own.
    schema["properties"]["onComplete"] = dict(schema["properties"]["on_complete"])
    schema["not"] = {"required": ["on_complete", "onComplete"]}


class Sql(Operation):
    """Run statements as they are.

    What they touch is not known: no gate looks at it, and only `down` takes it back.
    """

    model_config = ConfigDict(json_schema_extra=_both_spellings)

    kind: ClassVar[str] = "sql"

    up: Text
    """Statements to run."""
    down: Text | None = None
    """Statements that take `up` back."""
    on_complete: StrictBool = Field(False, validation_alias=AliasChoices("on_complete", "onComplete"))
    """Run `up` at `contract`, when there is no way back; pgroll spells it `onComplete`."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Return nothing: what the statements touch is not known."""
        return ()

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse a way back for what runs only when there is none."""
        if self.on_complete and self.down is not None:
            yield Contradiction(
                at=("down",),
                reason="what runs at contract is never taken back",
                hint="Remove down, or remove on_complete.",
            )
