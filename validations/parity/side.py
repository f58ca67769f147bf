"""A table of some engine, as a comparison asks it."""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from validations.parity.relation import Column, Relation
from validations.parity.report import Position
from validations.parity.terms import Part, Terms

Key = tuple[str, ...]
"""A key as text. The order of keys is that of their UTF-8 bytes, whatever the collation of a database."""
Buckets = dict[int, tuple[int, str]]
"""Count and digest of the rows of each part that has any."""


def order(key: Key) -> tuple[bytes, ...]:
    """Return what keys are ordered by, here as on every server."""
    return tuple(value.encode() for value in key)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row as it was at one moment."""

    version: str
    """Another one after every write, as far as the engine can tell; empty where it cannot."""
    values: tuple[str | None, ...]
    """As they are compared."""
    texts: tuple[str | None, ...] = ()
    """The same as they are written."""


class Side(Protocol):
    """One of the two tables. Reads only; opens and closes its own sessions."""

    relation: Relation

    def expression(self, name: str, sql: str) -> Column:
        """Return an expression over the table as a column of this name; raises PreflightError if it is none."""

    def children(self) -> list[str]:
        """Name the tables whose rows change when a row of this one is deleted."""

    def position(self) -> Position:
        """Return the place in the log, and what is visible."""

    def extent(self, column: str) -> tuple[int, int] | None:
        """Return least and greatest value of a column of whole numbers; None when there is no row."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Keep one snapshot for all passes within the context, where that is of use."""

    def buckets(self, terms: Terms) -> Buckets:
        """Return count and digest of each part of the table."""

    def rows(self, terms: Terms, part: Part) -> Generator[tuple[Key, str], None, None]:
        """Give keys and digests of the rows of a part, in the order of the keys."""

    def counted(self, terms: Terms, part: Part) -> Generator[tuple[Key, str], None, None]:
        """Give the digests of the rows of a part as keys, with how many there are of each, in their order."""

    def look(self, terms: Terms, keys: Sequence[Key]) -> dict[Key, Row]:
        """Return the rows of these keys that are there now."""

    def count(self, terms: Terms, digests: Sequence[Key]) -> dict[Key, Row]:
        """Return, as a row of one value, how many rows there are now of each of these digests."""
