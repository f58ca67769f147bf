"""How the parts of a pgroll file are read, and what is to be said about it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tasks.model.document import Document, Location, Problem, show
from tasks.model.pgroll.values import given

_NOTHING: frozenset[str] = frozenset()


class Reader:
    """Hold the document, and what is to be said about the way it was read."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.lossy: list[Location] = []
        self.in_place: list[str] = []

    def given(self, body: Any, at: Location, keep: frozenset[str] = _NOTHING) -> dict[str, Any]:
        """Return what a mapping says."""
        return given(self.document, body, at, keep=keep)

    def refuse(self, at: Location, reason: str, hint: str) -> None:
        """Note what cannot be said in our words."""
        spot = self.document.find(at, at_key=True)
        self.problems.append(Problem(line=spot.line, column=spot.column, path=show(at), reason=reason, hint=hint))

    def notes(self) -> Iterator[str]:
        """Yield what differs from what an author of ours would have written."""
        if self.lossy:
            listed = ", ".join(show(at) for at in self.lossy)
            yield f"down need not bring back the old value (lossy), only one that leads to the same new one: {listed}"
        for column in self.in_place:
            yield f"{column} is altered where it is: its up and down change no value"


Read = Callable[[Mapping[str, Any], Location, Reader], dict[str, Any]]


def plain(body: Mapping[str, Any], at: Location, reader: Reader) -> dict[str, Any]:
    """Read a mapping whose values are the same in our words."""
    return reader.given(body, at)


def each(
    found: dict[str, Any],
    key: str,
    at: Location,
    reader: Reader,
    read: Read,
) -> None:
    """Read each mapping of a list, in place."""
    listed = found.get(key)
    if isinstance(listed, list):
        found[key] = [
            read(one, (*at, key, number), reader) if isinstance(one, dict) else one for number, one in enumerate(listed)
        ]


def part(
    found: dict[str, Any],
    key: str,
    at: Location,
    reader: Reader,
    read: Read,
) -> None:
    """Read a mapping within a mapping, in place."""
    if isinstance(found.get(key), dict):
        found[key] = read(found[key], (*at, key), reader)


def mappings(value: Any) -> list[dict[str, Any]]:
    """Return what is a mapping in a list, if it is one."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def texts(value: Any) -> list[str]:
    """Return what is a text in a list, if it is one."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def without_false(found: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Leave out keys that are false: they say nothing."""
    return {key: value for key, value in found.items() if key not in keys or value is not False}
