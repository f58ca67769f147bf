"""Where rows come from, as the receiving side sees it: an engine that can give them as lines of COPY."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from tasks.engines.records import Key, Line
from tasks.engines.session import Session
from tasks.model.transfer_steps import RowTransfer


class Reading(Protocol):
    """A session with the source that reads rows."""

    def end_of_batch(self, action: RowTransfer, low: Key | None, high: Key | None, rows: int) -> Key | None:
        """Return the key of the row `rows` further on; None when fewer are left before `high`."""

    def lines(self, action: RowTransfer, low: Sequence[str] | None, high: Sequence[str] | None) -> Iterator[Line]:
        """Give the rows of a range, of one snapshot, as they come."""

    def next_number(self, action: RowTransfer) -> int:
        """Return the number that the source would give to its next row; 0 where it numbers none."""


class Rows(Protocol):
    """Rows of a database, which also has the ledger."""

    def connect(self, purpose: str) -> Session:
        """Open a session for the ledger."""

    def reading(self, purpose: str) -> AbstractContextManager[Reading]:
        """Open a session to read with."""
