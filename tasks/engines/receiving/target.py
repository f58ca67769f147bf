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
from tasks.engines.receiving.source import NotedReading, NotedRows, Reading, Rows
from tasks.engines.retrying import Passing, retrying
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

        with self.noted().reading_notes(action, "backfill", conn) as reading:
            noted: NotedReading = reading
            yield reading, before

    def noted(self) -> NotedRows:
        """Return the source as one whose writes are noted."""
        assert isinstance(self.source, NotedRows), "no plan notes writes of such a source"
        return self.source

    def retrying(self) -> tenacity.Retrying:
        """Try again what can pass by itself, of either database."""
        return retrying(self.limits, self.passing)


def own(step: Step) -> Relation:
    """Return what a step does to the table."""
    assert isinstance(step.action, Relation)
    return step.action
