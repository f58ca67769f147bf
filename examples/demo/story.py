"""What happens in the demo, in order."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg

from examples.demo.application import Application
from examples.demo.figures import Comparison, Figures, Gate, Period
from examples.demo.latency import LockSampler
from examples.demo.orders import COLUMNS, create, differences
from examples.demo.remains import leftovers
from examples.demo.sabotage import commit
from examples.demo.screen import Screen
from examples.demo.surroundings import REVIEWER, Surroundings
from examples.demo.watch import Line, View, Work, contract_lines, forward_lines, rollback_lines, view
from tasks.engines.postgresql.inspect import inspect
from tasks.ledger.approvals import approve
from tasks.ledger.verify import verify
from tasks.model.catalogue import Catalogue
from tasks.model.catalogue_difference import compare
from tasks.model.status import MigrationState, Report

SPECS = Path(__file__).parents[1]
SPLIT, RENAME = "split_customer_name", "rename_status"
ON_ORDERS = ("insert", "update", "delete", "key", "read", "bulk")
"""Kinds of statements that go to `orders`; the others are begin, commit, and what goes to the twin."""
PER_OPERATION = 1.26
"""Statements on `orders` in an operation of the application, on average."""
SPLIT_BACK = COLUMNS.replace("customer", "first_name || coalesce(' ' || last_name, '')")
"""The new shape in terms of the old one, for the comparison after the contraction."""


def _import_early() -> None:
    import great_expectations  # noqa: F401, PLC0415 - a thread imports it


class Story:
    """The demo on a database that is there, with the application that runs beside it."""

    def __init__(self, place: Surroundings, screen: Screen, figures: Figures) -> None:
        self.place, self.screen, self.figures = place, screen, figures
        self.connection: psycopg.Connection[Any] = psycopg.connect(
            place.url, autocommit=True, application_name="demo-story"
        )
        self.application = Application(
            place.url, rate=figures.rate / PER_OPERATION, out=place.folder / "application.json"
        )
        self.sampler = LockSampler(place.url)
        self._periods: list[tuple[str, float, float]] = []

    def load(self) -> None:
        """Create `orders` and its twin."""
        started = time.monotonic()
        create(self.connection, self.figures.rows)
        row = self.connection.execute("select split_part(version(), ' ', 2)").fetchone()
        self.screen.say(
            f"PostgreSQL {row[0] if row else ''} with {self.figures.rows:,} orders, and a twin to compare with, "
            f"{time.monotonic() - started:.1f} s"
        )

    def before(self, seconds: float, ready: Callable[[], None]) -> None:
        """Let the application run alone for a while, and until Prefect is there."""
        since = time.time()
        with self.screen.waiting("starts Prefect's server"):
            ready()
        self.screen.say(f"Prefect's server, {time.time() - since:.1f} s")
        # A start-up is no quiet time: only what comes after it is compared with.
        since = time.time()
        # Great Expectations takes some seconds to import: now nobody has to wait for it.
        Thread(target=_import_early, name="imports", daemon=True).start()
        with self.screen.waiting(f"measures the application alone for {seconds:g} s"):
            time.sleep(seconds)
        self._periods.append(("before", since, time.time()))
        self.screen.say(
            f"{self.figures.rate:.0f} statements a second on orders, alone for {seconds:g} s to compare with"
        )

    def migrate(self, name: str, *, deploy: bool) -> None:
        """Run expand-contract to its completion, approving it where it asks for that."""
        from flows.expand_contract import expand_contract  # noqa: PLC0415 - Prefect reads the environment on import

        def on_view(now: View) -> None:
            if now.state is MigrationState.AWAITING_APPROVAL and not approved:
                approved.append(self._approve(name, now.plan_digest, deploy=deploy))

        approved: list[str] = []
        spec, profile = str(SPECS / f"{name}.yaml"), str(self.place.profile)
        report = self._run(
            "migration" if deploy else "migration 2",
            name,
            lambda: expand_contract(spec, profile),
            forward_lines,
            on_view,
        )
        for note in approved:
            self.screen.say(note)
        self._keep(report)

    def contract(self, name: str) -> None:
        """Destroy the old shape."""
        from flows.contract import contract  # noqa: PLC0415 - Prefect reads the environment on import

        profile = str(self.place.profile)
        report = self._run("contract", name, lambda: contract(name, profile), contract_lines)
        self.figures.states["contract"] = report.state.value

    def roll_back(self, name: str, before: Catalogue) -> None:
        """Take a complete migration back, and compare the catalogue with the one before it."""
        from flows.rollback import rollback  # noqa: PLC0415 - Prefect reads the environment on import

        profile = str(self.place.profile)
        report = self._run("rollback", name, lambda: rollback(name, profile), rollback_lines)
        self.figures.states["rollback"] = report.state.value
        self.figures.catalogue_differences = compare(before, self.catalogue())

    def catalogue(self) -> Catalogue:
        """Return the catalogue of `orders` as it is now."""
        return inspect(self.connection, ["public.orders"], "public")

    def compare(self, when: str, columns: str = COLUMNS) -> None:
        """Compare `orders` with its twin, in both directions, while the application writes."""
        with self.screen.waiting("compares every row with the twin"):
            found = differences(self.connection, columns)
        self.figures.comparisons.append(Comparison(when=when, differences=found))
        self.screen.say(f"{found.rows:,} orders compared with the twin {when}: {found.total} differ")

    def sabotage(self, names: Sequence[str]) -> None:
        """Break promises on purpose, for the tests."""
        since = time.time()
        commit(self.place.url, names)
        if names:
            time.sleep(1.0)
            self._periods.append(("sabotage", since, time.time()))

    def finish(self) -> None:
        """Stop the application, and collect what it and the audit log have to say."""
        report = self.application.stop()
        figures = self.figures
        figures.failures, figures.unfinished = report.failures, report.unfinished
        figures.samples, figures.longest_wait = self.sampler.samples, self.sampler.longest("changeover")
        for name, since, until in self._periods:
            counts = report.counts(since, until)
            sent = sum(counts.get(kind, 0) for kind in ON_ORDERS)
            seconds = until - since
            latency = report.latency(since, until)
            slowest = report.slowest(3, since, until)
            figures.periods.append(
                Period(name=name, seconds=seconds, rate=sent / seconds, latency=latency, slowest=slowest)
            )
        audit = verify(self.connection, self.place.evidence)
        figures.audit_records, figures.audit_anchors = audit.records, audit.anchors
        figures.audit_problems = audit.problems
        figures.leftovers = leftovers(self.connection)

    def _run(
        self,
        period: str,
        migration: str,
        call: Callable[[], Report],
        lines: Callable[[View | None], tuple[Line, ...]],
        on_view: Callable[[View], None] = lambda _: None,
    ) -> Report:
        since = time.time()
        work, plan = Work(call), None
        with self.screen.board() as board:
            over = False
            while not over:
                over = work.finished(0.1)
                now = view(self.connection, migration, plan)
                plan = now.plan if now else None
                board.show(lines(now), self._footer(since))
                if now is not None:
                    on_view(now)
        self._periods.append((period, since, time.time()))
        return work.result()

    def _footer(self, since: float) -> str:
        wait = self.sampler.longest("changeover")
        longest = f"{wait.ms:.0f} ms" if wait else "not at all"
        return f"{time.time() - since:.0f} s, the application waited for our locks at most: {longest}"

    def _approve(self, name: str, plan_digest: str, *, deploy: bool) -> str:
        note = f"approved by {REVIEWER}"
        if deploy:
            self.application.deploy("new")
            note = f"new version of the application deployed, swap {note}"
        approve(self.connection, name, plan_digest, REVIEWER, reason="the demo's own review")
        return note

    def _keep(self, report: Report) -> None:
        figures = self.figures
        figures.states[report.migration] = report.state.value
        if report.migration == SPLIT:
            figures.rows_migrated, figures.backfill_seconds = report.rows, report.seconds
        for gate in report.gates:
            failed = tuple(check.name for check in gate.checks if not check.stands)
            names = tuple(check.name for check in gate.checks)
            figures.gates.append(
                Gate(migration=report.migration, name=gate.gate, checks=names, failed=failed, passed=gate.passed)
            )
