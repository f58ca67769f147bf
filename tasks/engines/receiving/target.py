"""A database that takes rows, as steps: what is the same whichever it is."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import tenacity

from profiles.model import Limits
from tasks.engines.journal import Journal, until_recorded
from tasks.engines.receiving.differences import Differences
from tasks.engines.receiving.place import Placed
from tasks.engines.receiving.source import (
    NotedReading,
    NotedRows,
    Notes,
    Reading,
    Rows,
    SteadyReading,
    StreamedRows,
)
from tasks.engines.retrying import Passing, retrying
from tasks.engines.session import Session
from tasks.model.errors import ChangeoverError, DataChanged, StepError
from tasks.model.steps import Step
from tasks.model.transfer_steps import Relation, RowTransfer

_EVERY: Final = 2.0
"""Seconds after which what was written is noted again, while rows are copied: no stream is left alone for long."""


@dataclass(frozen=True, kw_only=True)
class Receiving(ABC):
    """A database that takes rows, and their source, whose ledger says what is done to it."""

    url: str
    limits: Limits
    name: str
    """What sessions are called beside what tells them apart: the migration."""
    epoch: int
    source: Rows
    passing: Passing
    """What passes by itself, in either database."""
    copy: RowTransfer

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"

    def apply(self, step: Step, journal: Journal) -> None:
        """Carry out a step and record it."""
        until_recorded(self.limits, self.passing, partial(self._forward, own(step), journal), journal)

    def revert(self, step: Step, journal: Journal) -> None:
        """Take a step back and record it; tolerate that it was never, or only half, done."""
        until_recorded(self.limits, self.passing, partial(self._inverse, own(step), journal), journal)

    @abstractmethod
    def _forward(self, action: Relation, journal: Journal) -> None:
        """Do it, and record it."""

    @abstractmethod
    def _inverse(self, action: Relation, journal: Journal) -> None:
        """Take it back, and record that."""

    def settle(self, swap: Step, say: Callable[[str], None]) -> None:  # noqa: B027 - there is nothing to do
        """Carry nothing back: there is no way for that."""

    @abstractmethod
    def open(self, purpose: str) -> Any:
        """Open a session with the target."""

    @abstractmethod
    def notes(self, conn: Any) -> Notes:
        """Return the notes that a session with the target reaches, where a stream tells of writes."""

    @abstractmethod
    def find(self, conn: Any, action: Relation) -> Placed | None:
        """Return where our table is; None where it is gone, or was never made."""

    @abstractmethod
    def refuse_built_on(self, conn: Any, place: Any) -> None:
        """Refuse to drop our table where others have built on it; raises StateError with what that is."""

    @abstractmethod
    def differences(self, conn: Any, reading: Reading, action: RowTransfer, place: Any) -> Differences:
        """Compare all rows. Raises StateError where the columns are no longer those of the copy."""

    @abstractmethod
    def give_back(self, conn: Any, action: Relation) -> None:
        """Put the table that a rollback has taken away in its place again. Raises StepError where that is taken."""

    def happened(self, step: Step, *, recorded: bool) -> bool:
        """Tell whether a step is done: the catalogue is asked, for the ledger hears of it afterwards."""
        action = own(step)
        if action.does != "put":
            return recorded
        with self.open("ask") as conn:
            place = self.find(conn, action)
            return place is not None and place.is_put(action)

    def is_withdrawn(self, action: RowTransfer) -> bool:
        """Tell whether a rollback that was cut off has taken the table away, and not looked at it yet."""
        with self.open("ask") as conn:
            place = self.find(conn, action.into)
            return place is not None and place.withdrawn

    def require_alone(self, action: RowTransfer) -> None:
        """Refuse where others have built on the table: it could not be dropped. Raises StateError with what."""
        with self.open("ask") as conn:
            place = self.find(conn, action.into)
            if place is not None:
                self.refuse_built_on(conn, place)

    def written_since(self, action: RowTransfer) -> int:
        """Return how many rows are not what the source gives: somebody has written since, to either side.

        Raises StateError where the columns are no longer those of the copy.
        """
        with self.open("compare") as conn, self.source.reading("compare") as reading:
            place = self.find(conn, action.into)
            if place is None or not (place.is_put(action.into) or place.withdrawn):
                # Nobody else has known it where it was, or it was looked at when nobody did any more.
                return 0
            # Where it moves, whatever differs has been written since.
            asked = action if isinstance(reading, SteadyReading) else action.model_copy(update={"notes": ""})
            found = self.differences(conn, reading, asked, place)
            # Where both sides were written, nobody can tell what the row would have been.
            return found.differing + abs(found.superfluous) + found.unsettled

    def look_at(self, ledger: Session, conn: Any, action: Relation, place: Placed, journal: Journal) -> None:
        """Refuse to go back where something would be lost with a table that has been taken away: it comes back then."""
        try:
            # Once more: a function on its rows, say, needs no lock of it.
            self.refuse_built_on(conn, place)
            # It may read everything: no transaction waits for that.
            journal.guard(ledger)
        except Exception as error:
            self._gave_back(action, journal, error)
            raise

    def _gave_back(self, action: Relation, journal: Journal, error: Exception) -> None:
        """Put the table in its place again, by new sessions: what went wrong may be that one was lost."""
        with self.source.connect("rollback") as ledger, self.open("rollback") as conn, ledger.transaction():
            journal.fence(ledger)
            try:
                self.give_back(conn, action)
            except StepError as taken:
                # Of others the kind alone: what drivers say quotes rows.
                why = error.what if isinstance(error, ChangeoverError) else type(error).__name__
                raise StepError(
                    f"{why}; {taken.what}",
                    where=f"{action.database}: {action.staged}",
                    hint="What was written before is in this table: take what you need, then roll back with"
                    " --accept-loss.",
                    changed=DataChanged.PARTIALLY,
                ) from None

    @contextmanager
    def reading_on(
        self, action: RowTransfer, conn: Any, between: Callable[[int], int | None]
    ) -> Iterator[tuple[Reading, Callable[[int], int | None]]]:
        """Open what reads rows; with what to call before each batch: it also notes what was written."""
        if not action.notes:
            with self.source.reading("backfill") as plain:
                yield plain, between
            return
        looked = time.monotonic()

        def before(size: int) -> int | None:
            nonlocal looked
            if time.monotonic() - looked > _EVERY:
                noted.catch_up(action)
                looked = time.monotonic()
            return between(size)

        with self.noted().reading_notes(action, "backfill", self.notes(conn)) as reading:
            noted: NotedReading = reading
            yield reading, before

    def noted(self) -> NotedRows:
        """Return the source as one whose writes are noted."""
        assert isinstance(self.source, NotedRows), "no plan notes writes of such a source"
        return self.source

    def catch_up(self, action: RowTransfer, *, counting: bool) -> int | None:
        """Note what a stream tells of until now; None where there is no stream.

        `counting`: return of how many rows there are notes, which takes the longer, the more there are; else 0.
        """
        if not (action.notes and isinstance(self.source, StreamedRows)):
            return None
        with self.open("ask") as conn, self.source.reading_notes(action, "ask", self.notes(conn)) as reading:
            reading.catch_up(action)
            return self.notes(conn).count() if counting else 0

    def behind(self, action: RowTransfer) -> float | None:
        """Return how many seconds ago the end of the stream was where it was read to; None where there is no stream."""
        if not (action.notes and isinstance(self.source, StreamedRows)):
            return None
        with self.open("ask") as conn:
            return self.source.seconds_behind(self.notes(conn).position())

    def retrying(self) -> tenacity.Retrying:
        """Try again what can pass by itself, of either database."""
        return retrying(self.limits, self.passing)


def own(step: Step) -> Relation:
    """Return what a step does to the table."""
    assert isinstance(step.action, Relation)
    return step.action
