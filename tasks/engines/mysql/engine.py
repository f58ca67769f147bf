"""MariaDB behind the engine protocol: which module does what."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import tenacity

from profiles.model import Database, Limits, Probes
from tasks.engines.journal import Journal, until_recorded
from tasks.engines.mysql import drift
from tasks.engines.mysql.address import parse, where
from tasks.engines.mysql.before_run import examine
from tasks.engines.mysql.copy import fill
from tasks.engines.mysql.copy_again import copy_again
from tasks.engines.mysql.inspect import inspect, tables
from tasks.engines.mysql.key_ranges import shard
from tasks.engines.mysql.measure import measure
from tasks.engines.mysql.names import quote
from tasks.engines.mysql.planning.planner import plan
from tasks.engines.mysql.preflight import check, preflight, require_privileges
from tasks.engines.mysql.probe_queries import measure_probes
from tasks.engines.mysql.scan import examine_values
from tasks.engines.mysql.self_committing import carry_out, holds, take_back
from tasks.engines.mysql.session import MariaSession, connect
from tasks.engines.mysql.sessions import GUARD, end_orphans, hold_tables, register, run_sessions
from tasks.engines.mysql.transfer_rows import MariaRows
from tasks.engines.mysql.transient import PASSING, retrying
from tasks.engines.protocol import Engine, Listing, Probing
from tasks.engines.records import Checkpoint, DumpRecord, Facts, Range, Shard
from tasks.engines.retrying import OnRetry
from tasks.engines.session import Session
from tasks.model.catalogue import Catalogue
from tasks.model.document_steps import Rebuild, Reshape
from tasks.model.errors import PreflightError, StepError
from tasks.model.plan import DumpTarget, Finding, Plan
from tasks.model.probe import Probe, Reading
from tasks.model.spec import MigrationSpec
from tasks.model.status import GateResult
from tasks.model.steps import Backfill, Copy, CopyAgain, InRanges, SelfCommitting, Step
from tasks.model.transfer_steps import DocumentTransfer, Transfer


@dataclass(frozen=True, kw_only=True)
class MariaEngine:
    """A MariaDB database and the limits under which it is changed."""

    url: str
    database: Database
    limits: Limits
    migration: str
    run_id: str

    def __repr__(self) -> str:
        return f"MariaEngine(migration={self.migration!r})"

    @property
    def address(self) -> str:
        """Where it is, without any secret."""
        return where(self.url)

    @property
    def database_name(self) -> str:
        """What people type to confirm."""
        return str(parse(self.url).database)

    def connect(self, purpose: str) -> MariaSession:
        """Open a session that the next run finds again; those of commands, which are no run, leave no trace."""
        conn = connect(self.url, lock_timeout_ms=self.limits.lock_budget)
        try:
            if self.run_id:
                register(conn, self.migration, self.run_id, purpose)
        except BaseException:
            conn.close()
            raise
        return conn

    def check(self) -> None:
        """Refuse a replica, a binary log by statement, and a version that is not known."""
        with self.connect("check") as conn:
            check(conn)

    def inspect(self, names: Sequence[str]) -> Catalogue:
        """Read the catalogue of tables."""
        with self.connect("inspect") as conn:
            return inspect(conn, names)

    def tables(self, schema: str) -> tuple[str, ...]:
        """Name the tables of a database."""
        with self.connect("inspect") as conn:
            return tables(conn, schema)

    def plan(self, spec: MigrationSpec) -> Plan:
        """Draw up a plan; what it tries the new shape on is gone afterwards."""
        with self.connect("plan") as conn:
            return plan(conn, spec)

    def preflight(self, plan: Plan) -> tuple[Finding, ...]:
        """Say what stands in the way now; change nothing."""
        with self.connect("preflight") as conn:
            return preflight(conn, plan, self.limits)

    def examine(self, plan: Plan, *, values_in_reports: bool) -> GateResult:
        """Ask the rows what the new shape demands, before anything is done."""

        def asked() -> GateResult:
            with self.connect("examine") as conn:
                if plan.strategy == "cross_database":
                    if any(isinstance(step.action, DocumentTransfer) for step in plan.steps):
                        from tasks.engines.mongodb import scan  # noqa: PLC0415 - loads the driver

                        return scan.examine(conn, plan, values_in_reports=values_in_reports)
                    return examine_values(conn, plan)
                return examine(conn, plan, values_in_reports=values_in_reports)

        # It reads whole tables, and changes nothing.
        return retrying(self.limits)(asked)

    def probe(self, probes: tuple[Probe, ...], limits: Probes, search_path: str) -> dict[str, Reading]:  # noqa: ARG002
        """Measure queries, by name."""
        with self.connect("probe") as conn:
            return measure_probes(conn, probes, limits)

    def apply(self, step: Step, journal: Journal) -> None:
        """Carry out a step and record it."""
        until_recorded(self.limits, PASSING, partial(self._forward, step, journal), journal)

    def revert(self, step: Step, journal: Journal) -> None:
        """Take a step back and record it."""
        until_recorded(self.limits, PASSING, partial(self._inverse, step, journal), journal)

    def _forward(self, step: Step, journal: Journal) -> None:
        if isinstance(step.action, CopyAgain):
            with self.connect(step.phase) as conn:
                copy_again(conn, step.action, self.limits, journal)
            return
        assert isinstance(step.action, SelfCommitting), "a copy runs shard by shard"
        carry_out(lambda: self.connect(step.phase), step.action, self.limits, journal)

    def _inverse(self, step: Step, journal: Journal) -> None:
        # What a copy filled is dropped by the steps before it.
        action = step.action if isinstance(step.action, SelfCommitting) else SelfCommitting(table="")
        take_back(lambda: self.connect("rollback"), action, self.limits, journal)

    def happened(self, step: Step, *, recorded: bool) -> bool:  # noqa: ARG002
        """Ask the catalogue whether a step is done."""
        with self.connect("ledger") as conn:
            return isinstance(step.action, SelfCommitting) and holds(conn, step.action)

    def settle(self, swap: Step, say: Callable[[str], None]) -> None:
        """Do nothing: triggers here put nothing aside, and what they cannot carry is among the rejections."""

    def shards(self, action: InRanges, count: int) -> list[Range]:
        """Divide the keys that exist now."""
        with self.connect("backfill") as conn:
            return shard(conn, action if isinstance(action, Transfer) else _copy(action), count)

    def fill(
        self,
        action: Backfill | Copy | Reshape | Rebuild,
        shard: Shard,
        checkpoint: Checkpoint,
        between: Callable[[int], int | None],
    ) -> int:
        """Copy one shard, batch by batch."""
        with self.connect("backfill") as conn:
            return fill(conn, _copy(action), shard, self.limits, checkpoint, between)

    def rows(self) -> MariaRows:
        """Give rows to another database."""
        return MariaRows(connect=self.connect, run_id=self.run_id)

    def measure(self, tables: tuple[str, ...]) -> Facts:
        """Count and digest whole tables."""
        with self.connect("snapshot") as conn:
            return measure(conn, tables)

    def dump(self, target: DumpTarget, folder: Path, *, swapped: bool) -> DumpRecord:  # noqa: ARG002
        """Refuse: no plan on MariaDB asks for a dump."""
        raise StepError("there are no dumps on MariaDB", where=target.table, hint="Take a backup.")

    @contextmanager
    def keep(self, tables: tuple[str, ...]) -> Iterator[MariaSession]:
        """Keep other runs away from the tables, and end what is left of dead ones."""
        with self.connect(GUARD) as conn:
            hold_tables(conn, tables)
            end_orphans(conn, self.migration, self.run_id)
            yield conn

    def retrying(self, on_retry: OnRetry | None = None) -> tenacity.Retrying:
        """Try again what can pass by itself."""
        return retrying(self.limits, on_retry)

    def require_privileges(self, conn: Session, plan: Plan) -> None:
        """Refuse a user who cannot make the ledger, and what a migration needs."""
        require_privileges(_own(conn), plan.tables)

    def refuse_drift(self, conn: Session, plan: Plan) -> None:
        """Raise DriftError when the tables are not what the plan was made for."""
        drift.refuse_drift(_own(conn), plan)

    def refuse_drift_since(self, conn: Session, plan: Plan) -> None:
        """Raise DriftError when more has changed than the plan has done up to the gate."""
        drift.refuse_drift_since(_own(conn), plan)

    def count(self, conn: Session, query: str) -> int:
        """Return how many rows a query gives."""
        row = _own(conn).execute(f"select count(*) from ({query}) as counted").fetchone()
        return int(row[0])

    def run_sessions(self, conn: Session, migration: str) -> tuple[bool, str]:
        """Tell whether some run of a migration is alive, and for what it waits."""
        return run_sessions(_own(conn), migration)

    def lag_bytes(self, conn: Session) -> int | None:  # noqa: ARG002
        """Refuse: a primary of MariaDB does not know how far its replicas are."""
        raise PreflightError(
            "throttle.replica_lag_bytes cannot be honoured: a primary of MariaDB does not know the lag of its replicas",
            where=self.address,
            hint="Leave it out of the profile, and watch probe_latency.",
        )

    def probe_ms(self, conn: Session, action: InRanges) -> float:
        """Return the latency of a read by key."""
        assert isinstance(action, Copy | Transfer), "MariaDB has no backfill in place"
        order = ", ".join(map(quote, action.key))
        started = time.monotonic()
        _own(conn).execute(f"select 1 from {action.table} order by {order} limit 1").fetchone()
        return (time.monotonic() - started) * 1000


def _own(conn: Session) -> MariaSession:
    assert isinstance(conn, MariaSession), "a session of another engine"
    return conn


def _copy(action: InRanges) -> Copy:
    assert isinstance(action, Copy), "MariaDB has no backfill in place"
    return action


if TYPE_CHECKING:
    # Every verb of the protocol is here, with its types.
    _ENGINE: type[Engine] = MariaEngine
    _PROBING: type[Probing] = MariaEngine
    _LISTING: type[Listing] = MariaEngine
