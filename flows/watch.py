"""Show a run while it goes on: phase, rows, rate, time left and why it waits, fed from the ledger."""

import logging
import threading
import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from flows.explain import span
from flows.standing import Standing, eta, read
from flows.terminal import err
from tasks.engines.protocol import Engine
from tasks.engines.session import Session
from tasks.engines.translate import driver_errors
from tasks.model.errors import ChangeoverError
from tasks.model.status import Progress as Figures

EVERY = 0.5
"""Seconds between two readings."""
PLAIN_EVERY = 10.0
"""Seconds between two lines of a backfill where there is no terminal."""
RATE_OVER = 30.0
"""Seconds of the past over which a rate is measured: what happened before a pause says nothing about now."""
_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
_REASONS = ("waits", "throttled")


class _Listener(logging.Handler):
    """Keeps the last reason for waiting that the run gave."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.reason = ""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        self.reason = message if message.startswith(_REASONS) else ""


class Watch:
    """Watches a migration for as long as the context lasts, from a thread with a session of its own.

    On a terminal it draws one bar; elsewhere it writes a line for each phase and now and then one for a
    backfill. What it cannot read it does not show: a run never fails because nobody could watch it.
    """

    def __init__(self, engine: Engine, migration: str, *, silent: bool = False, plain: bool = False) -> None:
        self._engine = engine
        self._migration = migration
        self._silent = silent
        self._drawn = err().is_terminal and not plain
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
        self._listener = _Listener()
        self._past: deque[tuple[float, str, int]] = deque()
        self._phase = ""
        self._told = 0.0
        self._reason = ""
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._silent:
            return self
        if self._drawn:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"),
                console=err(), transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task("starts Prefect", total=None, figures="")
            self._bar.start()
        else:
            err().print(f"{self._migration}: starts Prefect")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._silent:
            return
        self._over.set()
        self._thread.join(timeout=5)
        if self._bar is not None:
            self._bar.stop()
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self._listener)

    def _watch(self) -> None:
        conn: Session | None = None
        while not self._over.wait(EVERY):
            for name in _LOGGERS:
                # Each time, which does no harm: Prefect takes handlers away when it sets up its own.
                logging.getLogger(name).addHandler(self._listener)
            try:
                if conn is None or conn.closed:
                    conn = self._engine.connect("watch")
                self._show(read(conn, self._engine, self._migration))
            except (ChangeoverError, *driver_errors()):
                # The ledger is not there yet, or the database is away for a moment: look again.
                continue
        if conn is not None:
            conn.close()

    def _show(self, now: Standing) -> None:
        reason = self._listener.reason or (f"waits for {now.waiting}" if now.waiting else "")
        figures = self._figures(now)
        if self._bar is not None and self._task is not None:
            filling = figures if now.phase == "backfill" else None
            done, steps = now.done
            self._bar.update(
                self._task,
                description=now.phase or now.record.state.value,
                total=filling.total if filling else steps,
                completed=filling.rows if filling else done,
                figures=", ".join(
                    part for part in (line(filling) if filling else f"{done}/{steps} steps", reason) if part
                ),
            )
            return
        self._write(now, figures, reason)

    def _write(self, now: Standing, figures: Figures | None, reason: str) -> None:
        if now.phase and now.phase != self._phase:
            self._phase, self._told = now.phase, time.monotonic()
            err().print(f"{self._migration}: {now.phase}")
        if reason and reason != self._reason:
            err().print(f"{self._migration}: {reason}")
        self._reason = reason
        if figures is not None and now.phase == "backfill" and time.monotonic() - self._told >= PLAIN_EVERY:
            self._told = time.monotonic()
            err().print(f"{self._migration}: {line(figures)}")

    def _figures(self, now: Standing) -> Figures | None:
        """Return the table that is being filled, with the rate of the last half minute."""
        found = next((one for one in now.progress if one.rows < one.total), None)
        if found is None:
            return None
        at = time.monotonic()
        self._past.append((at, found.table, found.rows))
        while self._past[0][0] < at - RATE_OVER or self._past[0][1] != found.table:
            self._past.popleft()
        since, _, rows = self._past[0]
        rate = (found.rows - rows) / (at - since) if at > since else found.rate
        return found.model_copy(update={"rate": rate, "eta_seconds": eta(found.rows, found.total, rate)})


def line(figures: Figures) -> str:
    """Write how far a backfill is in one line."""
    parts = [
        f"{figures.table} {figures.fraction:.0%}",
        f"{figures.rows:,} of about {figures.total:,} rows",
        f"{figures.rate:,.0f} rows/s",
    ]
    if figures.eta_seconds is not None and figures.rows < figures.total:
        parts.append(f"about {span(figures.eta_seconds)} left")
    return ", ".join(parts)
