"""What the demo measured, and what follows from it: which promises were kept."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from examples.demo.latency import Latency, LockWait
from examples.demo.orders import Differences
from examples.demo.report import Failure, Statement

LOCK_BUDGET_MS = 300
"""Of the demo's profile: the longest that Changeover waits for a table lock, and others behind it."""
SHORT_TRANSACTION_MS = 200
"""What one short transaction, or a batch of the backfill on a busy machine, may take on top of that."""
MACHINE_MS = 500
"""What a busy machine may add to a statement: the gross check must not fail because a laptop was busy."""
LEAST_PACE = 0.5
"""An application that hardly wrote anything proves nothing."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A gate of a migration, as the ledger has it."""

    migration: str
    name: str
    checks: tuple[str, ...]
    failed: tuple[str, ...]
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Period:
    """What the application felt between two moments."""

    name: str
    seconds: float
    rate: float
    """Statements a second on `orders`."""
    latency: Latency
    slowest: tuple[Statement, ...]
    """The slowest three, so that a stall can be looked into."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`orders` against its twin, at one moment."""

    when: str
    differences: Differences


@dataclass(kw_only=True)
class Figures:
    """Everything that the report shows."""

    rows: int
    rate: float
    """Statements a second on `orders` that the application was to send."""
    seconds: float = 0.0
    error: str = ""
    """Why the demo ended early; empty: it did not."""
    rows_migrated: int = 0
    backfill_seconds: float = 0.0
    states: dict[str, str] = field(default_factory=dict)
    gates: list[Gate] = field(default_factory=list)
    periods: list[Period] = field(default_factory=list)
    failures: tuple[Failure, ...] = ()
    unfinished: int = 0
    samples: int = 0
    longest_wait: LockWait | None = None
    """The longest lock wait of an application statement because of Changeover."""
    comparisons: list[Comparison] = field(default_factory=list)
    audit_records: int = 0
    audit_anchors: int = 0
    audit_problems: tuple[str, ...] = ()
    catalogue_differences: tuple[str, ...] = ()
    """Between before the second migration and after its rollback."""
    leftovers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A promise, whether it was kept, and the figure that decides."""

    promise: str
    kept: bool
    figure: str


def verdicts(figures: Figures) -> tuple[Verdict, ...]:
    """Judge the figures. What was not measured is not kept."""
    return tuple(_verdicts(figures))


def _verdicts(f: Figures) -> Iterator[Verdict]:
    if f.error:
        yield Verdict(promise="The demo runs to its end", kept=False, figure=f.error)
    yield from _application(f)
    yield from _migration(f)
    yield _rows(f)
    yield Verdict(
        promise="The audit chain verifies with its anchors",
        kept=f.audit_records > 0 and f.audit_anchors > 0 and not f.audit_problems,
        figure=f"{f.audit_records} records, {len(f.audit_problems)} problems",
    )
    state = f.states.get("rollback", "not run")
    yield Verdict(
        promise="Rollback restores the catalogue exactly",
        kept=state == "rolled back" and not f.catalogue_differences,
        figure=f"{state}, {len(f.catalogue_differences)} differences",
    )
    yield Verdict(
        promise="Nothing is left over in the database",
        kept="rollback" in f.states and not f.leftovers,
        figure=", ".join(f.leftovers) or "no object, no session",
    )


def _application(f: Figures) -> Iterator[Verdict]:
    broken = len(f.failures) + f.unfinished
    kinds = sorted({failure.sqlstate or failure.message for failure in f.failures})
    count = sum(period.latency.count for period in f.periods)
    yield Verdict(
        promise="No statement of the application fails",
        kept=broken == 0 and count > 0,
        figure=f"{broken} of {count:,}" + (f": {', '.join(kinds)}" if kinds else ""),
    )
    limit = LOCK_BUDGET_MS + SHORT_TRANSACTION_MS
    waited = f.longest_wait.ms if f.longest_wait else 0.0
    yield Verdict(
        promise="None waits for our locks beyond the budget",
        kept=f.samples > 0 and waited <= limit,
        figure=f"{waited:.0f} ms, limit {LOCK_BUDGET_MS} + {SHORT_TRANSACTION_MS} ms",
    )
    longest = max((period.latency.max_ms for period in _during(f)), default=float("nan"))
    yield Verdict(
        promise="None is slower than a busy machine explains",
        kept=longest <= limit + MACHINE_MS,
        figure=f"{longest:.0f} ms, limit {limit + MACHINE_MS} ms",
    )
    pace = min((period.rate for period in _during(f)), default=0.0)
    yield Verdict(
        promise="The application keeps its pace",
        kept=pace >= f.rate * LEAST_PACE,
        figure=f"{pace:.0f} a second, {f.rate:.0f} wanted",
    )


def _during(f: Figures) -> list[Period]:
    return f.periods[1:]


def _migration(f: Figures) -> Iterator[Verdict]:
    checks = sum(len(gate.checks) for gate in f.gates)
    failed = [f"{gate.migration}: {name}" for gate in f.gates for name in gate.failed]
    yield Verdict(
        promise="Every gate passes",
        kept=len(f.gates) == 4 and all(gate.passed for gate in f.gates),
        figure="; ".join(failed) or f"{len(f.gates)} of 4 gates, {checks} checks",
    )
    yield Verdict(
        promise="Every row is migrated, the old shape gone",
        kept=f.rows_migrated >= f.rows * 0.9 and f.states.get("contract") == "contracted",
        figure=f"{f.rows_migrated:,} rows, {f.states.get('contract', 'not contracted')}",
    )


def _rows(f: Figures) -> Verdict:
    differing = sum(comparison.differences.total for comparison in f.comparisons)
    return Verdict(
        promise="No row differs from the unmigrated twin",
        kept=len(f.comparisons) == 3 and differing == 0 and all(c.differences.rows > 0 for c in f.comparisons),
        figure=f"{differing} in {len(f.comparisons)} of 3 comparisons",
    )
