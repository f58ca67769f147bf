"""What the kinds of two tables that are kept in step have in common, as far as a plan asks for it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from tasks.engines.postgresql.planning.linked.outbox import Outbox


@dataclass(frozen=True, kw_only=True)
class Pair(ABC):
    """Two tables that are kept in step."""

    outbox: Outbox

    @property
    def others(self) -> tuple[str, ...]:
        """Tables that both refer to, quoted and qualified."""
        return ()

    @abstractmethod
    def create(self) -> tuple[str, ...]:
        """Return the statements that begin to keep the two in step. Both tables must be locked against writers."""

    @abstractmethod
    def drop(self) -> tuple[str, ...]:
        """Return the statements that end it."""

    @abstractmethod
    def functions(self, *, swapped: bool) -> tuple[str, ...]:
        """Return the functions that differ before and after the swap."""

    def give_up(self) -> tuple[tuple[str, ...], str]:
        """Return the statements that end it before the swap, and a call that carries what waits ahead of them."""
        return self.drop(), ""

    def swap_back(self) -> tuple[str, ...]:
        """Return the statements that end it when the swap is undone. All tables must be locked."""
        return (*self.outbox.carry_rest(), *self.drop())
