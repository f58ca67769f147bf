"""Expressions and stages that a spec gives to MongoDB: what they may say, so that each document gives one value."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tasks.model.operations.base import Contradiction
from tasks.model.transfer import ID

_MOVING: Final = frozenset({"$rand", "$sampleRate", "$function", "$accumulator"})
_MOVING_VARIABLES: Final = ("$$NOW", "$$CLUSTER_TIME")
_KINDS: Final = ("$set", "$addFields", "$unset", "$project")


def moves(value: Any) -> str:
    """Name what makes an expression give another value each time; empty: nothing does."""
    return next((one for one in _names(value) if one in _MOVING or one.startswith(_MOVING_VARIABLES)), "")


def _names(value: Any) -> Iterator[str]:
    """Yield operators, and variables."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _names(inner)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _names(one)
    elif isinstance(value, str) and value.startswith("$$"):
        yield value


def refused_stages(name: str, stages: Sequence[Mapping[str, Any]]) -> Iterator[Contradiction]:
    """Refuse stages that are no function of the fields they are given, or that say something else in a pipeline."""
    for number, stage in enumerate(stages):
        for reason, hint in _faults(stage):
            yield Contradiction(at=(name, number), reason=reason, hint=hint)


def changed_by(stage: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the kind of a stage, and the fields that it is about; of `$unset` without values."""
    kind, asked = next(iter(stage.items()))
    if kind == "$unset":
        asked = dict.fromkeys(asked if isinstance(asked, list | tuple) else [asked])
    return kind, {str(name): value for name, value in asked.items()} if isinstance(asked, Mapping) else {}


def leaves_out(value: Any) -> bool:
    """Tell whether `$project` leaves a field out by this."""
    return isinstance(value, bool | int | float) and not value


def _faults(stage: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if len(stage) != 1 or next(iter(stage)) not in _KINDS:
        yield "a stage has one key, its kind", f"Write one of {', '.join(_KINDS)}."
        return
    kind, asked = changed_by(stage)
    if not asked:
        yield f"{kind} names no field", "Name the fields that it is about."
    for field, value in asked.items():
        if not field or "." in field or field.startswith("$") or field == ID:
            yield f"a stage cannot be about {field!r}", "Name a field without dots; _id never changes."
        # A pipeline would merge it into a document that is there.
        elif isinstance(value, Mapping) and not (len(value) == 1 and str(next(iter(value))).startswith("$")):
            yield f"{field} is given a document", "Write {$mergeObjects: [...]}, or {$literal: ...}."
    if kind == "$project" and len({leaves_out(value) for value in asked.values()}) > 1:
        yield "$project takes some fields and leaves others out", "Write two stages."
    if moving := moves(asked):
        yield f"{moving} gives another value each time", "Compute the values from the fields alone."
    if any(one.startswith("$$ROOT") for one in _names(asked)):
        yield "a stage is not given $$ROOT", "Name the fields, or write $$CURRENT."
