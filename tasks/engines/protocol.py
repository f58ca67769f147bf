"""What every engine can do. What only some can do will be small protocols of their own, asked for by type.

An engine opens its own sessions, from a URL that it keeps to itself, and closes them. Whatever it changes, it
changes in transactions that the `Journal` begins and records, so that the ledger and the change commit together.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import tenacity

from profiles.model import Limits, Probes
from tasks.engines.journal import Journal
from tasks.engines.records import Checkpoint, DumpRecord, Facts, Range, Shard
from tasks.engines.retrying import OnRetry
from tasks.engines.session import Session
from tasks.model.catalogue import Catalogue, TypeDefinition
from tasks.model.document_steps import Rebuild, Reshape
from tasks.model.plan import DumpTarget, Finding, Plan
from tasks.model.probe import Probe, Reading
from tasks.model.spec import MigrationSpec
from tasks.model.status import GateResult
from tasks.model.steps import Backfill, Copy, InRanges, Step


@runtime_checkable
class Probing(Protocol):
    """What an engine can do that measures queries."""

    def probe(self, probes: tuple[Probe, ...], limits: Probes, search_path: str) -> dict[str, Reading]:
        """Measure queries, by name; raises PreflightError for one that cannot be."""


@runtime_checkable
class Typing(Protocol):
    """What an engine can do whose users make types."""

    def types(self, schemas: Sequence[str]) -> tuple[TypeDefinition, ...]:
        """Read the types that stand in schemas."""


@runtime_checkable
class Listing(Protocol):
    """What an engine can do that tells which tables there are."""

    def tables(self, schema: str) -> tuple[str, ...]:
        """Name the tables of a schema, sorted, as `inspect` takes them; ours, and names with a dot, are left out."""


@runtime_checkable
class Leased(Protocol):
    """What an engine has to do whose writes no transaction of the ledger holds back."""

    def outlast(self, say: Callable[[str], None]) -> None:
        """Wait until nothing of a run that was killed, or is taken for dead, is carried out any more."""


class Target(Protocol):
    """Another database that rows are copied into, and the source whose ledger says what is done to it.

    Actions are of the kind that its plans have.
    """

    def require_room(self, action: Any) -> None:
        """Refuse a server that cannot be used, and a place that is taken; change nothing."""

    def apply(self, step: Step, journal: Journal) -> None:
        """Carry out a step and record it."""

    def revert(self, step: Step, journal: Journal) -> None:
        """Take a step back and record it; tolerate that it was never, or only half, done."""

    def happened(self, step: Step, *, recorded: bool) -> bool:
        """Tell whether a step is done: the target is asked, for the ledger hears of it afterwards."""

    def settle(self, swap: Step, say: Callable[[str], None]) -> None:
        """Carry back what has been put aside since the swap, so that it is known what a rollback loses."""

    def is_withdrawn(self, action: Any) -> bool:
        """Tell whether a rollback that was cut off has taken it away from applications, and not looked at it yet."""

    def require_alone(self, action: Any) -> None:
        """Refuse where others have built on what a rollback drops, so that it could not. Raises StateError."""

    def written_since(self, action: Any) -> int:
        """Return how much is not what the rows give: somebody has written since the swap, to either side."""

    def claim(self, action: Any, epoch: int, fence: Callable[[Any], object]) -> None:
        """Keep older runs from writing. Errors are those of the drivers."""

    def load(
        self, action: Any, shard: Shard, number: int, checkpoint: Checkpoint, between: Callable[[int], int | None]
    ) -> int:
        """Copy one shard, batch by batch; return the rows read. Errors are those of the drivers."""

    def follow(self, action: Any, fence: Callable[[Any], object], between: Callable[[int], int | None]) -> int:
        """Carry what was written since the copy began; return how many notes were dealt with."""

    def catch_up(self, action: Any, *, counting: bool) -> int | None:
        """See to it that what was written until now is noted; None where nobody has to see to it.

        `counting`: return of how many rows there are notes; else 0.
        """

    def behind(self, action: Any) -> float | None:
        """Return by how many seconds what is known of writes lags behind them; None where it does not."""

    def retrying(self) -> tenacity.Retrying:
        """Try again what can pass by itself, of either database."""


class Engine(Protocol):
    """A database and the limits under which it is changed, seen from the tasks."""

    @property
    def url(self) -> str:
        """Where it is, password included: for gates, never for a log."""

    @property
    def limits(self) -> Limits:
        """What applications may feel."""

    @property
    def address(self) -> str:
        """Where it is, for people: no user, no password."""

    @property
    def database_name(self) -> str:
        """What people type to confirm."""

    def connect(self, purpose: str) -> Session:
        """Open a session, named after the run and its purpose. Close it, or use `with`."""

    def check(self) -> None:
        """Refuse a server that cannot be used at all: a standby, a pooler, a version that is not known."""

    def inspect(self, names: Sequence[str]) -> Catalogue:
        """Read the catalogue of tables."""

    def plan(self, spec: MigrationSpec) -> Plan:
        """Draw up a plan; change nothing."""

    def preflight(self, plan: Plan) -> tuple[Finding, ...]:
        """Say what stands in the way now; change nothing."""

    def examine(self, plan: Plan, *, values_in_reports: bool) -> GateResult:
        """Ask the rows what the new shape demands, before anything is done; change nothing."""

    def apply(self, step: Step, journal: Journal) -> None:
        """Carry out a step and record it."""

    def revert(self, step: Step, journal: Journal) -> None:
        """Take a step back and record it; tolerate that it was never, or only half, done."""

    def happened(self, step: Step, *, recorded: bool) -> bool:
        """Tell whether a step is done: as recorded, but where its statements commit before that is."""

    def settle(self, swap: Step, say: Callable[[str], None]) -> None:
        """Carry back what the triggers since the swap have put aside, so that it is known what a rollback loses."""

    def shards(self, action: InRanges, count: int) -> list[Range]:
        """Divide the keys that exist now into ranges that cover each once."""

    def fill(
        self,
        action: Backfill | Copy | Reshape | Rebuild,
        shard: Shard,
        checkpoint: Checkpoint,
        between: Callable[[int], int | None],
    ) -> int:
        """Fill, or copy, one shard, batch by batch; return the rows."""

    def measure(self, tables: tuple[str, ...]) -> Facts:
        """Count and digest whole tables, in one snapshot."""

    def dump(self, target: DumpTarget, folder: Path, *, swapped: bool) -> DumpRecord:
        """Write what will be destroyed to a file, and prove that it can be restored."""

    def keep(self, tables: tuple[str, ...]) -> AbstractContextManager[Any]:
        """Keep other runs away from tables for as long as the context lasts, and end what dead ones left."""

    def retrying(self, on_retry: OnRetry | None = None) -> tenacity.Retrying:
        """Try again what can pass by itself: the whole transaction, bounded, with jitter."""

    def require_privileges(self, conn: Session, plan: Plan) -> None:
        """Refuse a role that cannot do to the tables what the plan does; raises PreflightError."""

    def refuse_drift(self, conn: Session, plan: Plan) -> None:
        """Raise DriftError when the tables are not what the plan was made for."""

    def refuse_drift_since(self, conn: Session, plan: Plan) -> None:
        """Raise DriftError when more has changed than the plan has done up to the gate."""

    def count(self, conn: Session, query: str) -> int:
        """Return how many rows a query of the plan gives, over all rows, however long it takes."""

    def lag_bytes(self, conn: Session) -> int | None:
        """Return how far the slowest replica is behind; None: unknown."""

    def probe_ms(self, conn: Session, action: InRanges) -> float:
        """Return the latency of a read by key."""

    def run_sessions(self, conn: Session, migration: str) -> tuple[bool, str]:
        """Tell whether some run of a migration is alive, and for whom it waits."""
