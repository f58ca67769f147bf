"""PostgreSQL behind the engine protocol: which module does what."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import tenacity

from profiles.model import Database, Limits, Probes
from tasks.engines.journal import Journal, until_recorded
from tasks.engines.postgresql import concurrent_index
from tasks.engines.postgresql.address import parameters, where
from tasks.engines.postgresql.backfill import fill
from tasks.engines.postgresql.before_run import examine
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.connect import connect, require_direct, require_primary, require_version, require_writable
from tasks.engines.postgresql.drain import drain
from tasks.engines.postgresql.drift import refuse_drift, refuse_drift_since
from tasks.engines.postgresql.dump import dump
from tasks.engines.postgresql.inspect import inspect, tables, types
from tasks.engines.postgresql.key_ranges import shard
from tasks.engines.postgresql.measure import measure
from tasks.engines.postgresql.old_views import Outlast
from tasks.engines.postgresql.planning.planner import plan
from tasks.engines.postgresql.planning.shadow.planner import plan_shadow
from tasks.engines.postgresql.planning.transfer import plan_transfer
from tasks.engines.postgresql.planning.transfer_rows import plan_rows
from tasks.engines.postgresql.preflight import preflight
from tasks.engines.postgresql.probe_queries import measure_probes
from tasks.engines.postgresql.probes import probe_latency_ms, replica_lag_bytes
from tasks.engines.postgresql.reconcile import reconcile
from tasks.engines.postgresql.rows import PostgresRows
from tasks.engines.postgresql.scan_rows import examine_rows
from tasks.engines.postgresql.sessions import (
    GUARD,
    end_orphans,
    hold_tables,
    require_privileges,
    run_sessions,
    session_name,
)
from tasks.engines.postgresql.short_transaction import run_short, run_validation
from tasks.engines.postgresql.swapped import refuse_other_result, refuse_other_tables
from tasks.engines.postgresql.transient import PASSING, retrying
from tasks.engines.protocol import Engine, Listing, Probing
from tasks.engines.records import Checkpoint, DumpRecord, Facts, Range, Shard
from tasks.engines.refuse_documents import refuse_documents
from tasks.engines.retrying import OnRetry
from tasks.engines.session import Session
from tasks.model.catalogue import Catalogue, TypeDefinition
from tasks.model.document_steps import Rebuild, Reshape
from tasks.model.errors import SpecError
from tasks.model.operations import RebuildTable
from tasks.model.plan import DumpTarget, Finding, Plan
from tasks.model.probe import Probe, Reading
from tasks.model.spec import MigrationSpec
from tasks.model.status import GateResult
from tasks.model.steps import (
    Backfill,
    ConcurrentIndex,
    Copy,
    CopyAgain,
    InRanges,
    Reconcile,
    SelfCommitting,
    ShortTransaction,
    Step,
    Validation,
)
from tasks.model.transfer_steps import Collection, DocumentTransfer, Relation, RowTransfer


@dataclass(frozen=True, kw_only=True)
class PostgresEngine:
    """A PostgreSQL database and the limits under which it is changed."""

    url: str
    database: Database
    limits: Limits
    migration: str
    run_id: str

    def __repr__(self) -> str:
        return f"PostgresEngine(migration={self.migration!r})"

    @property
    def address(self) -> str:
        """Where it is, without any secret."""
        return where(self.url)

    @property
    def database_name(self) -> str:
        """What people type to confirm."""
        return str(parameters(self.url).get("dbname", ""))

    def connect(self, purpose: str) -> Connection:
        """Open a session, named after the run and its purpose. It is autocommit; close it, or use `with`."""
        return connect(
            self.url,
            application_name=session_name(self.migration, self.run_id, purpose),
            search_path=self.database.search_path,
            lock_timeout_ms=self.limits.lock_budget,
        )

    def check(self) -> None:
        """Refuse a pooler, a standby, a read-only role and a version that is not known."""
        with self.connect("check") as conn:
            require_version(conn)
            require_direct(conn)
            require_primary(conn)
            require_writable(conn)

    def inspect(self, names: Sequence[str]) -> Catalogue:
        """Read the catalogue of tables."""
        with self.connect("inspect") as conn:
            return inspect(conn, names, self.database.search_path)

    def tables(self, schema: str) -> tuple[str, ...]:
        """Name the tables of a schema."""
        with self.connect("inspect") as conn:
            return tables(conn, schema)

    def types(self, schemas: Sequence[str]) -> tuple[TypeDefinition, ...]:
        """Read the types that stand in schemas."""
        with self.connect("inspect") as conn:
            return types(conn, schemas=schemas)

    def plan(self, spec: MigrationSpec) -> Plan:
        """Draw up a plan; change nothing."""
        with self.connect("plan") as conn:
            # It tries expressions on tables, whatever is in them; what policies would hide it refuses by name.
            conn.execute("set row_security = on")
            drawn = self._plan(conn, spec)
            return drawn.model_copy(update={"types": types(conn, tables=drawn.tables)})

    def _plan(self, conn: Connection, spec: MigrationSpec) -> Plan:
        refuse_documents(spec)
        if spec.strategy == "shadow_table":
            _refuse_options(spec)
            return plan_shadow(conn, spec, self.database.search_path)
        if spec.strategy == "cross_database":
            into_table = spec.transfer is not None and spec.transfer.to.table is not None
            draw = plan_rows if into_table else plan_transfer
            return draw(conn, spec, self.database.search_path)
        return plan(conn, spec, self.database.search_path)

    def preflight(self, plan: Plan) -> tuple[Finding, ...]:
        """Say what stands in the way now; change nothing."""
        with self.connect("preflight") as conn:
            return preflight(conn, plan, self.limits)

    def examine(self, plan: Plan, *, values_in_reports: bool) -> GateResult:
        """Ask the rows what the new shape demands, before anything is done; change nothing."""

        def asked() -> GateResult:
            with self.connect("examine") as conn:
                rows = next((step.action for step in plan.steps if isinstance(step.action, RowTransfer)), None)
                if rows is not None:
                    return examine_rows(conn, plan, rows)
                if plan.strategy == "cross_database":
                    from tasks.engines.mongodb import scan  # noqa: PLC0415 - loads the driver

                    return scan.examine(conn, plan, values_in_reports=values_in_reports)
                return examine(conn, plan, values_in_reports=values_in_reports)

        return retrying(self.limits)(asked)

    def apply(self, step: Step, journal: Journal) -> None:
        """Carry out a step and record it."""
        until_recorded(self.limits, PASSING, partial(self._forward, step, journal), journal)

    def revert(self, step: Step, journal: Journal) -> None:
        """Take a step back and record it; tolerates that it was never, or only half, done."""
        until_recorded(self.limits, PASSING, partial(self._inverse, step, journal), journal)

    def _forward(self, step: Step, journal: Journal) -> None:
        match step.action:
            case ShortTransaction() as action:
                with self.connect(step.phase) as conn:
                    run_short(
                        conn,
                        action.forward,
                        action.locks,
                        self.limits,
                        journal,
                        guard=action.guard,
                        before=self._outlast(conn, action.before, action.written, journal),
                        given=partial(refuse_other_tables, wanted=action.given),
                        check=partial(refuse_other_result, wanted=action.result) if action.result else None,
                    )
            case Validation() as action:
                with self.connect(step.phase) as conn:
                    run_validation(conn, action.forward, self.limits, journal, action.counts)
            case ConcurrentIndex() as action:
                concurrent_index.build(lambda: self.connect(step.phase), action, self.limits, journal)
            case Reconcile() as action:
                with self.connect(step.phase) as conn:
                    reconcile(conn, action, self.limits, journal)
            case SelfCommitting() | CopyAgain():
                raise AssertionError("PostgreSQL has none")
            case Backfill() | Copy() | DocumentTransfer() | RowTransfer():
                raise AssertionError("a backfill runs shard by shard")
            case Collection() | Relation():
                raise AssertionError("another database does it")

    def _inverse(self, step: Step, journal: Journal) -> None:
        match step.action:
            case ShortTransaction() as action:
                locks = action.locks if action.inverse_locks is None else action.inverse_locks
                with self.connect("rollback") as conn:
                    run_short(
                        conn,
                        action.inverse,
                        locks if action.inverse else (),
                        self.limits,
                        journal,
                        guard=action.guard,
                        before=self._outlast(conn, action.inverse_before, action.inverse_written, journal, back=True),
                        given=partial(refuse_other_tables, wanted=action.inverse_given),
                        check=partial(refuse_other_result, wanted=action.inverse_result)
                        if action.inverse_result
                        else None,
                    )
            case Validation() as action:
                with self.connect("rollback") as conn:
                    run_validation(conn, action.inverse, self.limits, journal)
            case ConcurrentIndex(build_on="inverse") as action:
                concurrent_index.build(lambda: self.connect("rollback"), action, self.limits, journal)
            case ConcurrentIndex(goes_with_table=True):
                with self.connect("rollback") as conn:
                    run_short(conn, (), (), self.limits, journal, guard=False)
            case ConcurrentIndex() as action:
                concurrent_index.drop(lambda: self.connect("rollback"), action, journal)
            case SelfCommitting() | CopyAgain():
                raise AssertionError("PostgreSQL has none")
            case Collection() | Relation():
                raise AssertionError("another database does it")
            case Backfill() | Copy() | Reconcile() | DocumentTransfer() | RowTransfer():
                # What it filled is dropped by the steps before it.
                with self.connect("rollback") as conn:
                    run_short(conn, (), (), self.limits, journal, guard=False)

    def _outlast(self, conn: Connection, drain: str, written: str, journal: Journal, *, back: bool = False) -> Outlast:
        return Outlast(conn=conn, limits=self.limits, journal=journal, drain=drain, written=written, back=back)

    def happened(self, step: Step, *, recorded: bool) -> bool:  # noqa: ARG002
        """Return what is recorded: it commits with what is done."""
        return recorded

    def settle(self, swap: Step, say: Callable[[str], None]) -> None:
        """Carry back what the triggers since the swap have put aside."""
        if isinstance(swap.action, ShortTransaction) and swap.action.inverse_before:
            with self.connect("rollback") as conn:
                drain(conn, swap.action.inverse_before, self.limits, waiting=say, back=True)

    def shards(self, action: InRanges, count: int) -> list[Range]:
        """Divide the keys that exist now."""
        with self.connect("backfill") as conn:
            assert not isinstance(action, Reshape | Rebuild), "documents are of MongoDB"
            return shard(conn, action, count)

    def fill(
        self,
        action: Backfill | Copy | Reshape | Rebuild,
        shard: Shard,
        checkpoint: Checkpoint,
        between: Callable[[int], int | None],
    ) -> int:
        """Fill one shard, batch by batch."""
        with self.connect("backfill") as conn:
            assert not isinstance(action, Reshape | Rebuild), "documents are of MongoDB"
            return fill(conn, action, shard, self.limits, checkpoint, between)

    def rows(self, search_path: str) -> PostgresRows:
        """Give rows to a table of another database."""
        return PostgresRows(connect=self.connect, search_path=search_path)

    def measure(self, tables: tuple[str, ...]) -> Facts:
        """Count and digest whole tables."""
        with self.connect("snapshot") as conn:
            return measure(conn, tables)

    def probe(self, probes: tuple[Probe, ...], limits: Probes, search_path: str) -> dict[str, Reading]:
        """Measure queries of the author's."""

        def measured() -> dict[str, Reading]:
            with self.connect("probe") as conn:
                return measure_probes(conn, probes, limits, search_path)

        return retrying(self.limits)(measured)

    def dump(self, target: DumpTarget, folder: Path, *, swapped: bool) -> DumpRecord:
        """Write what will be destroyed to a file, and prove that it can be restored."""
        with self.connect("dump") as conn, self.connect("restore") as elsewhere:
            return dump(conn, elsewhere, target, folder, swapped=swapped)

    @contextmanager
    def keep(self, tables: tuple[str, ...]) -> Iterator[Connection]:
        """Keep other runs away from the tables, and end what is left of dead ones."""
        with self.connect(GUARD) as conn:
            hold_tables(conn, tables)
            end_orphans(conn, self.migration, self.run_id)
            yield conn

    def retrying(self, on_retry: OnRetry | None = None) -> tenacity.Retrying:
        """Try again what can pass by itself."""
        return retrying(self.limits, on_retry)

    def require_privileges(self, conn: Session, plan: Plan) -> None:
        """Refuse a role that cannot do to the tables what the plan does."""
        require_privileges(_own(conn), plan)

    def refuse_drift(self, conn: Session, plan: Plan) -> None:
        """Raise DriftError when the tables are not what the plan was made for."""
        refuse_drift(_own(conn), plan)

    def refuse_drift_since(self, conn: Session, plan: Plan) -> None:
        """Raise DriftError when more has changed than the plan has done up to the gate."""
        refuse_drift_since(_own(conn), plan)

    def count(self, conn: Session, query: str) -> int:
        """Return how many rows a query gives; rows that a policy would hide are an error."""
        conn.execute("set statement_timeout = 0; set row_security = off")
        row = conn.execute(f"select count(*) from ({query}) as counted").fetchone()
        return int(row[0]) if row else 0

    def run_sessions(self, conn: Session, migration: str) -> tuple[bool, str]:
        """Tell whether some run of a migration is alive, and for whom it waits."""
        return run_sessions(_own(conn), migration)

    def lag_bytes(self, conn: Session) -> int | None:
        """Return the lag of the slowest standby; None: unknown."""
        return replica_lag_bytes(_own(conn), self.database.replicas)

    def probe_ms(self, conn: Session, action: InRanges) -> float:
        """Return the latency of a read by key."""
        assert not isinstance(action, Reshape | Rebuild), "documents are of MongoDB"
        return probe_latency_ms(_own(conn), action.table, action.key)


def _refuse_options(spec: MigrationSpec) -> None:
    for number, one in enumerate(spec.operations):
        if isinstance(one, RebuildTable) and one.options:
            raise SpecError(
                "options is in the words of MariaDB",
                where=f"operations[{number}].{one.kind}",
                hint="Remove options.",
            )


def _own(conn: Session) -> Connection:
    assert isinstance(conn, psycopg.Connection), "a session of another engine"
    return conn


if TYPE_CHECKING:
    # Every verb of the protocol is here, with its types.
    _ENGINE: type[Engine] = PostgresEngine
    _PROBING: type[Probing] = PostgresEngine
    _LISTING: type[Listing] = PostgresEngine
