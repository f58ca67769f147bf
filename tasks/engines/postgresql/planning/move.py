"""Pieces of DDL that know how to be taken back."""

from dataclasses import dataclass

from tasks.model.names import quote
from tasks.model.steps import Lock


@dataclass(frozen=True, kw_only=True)
class Move:
    """Statements of the swap, and what takes them back. Moves are undone in reverse order."""

    forward: tuple[str, ...] = ()
    inverse: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Restriction:
    """A constraint that is added NOT VALID and validated in a transaction of its own."""

    table: str
    """Quoted and qualified."""
    full_name: str
    name: str
    definition: str
    other_locks: tuple[Lock, ...] = ()
    validated: bool = True

    @property
    def add(self) -> str:
        """Add it without looking at the rows that are there."""
        return f"alter table {self.table} add constraint {quote(self.name)} {self.definition} not valid"

    @property
    def validate(self) -> str:
        """Look at them, under a lock that lets applications write."""
        return f"alter table {self.table} validate constraint {quote(self.name)}"

    @property
    def drop(self) -> str:
        """Take it away, if it is there."""
        return f"alter table {self.table} drop constraint if exists {quote(self.name)}"
