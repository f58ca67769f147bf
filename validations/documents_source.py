"""What a gate asks of documents that are copied into a table, whichever database that is in."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from profiles.model import Limits
from tasks.engines.mongodb.connect import connected
from tasks.engines.mongodb.errors import PASSING
from tasks.engines.mongodb.rows.following import Following
from tasks.engines.mongodb.rows.reading import Reading
from tasks.engines.receiving.compare_moving import Scratch, compare_moving
from tasks.engines.receiving.differences import Differences
from tasks.engines.receiving.source import Notes
from tasks.engines.retrying import Passing, either, retrying
from tasks.model.errors import ChangeoverError
from tasks.model.plan import Requirement
from tasks.model.status import CheckResult
from tasks.model.transfer_steps import RowTransfer

Opened = Callable[[], AbstractContextManager[tuple[Notes, Scratch]]]
"""Opens a session with the target, in which a comparison can be made, and its notes."""


@dataclass(frozen=True, kw_only=True)
class DocumentsSource:
    """Documents of one copy. Failures that pass are tried again, on sessions of their own."""

    url: str = field(repr=False)
    action: RowTransfer
    called: str
    """What its sessions are called."""
    limits: Limits
    passing: Passing
    """What passes by itself where the rows are."""

    def late(
        self, notes: Notes, requirements: Sequence[Requirement], count: Callable[[str], int]
    ) -> Iterator[CheckResult]:
        """Ask what the stream has told of since the swap; where nobody can tell any more, that is wrong, too.

        `count` asks the target how many rows a query gives.
        """
        for one in requirements:
            started = time.monotonic()
            try:
                retrying(self.limits, self._passing)(self._note, notes)
            except ChangeoverError as error:
                # Whatever it is, nobody can tell what was written: somebody may answer for that, under this name.
                wrong, told = 1, error.what
            else:
                wrong = count(one.violations)
                told = f"{wrong:,} documents were written" if wrong else "no violations"
            yield CheckResult(
                name=one.name,
                passed=not wrong,
                evaluated=True,
                unexpected=wrong,
                message=told,
                seconds=time.monotonic() - started,
            )

    def compare_meanwhile(self, opened: Opened) -> Differences:
        """Compare all documents with the rows of a table, while they are written."""

        def once() -> Differences:
            with opened() as (notes, scratch), self._following(notes) as reading:
                return compare_moving(reading, scratch)

        found: Differences = retrying(self.limits, self._passing)(once)
        return found

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """Open a session to read with, where nobody writes."""
        with connected(self.url, name=self.called) as database:
            yield Reading(database)

    def counted(self, result: Differences) -> CheckResult:
        """Compare with what MongoDB itself counts, and not through what made the copy."""
        started = time.monotonic()
        with self.reading() as reading:
            there = reading.count(self.action)
        here = result.present + result.rejected
        what = "elements" if self.action.unnest else "documents"
        return CheckResult(
            name=f"MongoDB counts as many {what}",
            passed=there == here,
            evaluated=True,
            unexpected=abs(there - here),
            message=f"{there:,} {what}, {result.present:,} rows and {result.rejected:,} rejected",
            seconds=time.monotonic() - started,
        )

    @property
    def _passing(self) -> Passing:
        return either(PASSING, self.passing)

    def _note(self, notes: Notes) -> None:
        with self._following(notes) as reading:
            reading.catch_up(self.action)

    @contextmanager
    def _following(self, notes: Notes) -> Iterator[Following]:
        with (
            connected(self.url, name=self.called) as database,
            database.client.start_session(causal_consistency=True) as session,
        ):
            yield Following(database, session, notes)
