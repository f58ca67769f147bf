"""Where a migration stands, read from the ledger: for `status`, and for the bar of `run`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.engines.protocol import Engine
from tasks.engines.session import Session
from tasks.ledger.approvals import Approval, decisions
from tasks.ledger.controls import control
from tasks.ledger.cursors import Totals, progress
from tasks.ledger.gates import GateRecord, count_rejections, last_gate
from tasks.ledger.state import MigrationRecord, load
from tasks.ledger.steps import step_records
from tasks.model.plan import Plan
from tasks.model.status import MigrationState, Progress, StepRecord, StepState
from tasks.model.steps import Phase, Step, only_for_rollback

_S = MigrationState


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One reading of the ledger, and of the sessions of the run."""

    record: MigrationRecord
    steps: Mapping[str, StepRecord]
    progress: tuple[Progress, ...]
    checkpoint: datetime | None
    """When the last batch committed."""
    pause: bool
    hold: bool
    """The swap is put off."""
    batch_rows: int | None
    gates: tuple[GateRecord, ...]
    decisions: tuple[Approval, ...]
    rejections: int
    alive: bool
    """Some session of a run is open."""
    waiting: str
    """For which lock, or whom, a session of the run waits."""

    @property
    def phase(self) -> str:
        """What is being done, or comes next; empty when there is nothing left."""
        # A run evaluates the gate anew: one that passed for an earlier run is not behind this one.
        gated = any(one.gate == "before_swap" and one.epoch == self.record.epoch for one in self.gates)
        return phase_of(self.record.plan, self.steps, self.record.state, gated=gated)

    @property
    def done(self) -> tuple[int, int]:
        """How many steps are done, of how many before the contract."""
        counted = [step for step in self.record.plan.steps if forward(step)]
        return sum(self.steps[step.key].state is StepState.DONE for step in counted), len(counted)


def forward(step: Step) -> bool:
    """Tell whether a step is part of the way to the swap."""
    return step.phase is not Phase.CONTRACT and not only_for_rollback(step)


def read(conn: Session, engine: Engine, migration: str) -> Standing:
    """Read everything about a migration. Raises StateError when it is unknown. Locks: none but of reading."""
    record = load(conn, migration)
    steps = step_records(conn, migration)
    totals = progress(conn, migration)
    gates = [last_gate(conn, migration, name) for name in ("before_swap", "after_swap")]
    rows = control(conn, migration, "batch_rows")
    alive, waiting = engine.run_sessions(conn, migration)
    return Standing(
        record=record,
        steps=steps,
        progress=tuple(_figures(record.plan, s, totals.get(s.key)) for s in record.plan.phase(Phase.BACKFILL)),
        checkpoint=max((t.updated_at for t in totals.values()), default=None),
        pause=bool(control(conn, migration, "pause")),
        hold=bool(control(conn, migration, "hold")),
        batch_rows=rows if isinstance(rows, int) and not isinstance(rows, bool) else None,
        gates=tuple(gate for gate in gates if gate is not None),
        decisions=decisions(conn, migration, record.plan_digest),
        rejections=count_rejections(conn, migration),
        alive=alive,
        waiting=waiting,
    )


def phase_of(plan: Plan, steps: Mapping[str, StepRecord], state: MigrationState, *, gated: bool) -> str:
    """Say what a migration does, or would do next."""
    fixed = {
        _S.ROLLING_BACK: "rollback",
        _S.AWAITING_APPROVAL: "approve",
        _S.SWAPPED: "validate and soak",
        _S.CONTRACTING: "contract",
    }
    if state in fixed:
        return fixed[state]
    if state in (_S.COMPLETE, _S.CONTRACTED, _S.ROLLED_BACK):
        return ""
    left = next((s for s in plan.steps if forward(s) and steps[s.key].state is not StepState.DONE), None)
    if left is None:
        return "validate"
    behind = left.phase in (Phase.CONSTRAIN, Phase.SWAP) and not gated
    return "validate" if behind else left.phase.value


def _figures(plan: Plan, step: Step, totals: Totals | None) -> Progress:
    table = step.key.split("/")[1]
    estimate = next((e.rows for e in plan.estimates if e.table == table), 0)
    if totals is None or totals.started_at is None:
        return Progress(table=table, rows=0, total=estimate, rate=0.0, eta_seconds=None)
    rate = totals.rate
    total = totals.rows if totals.shards_done == totals.shards else max(estimate, totals.rows)
    return Progress(table=table, rows=totals.rows, total=total, rate=rate, eta_seconds=eta(totals.rows, total, rate))


def eta(rows: int, total: int, rate: float) -> float | None:
    """Return the seconds that are left; None before one per cent is done, when nobody can know."""
    return (total - rows) / rate if total and rate > 0 and rows >= total / 100 else None


def age(since: datetime) -> float:
    """Return how many seconds ago something was."""
    return max((datetime.now(UTC) - since).total_seconds(), 0.0)
