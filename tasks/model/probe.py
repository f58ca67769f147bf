"""A query that must not become slow: what an author asks to be measured, and what a measurement gave."""

from typing import Any

from tasks.model.base import Record
from tasks.model.operations.base import Part
from tasks.model.operations.text import Expression, Text


class Probe(Part):
    """A query of the applications that must not be worse after the swap than before the first change."""

    name: Text
    query: Expression
    """A single SELECT. It is run in a read-only transaction, and never for longer than the profile says."""
    after: Expression | None = None
    """The same for the new shape, where it has to be written in another way."""


class Reading(Record):
    """What a probe cost at one time."""

    cost: float
    """What the planner expects, in its own units."""
    milliseconds: float
    """The fastest of several runs, as the server measures it: planned and executed, without sending rows."""


def to_payload(readings: dict[str, Reading]) -> dict[str, Any]:
    """Return readings as the ledger keeps them, which knows no fractions."""
    return {name: {"cost": f"{one.cost!r}", "milliseconds": f"{one.milliseconds!r}"} for name, one in readings.items()}


def from_payload(payload: dict[str, Any] | None) -> dict[str, Reading]:
    """Return readings of the ledger; none where it has none."""
    return {name: Reading.model_validate(one) for name, one in (payload or {}).items()}
