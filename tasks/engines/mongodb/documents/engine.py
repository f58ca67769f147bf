"""MongoDB behind the engine protocol, with a ledger on PostgreSQL.

The sessions that this engine opens are those of its ledger: there, runs are kept apart, fenced, and recorded. What is
done to documents is done while a transaction of the ledger fences, and may be done again.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymongo
import tenacity
from bson import Timestamp
from pymongo.errors import WriteError

from profiles.model import Database, Limits
from tasks.engines.drift import refuse_difference
from tasks.engines.journal import Journal, until_recorded
from tasks.engines.mongodb.address import where
from tasks.engines.mongodb.connect import Documents, connected, in_our_words, require_usable
from tasks.engines.mongodb.documents import lease, stream
from tasks.engines.mongodb.documents.commands import give
from tasks.engines.mongodb.documents.dead_letters import keep, left_over
from tasks.engines.mongodb.documents.examine import examine
from tasks.engines.mongodb.documents.expressions import EXACT
from tasks.engines.mongodb.documents.inspect import inspect
from tasks.engines.mongodb.documents.pipelines import (
    Prefer,
    both_ways,
    concerned,
    contracted,
    followed,
    in_step,
    known,
    withdrawn,
)
from tasks.engines.mongodb.documents.planner import plan
from tasks.engines.mongodb.documents.refused import carry_back, forget
from tasks.engines.mongodb.documents.walk import Fenced, condition, go_over, last_key, until_none, update, walk
from tasks.engines.mongodb.errors import PASSING, code_of
from tasks.engines.mongodb.rows.changes import hours_kept
from tasks.engines.mongodb.rows.columns import Taker
from tasks.engines.mongodb.rows.planner import plan_rows
from tasks.engines.mongodb.rows.reading import shards
from tasks.engines.mongodb.rows.scan import examine_documents
from tasks.engines.mongodb.rows.source import MongoRows
from tasks.engines.mongodb.shadow import work
from tasks.engines.mongodb.shadow.examine import examine_rebuild, examined
from tasks.engines.mongodb.shadow.follow import follow
from tasks.engines.mongodb.shadow.place import look
from tasks.engines.mongodb.shadow.planner import plan_rebuild
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.engine import PostgresEngine
from tasks.engines.protocol import Engine
from tasks.engines.records import Checkpoint, DumpRecord, Facts, Key, Range, Shard, TableFacts
from tasks.engines.retrying import OnRetry, retrying
from tasks.engines.session import Session
from tasks.engines.transfer_findings import oplog_reaches
from tasks.model.catalogue import Catalogue
from tasks.model.document_steps import CollectionCommand, Rebuild, Reshape
from tasks.model.errors import DataChanged, PreflightError, SpecError, StepError
from tasks.model.plan import DumpTarget, Finding, Plan
from tasks.model.spec import MigrationSpec
from tasks.model.status import GateResult
from tasks.model.steps import Backfill, Copy, InRanges, Step
from tasks.model.transfer_steps import RowTransfer


@dataclass(frozen=True, kw_only=True)
class MongoEngine:
    """A MongoDB database, the limits under which it is changed, and where its ledger is."""

    url: str
    database: Database
    limits: Limits
    migration: str
    run_id: str
    ledger: PostgresEngine
    taker_of: Callable[[str], Taker]
    """Tells what kind of database it is that has a name in the profile."""

    def __repr__(self) -> str:
        return f"MongoEngine(migration={self.migration!r})"

    @property
    def address(self) -> str:
        """Where it is, without any secret."""
        return where(self.url)

    @property
    def database_name(self) -> str:
        """What people type to confirm."""
        with self._connected() as database:
            return database.name

    def connect(self, purpose: str) -> Connection:
        """Open a session with the ledger."""
        return self.ledger.connect(purpose)

    def check(self) -> None:
        """Refuse a server that is too old, takes no writes or has no change streams."""
        self.ledger.check()
        with self._connected() as database:
            require_usable(database, self.url)
            hello = database.command("hello")
            if not hello.get("setName"):
                raise PreflightError(
                    "this server is no replica set, and has no change streams"
                    if hello.get("msg") != "isdbgrid"
                    else "sharded clusters are not known yet",
                    where=self.address,
                    hint="Use a replica set; one member is enough.",
                )

    def inspect(self, names: Sequence[str]) -> Catalogue:
        """Read options and indexes of collections."""
        with self._connected() as database:
            return inspect(database, names)

    def plan(self, spec: MigrationSpec) -> Plan:
        """Draw up a plan; change nothing."""
        with in_our_words(self.url), self._connected() as database:
            if spec.transfer is not None:
                return plan_rows(database, spec, self.taker_of(spec.transfer.to.database))
            rebuilt = spec.documents is not None and spec.documents.rebuilt is not None
            return plan_rebuild(database, spec) if rebuilt else plan(database, spec)

    def preflight(self, plan: Plan) -> tuple[Finding, ...]:
        """Say how far the oplog reaches back, where writes are read from it; a plan has found all else."""
        copies = (step.action for step in plan.steps if isinstance(step.action, RowTransfer))
        if not any(copy.notes for copy in copies):
            return ()
        with in_our_words(self.url), self._connected() as database:
            hours = hours_kept(database)
        return () if hours is None else (oplog_reaches(self.address, hours),)

    def examine(self, plan: Plan, *, values_in_reports: bool) -> GateResult:  # noqa: ARG002 - it shows no values
        """Ask every document what the new shape demands."""
        with self._connected() as database, pymongo.timeout(0):
            if plan.strategy == "cross_database":
                return examine_documents(database, plan)
            if plan.strategy == "shadow_table":
                return examine_rebuild(database, plan)
            return examine(database, plan)

    def apply(self, step: Step, journal: Journal) -> None:
        """Carry out a step and record it."""
        with in_our_words(self.url):
            until_recorded(self.limits, PASSING, partial(self._forward, step, journal), journal)

    def revert(self, step: Step, journal: Journal) -> None:
        """Take a step back and record it."""
        with in_our_words(self.url):
            until_recorded(self.limits, PASSING, partial(self._inverse, step, journal), journal)

    def _forward(self, step: Step, journal: Journal) -> None:
        action = step.action
        with self.connect(step.phase) as conn, self._connected() as database:
            with conn.transaction():
                journal.begin(conn)
            if isinstance(action, CollectionCommand) and action.forward:
                give(database, action, action.forward, self.limits, partial(_fenced, conn, journal), journal.waiting)
            elif isinstance(action, Reshape) and action.does == "contract":
                self._contract(conn, database, action, journal)
            elif isinstance(action, Rebuild):
                work.forward(database, action, journal, conn, self.limits, partial(_fenced, conn, journal))
            with conn.transaction():
                journal.begin(conn)
                journal.guard(conn)
                journal.finish(conn)

    def _inverse(self, step: Step, journal: Journal) -> None:
        action = step.action
        with self.connect("rollback") as conn, self._connected() as database:
            with conn.transaction():
                journal.begin(conn)
            if isinstance(action, CollectionCommand) and action.inverse:
                give(database, action, action.inverse, self.limits, partial(_fenced, conn, journal), journal.waiting)
            elif isinstance(action, Reshape) and action.does in ("follow", "fill"):
                # Who follows begins before the fill does: a run may have ended in between.
                into = database.get_collection(action.collection, codec_options=EXACT)
                wanted = concerned(action, "withdraw")
                fenced = partial(_fenced, conn, journal)
                until_none(
                    database, into, wanted, known(action), withdrawn(action), self.limits, fenced, "the new application"
                )
            elif isinstance(action, Rebuild):
                work.inverse(database, action, journal, self.limits, partial(_fenced, conn, journal))
            with conn.transaction():
                journal.begin(conn)
                journal.guard(conn)
                journal.finish(conn)

    def _contract(self, conn: Connection, database: Documents, action: Reshape, journal: Journal) -> None:
        into = database.get_collection(action.collection, codec_options=EXACT)
        fenced = partial(_fenced, conn, journal)
        wanted = concerned(action, "contract")
        fit = {"$and": [wanted, {"$expr": {"$not": [left_over(action)]}}]}
        until_none(database, into, fit, known(action), contracted(action), self.limits, fenced, "the old application")
        forget(database, action)
        keep(database, action, fenced)
        # Also of those whose value has come since: a run again keeps it.
        until_none(
            database, into, wanted, known(action), contracted(action), self.limits, fenced, "the old application"
        )

    def happened(self, step: Step, *, recorded: bool) -> bool:
        """Tell whether a step is done: the ledger knows, but where the server has put a collection in its place."""
        if not (isinstance(step.action, Rebuild) and step.action.does == "swap"):
            return recorded
        with in_our_words(self.url), self._connected() as database:
            return look(database, step.action).state == "swapped"

    def settle(self, swap: Step, say: Callable[[str], None]) -> None:
        """Carry back once more what was written to new fields: since the run ended nobody has done it."""
        if isinstance(swap.action, Rebuild):
            with in_our_words(self.url), self.connect("settle") as conn, self._connected() as database:
                work.settle(database, swap.action, conn.transaction)
            return
        assert isinstance(swap.action, Reshape)
        action = both_ways(swap.action)
        if action.pairs:
            with in_our_words(self.url), self.connect("settle") as conn, self._connected() as database:
                carried = carry_back(database, action, self.limits, conn.transaction)
            say(f"{carried:,} documents had been written to since, and were brought into step")

    def go_over(self, action: Reshape, prefer: Prefer, fenced: Fenced, say: Callable[[str], None]) -> None:
        """Bring all documents into step; say why where the server refuses. Errors are those of the drivers.

        `fenced` opens a transaction on a session that a run which takes over has ended.
        """
        said = set[int | None]()

        def refused(error: WriteError, _: list[Any]) -> None:
            said.add(code_of(error))

        with self._connected() as database:
            into = database.get_collection(action.collection, codec_options=EXACT)
            for pipeline in followed(action, prefer):
                go_over(database, into, {}, pipeline, self.limits, fenced, refused)
                if not said:
                    return
        codes = ", ".join(map(str, sorted(said, key=str)))
        say(f"documents of {action.collection} cannot be brought into step: MongoDB said {codes}")

    def position(self, action: Reshape) -> str:
        """Return where the change stream is now."""
        with in_our_words(self.url), self._connected() as database:
            return stream.position(database, action)

    def follow(
        self,
        action: Reshape,
        start: str,
        begun: stream.Begun,
        goes_on: Callable[[], bool],
        reached: Callable[[Timestamp], None],
        say: Callable[[str], None],
    ) -> None:
        """Follow the change stream. Errors are those of the drivers, and ForgottenError."""
        with self._connected() as database:
            stream.follow(database, action, start, begun, goes_on, reached, say)

    def prepare(self, action: Rebuild, fenced: Fenced) -> None:
        """End what a run before this one has left behind of a swap. Errors are those of the drivers, and StepError."""
        with self._connected() as database:
            work.prepare(database, action, fenced)

    def follow_rebuilt(
        self,
        action: Rebuild,
        fenced: Fenced,
        goes_on: Callable[[], bool],
        reached: Callable[[Timestamp], None],
        say: Callable[[str], None],
    ) -> None:
        """Keep both collections in step, or after the swap the old one. Errors are those of the drivers."""
        with self._connected() as database:
            follow(database, action, fenced, goes_on, reached, say)

    def moment(self) -> Timestamp:
        """Return the moment of the last write."""
        with in_our_words(self.url), self._connected() as database:
            return stream.moment(database)

    def outlast(self, say: Callable[[str], None]) -> None:
        """Wait until nothing of a run that may still live is carried out any more."""
        lease.outlast(say)

    def shards(self, action: InRanges, count: int) -> list[Range]:
        """Return the identities that exist now, as one range; of a copy, as several."""
        with self._connected() as database:
            if isinstance(action, RowTransfer):
                return shards(database, action, count)
            assert isinstance(action, Reshape | Rebuild)
            return [(None, last_key(database.get_collection(action.collection, codec_options=EXACT)))]

    def fill(
        self,
        action: Backfill | Copy | Reshape | Rebuild,
        shard: Shard,
        checkpoint: Checkpoint,
        between: Callable[[int], int | None],
    ) -> int:
        """Fill the new fields, or collections, of one range, batch by batch."""
        if isinstance(action, Rebuild):
            with self.connect("backfill") as conn, self._connected() as database:
                return work.fill(database, action, shard, self.limits, between, conn, checkpoint)
        assert isinstance(action, Reshape)
        pipeline = in_step(action, "old")
        with self.connect("backfill") as conn, self._connected() as database:
            into = database.get_collection(action.collection, codec_options=EXACT)

            def batch(number: int, low: Key | None, end: Key, rows: int, size: int) -> None:
                with lease.leased(database) as leased, conn.transaction():
                    # It fences; a batch that is repeated finds its documents in step.
                    checkpoint(number, conn, end, rows, size)
                    update(into, condition(low, end), pipeline, leased)

            return walk(into, shard, self.limits, between, batch)

    def rows(self) -> MongoRows:
        """Give documents to another database."""
        return MongoRows(connect=self.connect, connected=self._connected)

    def measure(self, tables: tuple[str, ...]) -> Facts:
        """Count documents. There is no digest: the command for it keeps writers out."""
        with self._connected() as database, pymongo.timeout(0):
            now = database.command("hello")
            counted = [
                TableFacts(
                    table=one, rows=database[one.removeprefix(f"{database.name}.")].count_documents({}), digest=""
                )
                for one in tables
            ]
            return Facts(
                lsn=str(now["lastWrite"]["opTime"]["ts"]), at=now["localTime"].isoformat(), tables=tuple(counted)
            )

    def dump(self, target: DumpTarget, folder: Path, *, swapped: bool) -> DumpRecord:  # noqa: ARG002
        """Refuse: no plan on MongoDB asks for a dump."""
        raise StepError("there are no dumps on MongoDB", where=target.table, hint="Take a backup.")

    def keep(self, tables: tuple[str, ...]) -> AbstractContextManager[Any]:
        """Keep other runs of the same ledger away from collections."""
        return self.ledger.keep(tables)

    def retrying(self, on_retry: OnRetry | None = None) -> tenacity.Retrying:
        """Try again what can pass by itself, of either database."""
        return retrying(self.limits, PASSING, on_retry)

    def require_privileges(self, conn: Session, plan: Plan) -> None:
        """Ask nothing: what the user may not do, the first step is refused, and changes nothing."""

    def refuse_drift(self, conn: Session, plan: Plan) -> None:  # noqa: ARG002
        """Raise DriftError when the collection is not what the plan was made for."""
        refuse_difference(plan, self._now(plan), DataChanged.NO)

    def refuse_drift_since(self, conn: Session, plan: Plan) -> None:  # noqa: ARG002
        """Raise DriftError when the collection is gone; its own steps have changed options and indexes.

        But those of a collection that is made anew have not: what others have given it would be gone with the swap.
        """
        now = self._now(plan)
        if not now.tables or plan.strategy == "shadow_table":
            refuse_difference(plan, now, DataChanged.PARTIALLY)

    def count(self, conn: Session, query: str) -> int:  # noqa: ARG002
        """Return how many documents break a condition of the plan."""
        with in_our_words(self.url), self._connected() as database, pymongo.timeout(0):
            return examined(database, query).documents

    def lag_bytes(self, conn: Session) -> int | None:  # noqa: ARG002
        """Refuse: MongoDB tells the lag of its members in time, not in bytes."""
        raise PreflightError(
            "throttle.replica_lag_bytes cannot be honoured: MongoDB does not tell it",
            where=self.address,
            hint="Leave it out: every write waits for a majority of the members anyway.",
        )

    def probe_ms(self, conn: Session, action: InRanges) -> float:  # noqa: ARG002
        """Return the latency of a read by key."""
        assert isinstance(action, Reshape | Rebuild | RowTransfer)
        name = action.alias if isinstance(action, RowTransfer) else action.collection
        with self._connected() as database:
            started = time.monotonic()
            database[name].find_one({}, {"_id": 1}, sort=[("_id", 1)])
            return (time.monotonic() - started) * 1000

    def run_sessions(self, conn: Session, migration: str) -> tuple[bool, str]:
        """Tell whether some run of a migration is alive."""
        return self.ledger.run_sessions(conn, migration)

    def _now(self, plan: Plan) -> Catalogue:
        """Read the collection of a plan again; nothing where it is gone, or is one that no plan is made for."""
        try:
            return self.inspect(plan.tables)
        except SpecError:
            return plan.catalogue.model_copy(update={"tables": ()})

    @contextmanager
    def _connected(self) -> Iterator[Documents]:
        with connected(self.url, name=f"changeover {self.migration}") as database:
            yield database


@contextmanager
def _fenced(conn: Connection, journal: Journal) -> Iterator[None]:
    journal.between()
    with conn.transaction():
        journal.fence(conn)
        yield


if TYPE_CHECKING:
    # Every verb of the protocol is here, with its types.
    _ENGINE: type[Engine] = MongoEngine
