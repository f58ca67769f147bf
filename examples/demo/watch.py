"""Where a migration stands, read from the ledger while a flow works on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Thread
from typing import Any, Generic, Literal, TypeVar

import psycopg

from tasks.ledger import state
from tasks.ledger.cursors import Totals, progress
from tasks.ledger.gates import last_gate
from tasks.ledger.steps import step_records
from tasks.model.plan import Plan
from tasks.model.status import MigrationState, StepRecord, StepState
from tasks.model.steps import Phase, only_for_rollback

Connection = psycopg.Connection[Any]
T = TypeVar("T")
Mark = Literal["waiting", "running", "done", "undone"]

_SWAPPED = (MigrationState.SWAPPED, MigrationState.COMPLETE, MigrationState.CONTRACTING, MigrationState.CONTRACTED)
BEFORE_GATE = (Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL, Phase.INDEX)
AFTER_APPROVAL = (Phase.CONSTRAIN, Phase.SWAP)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One phase or gate, for people."""

    name: str
    mark: Mark
    detail: str = ""
    seconds: float | None = None
    fraction: float | None = None
    """Of a backfill that runs."""


class Work(Generic[T]):
    """A flow that runs in a thread of its own while the screen shows how far it is."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._result: list[T] = []
        self._error: BaseException | None = None
        # A daemon: when the demo is interrupted, its database goes, and whatever waits for it need not end first.
        self._thread = Thread(target=self._run, name="flow", daemon=True)
        self._thread.start()

    def finished(self, within: float) -> bool:
        """Wait a moment; tell whether it has come to its end."""
        self._thread.join(within)
        return not self._thread.is_alive()

    def result(self) -> T:
        """Return what the flow returned, or raise what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _run(self) -> None:
        try:
            self._result.append(self._call())
        except BaseException as error:  # noqa: BLE001 - raised again by `result`, in the thread that asks for it
            self._error = error


@dataclass(frozen=True, kw_only=True)
class View:
    """The ledger at one moment."""

    plan: Plan
    state: MigrationState
    plan_digest: str
    records: dict[str, StepRecord]
    totals: dict[str, Totals]
    gates: dict[str, str]
    """By name: what came of it."""


def view(conn: Connection, migration: str, plan: Plan | None) -> View | None:
    """Read the ledger; None while it does not know the migration. `plan` saves reading it again."""
    known = {summary.id: summary for summary in state.listing(conn)}.get(migration)
    if known is None:
        return None
    gates = {}
    for name in ("before_swap", "after_swap"):
        if gate := last_gate(conn, migration, name):
            gates[name] = f"{len(gate.result.checks)} checks, {'all passed' if gate.passed else 'FAILED'}"
    return View(
        plan=plan if plan is not None else state.load(conn, migration).plan,
        state=known.state,
        plan_digest=known.plan_digest,
        records=step_records(conn, migration),
        totals=progress(conn, migration),
        gates=gates,
    )


def forward_lines(now: View | None) -> tuple[Line, ...]:
    """Return the lines of a run that goes forward, up to the gate after the swap."""
    if now is None:
        return (Line(name="plan and rehearse", mark="running"),)
    before = [line for phase in BEFORE_GATE if (line := _phase(now, phase))]
    after = [line for phase in AFTER_APPROVAL if (line := _phase(now, phase))]
    planned = Line(name="plan and rehearse", mark="done", detail=f"{len(now.plan.steps)} steps, risk {now.plan.risk}")
    ready = all(line.mark == "done" for line in before)
    swapped = now.state in _SWAPPED
    gate = _gate(now, "before_swap", "gate before the swap", running=ready)
    return (
        planned,
        *before,
        gate,
        _approval(now, asked=gate.mark == "done", given=any(line.mark != "waiting" for line in after)),
        *after,
        _gate(now, "after_swap", "gate after the swap", running=swapped),
    )


def contract_lines(now: View | None) -> tuple[Line, ...]:
    """Return the lines of the contraction."""
    line = _phase(now, Phase.CONTRACT) if now is not None else None
    if now is None or line is None:
        return ()
    begun = now.state in (MigrationState.CONTRACTING, MigrationState.CONTRACTED)
    return (Line(name="gate and dump", mark="done" if begun else "running", detail="of what will be dropped"), line)


def rollback_lines(now: View | None) -> tuple[Line, ...]:
    """Return the lines of a rollback, in the order in which it works: last phase first."""
    if now is None:
        return ()
    return tuple(line for phase in reversed((*BEFORE_GATE, *AFTER_APPROVAL)) if (line := _undone(now, phase)))


def _records(now: View, phase: Phase) -> list[StepRecord]:
    return [now.records[step.key] for step in now.plan.phase(phase) if not only_for_rollback(step)]


def _phase(now: View, phase: Phase) -> Line | None:
    records = _records(now, phase)
    if not records:
        return None
    done = [record for record in records if record.state is StepState.DONE]
    begun = [record for record in records if record.state in (StepState.RUNNING, StepState.DONE)]
    mark: Mark = "done" if len(done) == len(records) else "running" if begun else "waiting"
    name = phase.value.replace("_", " ")
    detail, fraction = f"{len(records)} step{'s' if len(records) > 1 else ''}", None
    if phase is Phase.BACKFILL and begun:
        detail, fraction = _backfill(now, running=mark == "running")
    return Line(name=name, mark=mark, detail=detail, seconds=_seconds(begun), fraction=fraction)


def _backfill(now: View, *, running: bool) -> tuple[str, float | None]:
    totals = list(now.totals.values())
    rows = sum(each.rows for each in totals)
    spans = [(each.updated_at - each.started_at).total_seconds() for each in totals if each.started_at]
    rate = rows / max(sum(spans), 0.001)
    if not running:
        return f"{rows:,} rows, {rate:,.0f} a second", None
    total = max(rows, sum(estimate.rows for estimate in now.plan.estimates))
    fraction = rows / total if total else 0.0
    eta = f", {(total - rows) / rate:.0f} s left" if fraction > 0.01 else ""
    return f"{rows:,} of {total:,} rows, {rate:,.0f} a second{eta}", fraction


def _seconds(records: Sequence[StepRecord]) -> float | None:
    starts = [record.started_at for record in records if record.started_at]
    if not starts:
        return None
    ends = [record.finished_at or datetime.now(UTC) for record in records]
    return max(0.0, (max(ends) - min(starts)).total_seconds())


def _gate(now: View, name: str, title: str, *, running: bool) -> Line:
    if name in now.gates:
        return Line(name=title, mark="done", detail=now.gates[name])
    return Line(name=title, mark="running" if running else "waiting")


def _approval(now: View, *, asked: bool, given: bool) -> Line:
    if now.state is MigrationState.AWAITING_APPROVAL:
        return Line(name="approval", mark="running", detail="somebody else reads the plan and the gate")
    return Line(name="approval", mark="done" if given else "running" if asked else "waiting")


def _undone(now: View, phase: Phase) -> Line | None:
    records = _records(now, phase)
    if not records:
        return None
    left = [record for record in records if record.state in (StepState.RUNNING, StepState.DONE)]
    title = phase.value.replace("_", " ")
    detail = f"{len(records) - len(left)} of {len(records)} undone"
    mark: Mark = "undone" if not left else "running" if len(left) < len(records) else "waiting"
    return Line(name=title, mark=mark, detail=detail)
