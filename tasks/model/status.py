"""The states of a migration and of its steps, and what may follow what."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from tasks.model.base import Record


class MigrationState(StrEnum):
    """Where a migration stands. Only the ledger changes it, and only along EDGES."""

    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    AWAITING_APPROVAL = "awaiting approval"
    FAILED = "failed"
    SWAPPED = "swapped"
    COMPLETE = "complete"
    CONTRACTING = "contracting"
    CONTRACTED = "contracted"
    ROLLING_BACK = "rolling back"
    ROLLED_BACK = "rolled back"


_S = MigrationState
EDGES: dict[MigrationState, frozenset[MigrationState]] = {
    # Recorded, nothing done yet.
    _S.PLANNED: frozenset({_S.RUNNING, _S.ROLLING_BACK}),
    # Between the first step and the swap. RUNNING again: a later run took over after a crash.
    _S.RUNNING: frozenset({_S.RUNNING, _S.PAUSED, _S.AWAITING_APPROVAL, _S.FAILED, _S.SWAPPED, _S.ROLLING_BACK}),
    _S.PAUSED: frozenset({_S.RUNNING, _S.ROLLING_BACK}),
    _S.AWAITING_APPROVAL: frozenset({_S.RUNNING, _S.PAUSED, _S.ROLLING_BACK}),
    # A step or a gate failed and nothing was undone: correct the cause and run again, or roll back.
    _S.FAILED: frozenset({_S.RUNNING, _S.ROLLING_BACK}),
    # The new shape is the truth; checks after the swap and the soak are still to come.
    _S.SWAPPED: frozenset({_S.SWAPPED, _S.COMPLETE, _S.ROLLING_BACK}),
    # Everything done but the destruction of the old shape.
    _S.COMPLETE: frozenset({_S.CONTRACTING, _S.ROLLING_BACK}),
    # The point of no return.
    _S.CONTRACTING: frozenset({_S.CONTRACTING, _S.CONTRACTED}),
    _S.CONTRACTED: frozenset(),
    _S.ROLLING_BACK: frozenset({_S.ROLLING_BACK, _S.ROLLED_BACK}),
    # The same spec may start again.
    _S.ROLLED_BACK: frozenset({_S.RUNNING}),
}
UNDER_WAY = (_S.RUNNING, _S.SWAPPED, _S.CONTRACTING, _S.ROLLING_BACK)
"""States that a run leaves behind only when it ends, or dies."""


class StepState(StrEnum):
    """Where a step stands."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    UNDONE = "undone"


class StepRecord(Record):
    """A step as the ledger holds it."""

    key: str
    state: StepState
    attempts: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    detail: dict[str, object] = {}


class Progress(Record):
    """How far a backfill is."""

    table: str
    rows: int
    """Rows scanned so far, all shards together."""
    total: int
    """Rows to scan, as counted or estimated when it began."""
    rate: float
    """Rows a second."""
    eta_seconds: float | None
    """None before one per cent is done."""
    waiting_for: str = ""
    """Why it waits, if it does."""

    @property
    def fraction(self) -> float:
        """Between 0 and 1, never over."""
        return min(self.rows / self.total, 1.0) if self.total > 0 else 1.0


class CheckResult(Record):
    """One check of a gate."""

    name: str
    passed: bool
    evaluated: bool
    unexpected: int = 0
    message: str = ""
    examples: tuple[str, ...] = ()
    """Keys of example rows, where the profile allows values in reports."""
    seconds: float = 0.0
    severity: Literal["error", "warning"] = "error"
    """A warning is shown, and stops nothing; but it has to have been evaluated."""
    fix: str = ""
    """A statement that would mend the rows."""

    waiver: str = ""
    """Who answers for it although it failed, until when, and why."""

    @property
    def verdict(self) -> Literal["passed", "WARNING", "WAIVED", "FAILED", "NOT EVALUATED"]:
        """What came of it, in the words that every report uses."""
        if not self.evaluated:
            # Before anything else: nobody can answer for what nobody knows.
            return "NOT EVALUATED"
        if self.passed:
            return "passed"
        if self.waiver:
            return "WAIVED"
        return "WARNING" if self.severity == "warning" else "FAILED"

    @property
    def stands(self) -> bool:
        """Whether the gate may pass with it."""
        return self.verdict in ("passed", "WARNING", "WAIVED")


class GateResult(Record):
    """A gate: passed only if there was something to check, all could be checked, and all holds."""

    gate: str
    checks: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """True when there was something to check, and every check stands."""
        return bool(self.checks) and all(check.stands for check in self.checks)

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The checks that keep it from passing."""
        return tuple(check for check in self.checks if not check.stands)


class Report(Record):
    """What a run did, for the command line and for the flow's result."""

    migration: str
    strategy: str
    state: MigrationState
    plan_digest: str
    rows: int = 0
    seconds: float = 0.0
    gates: tuple[GateResult, ...] = ()
    message: str = ""
