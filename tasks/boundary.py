"""Where a run may stop without harm: at the pause that somebody asked for, and when its window closes."""

import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from profiles.window import closed_because, contains
from tasks.engines.session import Session
from tasks.idle_sessions import leave_session, open_session
from tasks.ledger.controls import control
from tasks.model.errors import DataChanged, Paused
from tasks.run import Run

EVERY = 0.5
"""Seconds between two looks at the ledger: batches are shorter than that."""


class Boundary:
    """Watches the controls of a migration through a session of its own."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.profile = run.settings
        self._conn: Session | None = None
        self._looked = 0.0
        self._rows: int | None = None

    def __enter__(self) -> Self:
        self._conn = open_session(self.run.engine, self.run.run_id, "boundary")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._conn is not None and kind is None:
            leave_session(self.run.run_id, "boundary", self._conn)
        elif self._conn is not None:
            self._conn.close()

    @property
    def conn(self) -> Session:
        """The session; a new one when the old one was lost."""
        if self._conn is None or self._conn.closed:
            self._conn = open_session(self.run.engine, self.run.run_id, "boundary")
        return self._conn

    def check(self) -> None:
        """Raise Paused when the run has to stop here."""
        if time.monotonic() - self._looked < EVERY:
            return
        self._looked = time.monotonic()
        window = self.profile.window
        now = datetime.now(UTC)
        if window is not None and not contains(window, now):
            raise Paused(
                f"the window is closed: {closed_because(window, now)}",
                where=self.run.migration,
                hint=f"changeover run {self.run.migration} goes on in the next window.",
                changed=DataChanged.PARTIALLY,
            )
        if control(self.conn, self.run.migration, "pause"):
            raise Paused(
                "paused on request",
                where=self.run.migration,
                hint=f"changeover resume {self.run.migration} goes on from here.",
                changed=DataChanged.PARTIALLY,
            )
        rows = control(self.conn, self.run.migration, "batch_rows")
        self._rows = int(rows) if isinstance(rows, int) and not isinstance(rows, bool) else None

    @property
    def batch_rows(self) -> int | None:
        """The size of batch that somebody asked for while it runs."""
        return self._rows
