"""How far a backfill is: one progress artifact of Prefect, read from the ledger while the shards work."""

import threading
from types import TracebackType
from typing import Self, cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tasks.ledger.cursors import progress
from tasks.model.status import Progress as Figures
from tasks.model.steps import Step
from tasks.report import slug
from tasks.run import Run

EVERY = 2.0
"""Seconds between two updates; each takes about 20 ms of Prefect's server."""


def figures(run: Run, step: Step) -> Figures:
    """Return the progress of a backfill, as the ledger has it."""
    total = next((e.rows for e in run.plan.estimates if _names(step, e.table)), 0)
    with run.ledger("progress") as conn:
        totals = progress(conn, run.migration).get(step.key)
    if totals is None or totals.started_at is None:
        return Figures(table=_table(step), rows=0, total=total, rate=0.0, eta_seconds=None)
    rate = totals.rate
    finished = totals.shards_done == totals.shards
    total = totals.rows if finished else max(total, totals.rows)
    known = total > 0 and totals.rows >= total / 100 and rate > 0
    return Figures(
        table=_table(step),
        rows=totals.rows,
        total=total,
        rate=rate,
        eta_seconds=(total - totals.rows) / rate if known else None,
    )


def _table(step: Step) -> str:
    return step.key.split("/")[1]


def _names(step: Step, table: str) -> bool:
    return _table(step) == table


class Progress:
    """Keeps the artifact up to date for as long as the context lasts."""

    def __init__(self, run: Run, step: Step) -> None:
        self.run = run
        self.step = step
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        self._artifact = cast(
            UUID,
            create_progress_artifact(progress=0.0, key=f"backfill-{slug(run)}", description=step.title),
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if kind is None:
            self._show()

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            self._show()

    def _show(self) -> None:
        now = figures(self.run, self.step)
        eta = f", {now.eta_seconds:.0f} s left" if now.eta_seconds is not None else ""
        update_progress_artifact(
            self._artifact,
            progress=round(now.fraction * 100, 1),
            description=f"{now.table}: {now.rows:,} of about {now.total:,} rows, {now.rate:,.0f} a second{eta}",
        )
