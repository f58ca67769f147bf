"""Where rows come from, as the receiving side sees it: an engine that can give them as lines of COPY."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

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


@runtime_checkable
class NotedReading(Reading, Protocol):
    """One that knows of notes: keys of rows that were written."""

    def last_note(self, action: RowTransfer) -> int:
        """Return the number of the last note; 0 where there is none."""

    def notes(self, action: RowTransfer, most: int) -> list[int]:
        """Return the numbers of up to `most` notes, the oldest first."""

    def noted(self, action: RowTransfer, numbers: Sequence[int] | None) -> Iterator[Line]:
        """Give the keys that notes tell of, as lines of the columns of the key alone; None: of all notes."""

    def written(self, action: RowTransfer, numbers: Sequence[int] | None) -> Iterator[Line]:
        """Give the rows that notes tell of, as far as they are there, and to be copied; None: of all notes.

        What it reads is at least as new as notes that were seen before."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Let everything that is read be of one moment."""


class Standstill(Protocol):
    """What can hold the table of the source still: nobody writes to it, everybody reads it."""

    def begin(self) -> str:
        """Hold it, and return nothing; or return why that is not possible within the lock budget."""

    def lost(self) -> str:
        """Return why it was not held all the time, within the budget; nothing where it was: then it is until closed."""


class Rows(Protocol):
    """Rows of a database, which also has the ledger."""

    def connect(self, purpose: str) -> Session:
        """Open a session for the ledger."""

    def reading(self, purpose: str) -> AbstractContextManager[Reading]:
        """Open a session to read with."""


@runtime_checkable
class NotedRows(Rows, Protocol):
    """Rows whose writes are noted, and which can be held still."""

    def reading(self, purpose: str) -> AbstractContextManager[NotedReading]:
        """Open a session to read with."""

    def require_unbroken(self, conn: Any) -> None:
        """Raise GateError where the server may have forgotten what was read from it during this run."""

    def standstill(self, action: RowTransfer, budget_ms: int) -> AbstractContextManager[Standstill]:
        """Open what can hold the table still; it lets go of it at the end."""
