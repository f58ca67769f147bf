"""Everything that the ledger says about a migration, as plain values: of rows, no more than gates hold."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from tasks.engines.session import Session
from tasks.ledger.approvals import Approval, decisions
from tasks.ledger.gates import GateRecord, gate_history
from tasks.ledger.state import MigrationSummary, load
from tasks.ledger.steps import step_records
from tasks.model.base import Record
from tasks.model.plan import Finding

LONGEST_TREND = 30


class StepLine(Record):
    """A step, and how far it is."""

    phase: str
    title: str
    state: str
    attempts: int
    started_at: datetime | None
    seconds: float | None


class Point(Record):
    """A check as it was evaluated once."""

    at: datetime
    verdict: str
    unexpected: int
    seconds: float


class Trend(Record):
    """A check over the runs, oldest first."""

    gate: str
    check: str
    points: tuple[Point, ...]


class Account(Record):
    """A migration from its plan to this moment."""

    migration: MigrationSummary
    tables: tuple[str, ...]
    risk: str
    risk_reasons: tuple[str, ...]
    findings: tuple[Finding, ...]
    steps: tuple[StepLine, ...]
    gates: tuple[GateRecord, ...]
    """The newest result of each gate, in the order in which they came."""
    decisions: tuple[Approval, ...]
    trends: tuple[Trend, ...]


def account(conn: Session, migration: str) -> Account:
    """Return what the ledger says. Raises StateError when it does not know the migration."""
    record = load(conn, migration)
    plan = record.plan
    states = step_records(conn, migration)
    history = gate_history(conn, migration)
    lines = []
    for step in plan.steps:
        now = states[step.key]
        ended = (now.finished_at - now.started_at).total_seconds() if now.finished_at and now.started_at else None
        lines.append(
            StepLine(
                phase=step.phase.value,
                title=step.title,
                state=now.state.value,
                attempts=now.attempts,
                started_at=now.started_at,
                seconds=ended,
            ),
        )
    return Account(
        migration=MigrationSummary.model_validate(record.model_dump(exclude={"plan"})),
        tables=plan.tables,
        risk=plan.risk.value,
        risk_reasons=plan.risk_reasons,
        findings=plan.findings,
        steps=tuple(lines),
        gates=_newest(history),
        decisions=decisions(conn, migration, record.plan_digest),
        trends=tuple(_trends(history)),
    )


def _newest(history: Iterable[GateRecord]) -> tuple[GateRecord, ...]:
    """Return the newest result of each gate; before a run there are two: what the preflight asks, and bound suites."""
    newest: dict[str, GateRecord] = {}
    for one in history:
        before = newest.get(one.gate)
        if one.gate == "before_run" and before is not None and before.epoch == one.epoch:
            both = one.result.model_copy(update={"checks": (*before.result.checks, *one.result.checks)})
            newest[one.gate] = one.model_copy(update={"result": both, "passed": before.passed and one.passed})
        else:
            newest[one.gate] = one
    return tuple(newest.values())


def _trends(history: Iterable[GateRecord]) -> Iterable[Trend]:
    points: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for one in history:
        for check in one.result.checks:
            points[one.gate, check.name].append(
                Point(at=one.at, verdict=check.verdict, unexpected=check.unexpected, seconds=check.seconds)
            )
    for (gate, name), found in points.items():
        yield Trend(gate=gate, check=name, points=tuple(found[-LONGEST_TREND:]))
