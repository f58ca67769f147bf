"""What fields hold, by the first and the last documents: so that who plans twice sees the same."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import pymongo
from bson import Decimal128, Int64
from pymongo.errors import OperationFailure

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.errors import code_of, is_transient
from tasks.engines.mongodb.rows.asked import Asked
from tasks.engines.mongodb.rows.decode import MISSING, decode, kind_of
from tasks.engines.mongodb.values import UnfitError
from tasks.model.errors import SpecError

MOST: Final = 2000
"""Documents from each end."""
_MOST_BYTES: Final = 16 * 1024 * 1024
"""Of them together: they are held."""


@dataclass
class Field:
    """What was seen at one path."""

    kinds: Counter[str] = field(default_factory=Counter)
    whole: int = 32
    """See `Types.chosen`: the widest of the numbers."""
    nulls: int = 0
    missing: int = 0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Documents that were looked at."""

    values: tuple[Mapping[str, Any], ...]
    whole: bool
    """There are no others."""

    @property
    def documents(self) -> int:
        """How many they are."""
        return len(self.values)

    def names(self, within: tuple[str, ...] = ()) -> list[str]:
        """Return the names of fields, in the order in which they come first, of the document or of one within it."""
        found = dict.fromkeys(
            name for one in self.values if isinstance(inner := value_at(one, within), dict) for name in inner
        )
        return list(found)

    def at(self, path: tuple[str, ...]) -> Field:
        """Return what is at a path."""
        found = Field()
        for one in self.values:
            value = value_at(one, path)
            if value is MISSING:
                found.missing += 1
            elif value is None:
                found.nulls += 1
            else:
                kind = kind_of(value)
                found.kinds[kind] += 1
                if kind == "number":
                    found.whole = _wider(found.whole, bits_of(value))
        return found


def look(database: Documents, asked: Asked) -> Seen:
    """Read documents from both ends; those that cannot be read are left to the preflight.

    Raises SpecError where an expression fails on one of them.
    """
    found: dict[bytes, Mapping[str, Any]] = {}
    whole = False
    with pymongo.timeout(0):
        for backwards in (False, True):
            read = size = 0
            for raw in _documents(database, asked, backwards):
                read, size = read + 1, size + len(raw)
                with suppress(UnfitError):
                    found[raw] = decode(raw)
                if read == MOST or size > _MOST_BYTES:
                    break
            else:
                whole = True
    return Seen(values=tuple(found.values()), whole=whole)


def _documents(database: Documents, asked: Asked, backwards: bool) -> Iterator[bytes]:
    try:
        for some in asked.documents(database, {}, backwards=backwards):
            yield from some
    except OperationFailure as error:
        if is_transient(error):
            raise
        raise SpecError(
            f"an expression fails on a document that exists: {code_of(error)}",
            where="transfer.columns",
            hint="Write `up` so that it gives a value, or nothing, for every document.",
        ) from None


def value_at(document: Any, path: tuple[str, ...]) -> Any:
    """Return the value at a path; MISSING where there is none, or something else than a document on the way."""
    for name in path:
        if not isinstance(document, dict) or name not in document:
            return MISSING
        document = document[name]
    return document


def bits_of(value: Any) -> int:
    """Return what a number says about the type that holds it; see `Types.chosen`."""
    if isinstance(value, Decimal128):
        return 0
    if isinstance(value, float):
        return 1
    return 64 if isinstance(value, Int64) else 32


def _wider(one: int, other: int) -> int:
    """Return what holds both: 32 and 64 bits, then doubles (1), then decimals (0)."""
    order = (32, 64, 1, 0)
    return max(one, other, key=order.index)
