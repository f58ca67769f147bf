"""Where rows come from, as the receiving side sees it: an engine that can give them as lines of COPY."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, runtime_checkable

from tasks.engines.records import Key, Line
from tasks.engines.session import Session
from tasks.model.base import Record
from tasks.model.transfer_steps import RowTransfer

COMPARED_LATER: Final = ("backfill", "follow")
"""Purposes of sessions whose rows a gate compares: a source may make them by another code, which is faster, than those
that they are compared with."""


class Position(Record):
    """A place in a stream of changes, in words of the source."""

    token: str
    """What the source takes to go on from there."""
    moment: str
    """All that was written until then comes before it."""


class Notes(Protocol):
    """Notes, in the target, of what was written to a source that tells of it by a stream, and how far that was read.

    Notes of a stretch of the stream, and the place at its end, commit together: so whoever reads on, and be it a
    process that was taken for dead, begins where the notes end. A note says only that there was a write; it may be
    there twice.
    """

    def position(self) -> Position:
        """Return how far the stream was read."""

    def add(self, known: Position, keys: Sequence[str], reached: Position) -> bool:
        """Add notes and move the place, in one transaction; return False, doing nothing, where another has moved it."""

    def last(self) -> int:
        """Return the number of the last note; 0 where there is none."""

    def oldest(self, most: int, after: int = 0) -> list[tuple[int, str]]:
        """Return numbers and keys of up to `most` notes, in the order of their numbers."""

    def count(self) -> int:
        """Return of how many rows there are notes."""

    def forget(self, numbers: Sequence[int]) -> None:
        """Delete notes, within a transaction."""


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
    """One that knows of notes: keys of rows that were written.

    Where an action may be of any kind, it is of the kind that is read: rows for a table, or for documents.
    """

    def catch_up(self, action: Any) -> None:
        """See to it that what was written until now is noted."""

    def last_note(self, action: Any) -> int:
        """Return the number of the last note; 0 where there is none."""

    def notes(self, action: RowTransfer, most: int) -> list[int]:
        """Return the numbers of up to `most` notes, the oldest first."""

    def noted(self, action: RowTransfer, numbers: Sequence[int]) -> Iterator[Line]:
        """Give the keys that notes, seen before, tell of, as lines of the columns of the key alone."""

    def written(self, action: RowTransfer, numbers: Sequence[int]) -> Iterator[Line]:
        """Give the rows that notes, seen before, tell of, as far as they are there, and to be copied.

        What it reads is at least as new as those notes."""

    def forget(self, action: RowTransfer, numbers: Sequence[int], ledger: Session) -> None:
        """Delete notes that were dealt with, within the transactions of what they have become, and of the ledger."""


@runtime_checkable
class ManifoldReading(NotedReading, Protocol):
    """One of whose notes each may tell of many rows."""

    def rows_of_note(self, action: Any) -> float:
        """Return about how many rows a note tells of, at least 1."""


@runtime_checkable
class EmptiedReading(NotedReading, Protocol):
    """One of whose notes some say that the whole table was emptied: what is noted before does not matter any more."""

    def emptied(self, action: RowTransfer, numbers: Sequence[int] | None) -> int:
        """Return the number of the last of these notes that says so; None: of all notes; 0 where there is none."""


@runtime_checkable
class MeasuringReading(Reading, Protocol):
    """One that knows how long what it gives is as literals of MariaDB."""

    def longer(self, action: RowTransfer, low: Key | None, high: Key | None, most: int) -> int:
        """Return how many rows of a range have more bytes than that."""


@runtime_checkable
class SteadyReading(NotedReading, Protocol):
    """One that can look at one moment, with its notes, for as long as it takes."""

    def noted(self, action: RowTransfer, numbers: Sequence[int] | None) -> Iterator[Line]:
        """Give the keys that notes tell of; None: of all notes."""

    def written(self, action: RowTransfer, numbers: Sequence[int] | None) -> Iterator[Line]:
        """Give the rows that notes tell of; None: of all notes."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Let everything that is read be of one moment."""


class MovingReading(NotedReading, Protocol):
    """One whose rows are written while it looks at them."""

    def pages(self, action: RowTransfer) -> Iterator[list[Line]]:
        """Give the keys that all notes tell of, as lines of the columns of the key alone, so many at a time."""


class Standstill(Protocol):
    """What can hold the table of the source still: nobody writes to it, everybody reads it.

    Where a source has nothing that lets writers wait, it holds nothing: what is written after the last look is noted.
    """

    @property
    def holds(self) -> bool:
        """Whether it can hold anything."""

    def begin(self) -> str:
        """Hold it, and return nothing; or return why that is not possible within the lock budget."""

    def lost(self) -> str:
        """Return why it was not held all the time, within the budget; nothing where it was: then it is until closed."""

    def ended(self) -> str:
        """Return why it is not held any more, nothing where it is; however long it has taken."""


class Rows(Protocol):
    """Rows of a database, which also has the ledger."""

    def connect(self, purpose: str) -> Session:
        """Open a session for the ledger."""

    def reading(self, purpose: str) -> AbstractContextManager[Reading]:
        """Open a session to read with."""


@runtime_checkable
class NotedRows(Rows, Protocol):
    """Rows whose writes are noted, and which can be held still."""

    def reading_notes(self, action: Any, purpose: str, notes: Any) -> AbstractContextManager[NotedReading]:
        """Open a session to read with, also notes: those of the source, or `notes`, where a stream tells of writes."""

    def require_unbroken(self, conn: Any) -> None:
        """Raise GateError where the server may have forgotten what was read from it during this run."""

    def standstill(self, action: Any, budget_ms: int) -> AbstractContextManager[Standstill]:
        """Open what can hold the table still; it lets go of it at the end."""


@runtime_checkable
class StreamedRows(NotedRows, Protocol):
    """Rows of whose writes a stream tells, that goes on by itself: nothing has to be made in the source."""

    def beginning(self, action: RowTransfer) -> Position:
        """Return where the stream is now."""

    def seconds_behind(self, position: Position) -> float:
        """Return how long ago a place in the stream was the end of it."""
