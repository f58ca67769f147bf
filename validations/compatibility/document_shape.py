"""What applications that know the documents of a collection meet once they have changed, as far as the spec tells."""

from collections.abc import Iterator, Mapping
from typing import Any

from validations.compatibility.changes import Change, ordered

_FIRST = "Let applications that know the new shape take over before the contract; until then both are in step."


def of_documents(spec: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return what a change of documents means for those who know the old ones, the worst first."""
    collection = str(spec["collection"])
    found = (change for one in spec["operations"] for kind, asked in one.items() for change in _of(kind, asked))
    return ordered(
        Change(kind=kind, where=f"{collection}.{field}" if field else collection, what=what, recommendation=advice)
        for kind, field, what, advice in found
    )


def _of(kind: str, asked: Mapping[str, Any]) -> Iterator[Any]:
    match kind:
        case "rename_field":
            yield "breaking", asked["from"], f"renamed to {asked['to']}", _FIRST
        case "remove_field":
            yield "breaking", asked["field"], "removed", "Let applications do without it before the contract."
        case "change_type":
            yield "needs transformation", asked["field"], f"becomes {asked['to']}, {asked['type']}", _FIRST
        case "transform":
            for field in asked["from"]:
                yield "breaking", field, f"becomes {', '.join(asked['to'])}", _FIRST
        case "create_index" if asked.get("unique"):
            said = f"got the unique index {asked['name']}: documents that break it are refused"
            yield "breaking", "", said, "Let applications keep to it first."
        case "validator":
            said = "what a document must be is warned of first, and refused from the contract on"
            yield "breaking", "", said, "Look for the warnings in the log of the server before the contract."
