"""How risky a plan is, and why."""

from collections.abc import Sequence

from tasks.model.operations import DropColumn, DropTable, MoveColumn, Sql
from tasks.model.plan import Finding, Lock, LockMode, Risk, ShortTransaction, Step, TableEstimate
from tasks.model.spec import MigrationSpec

MANY_ROWS = 10_000_000
ORDER = [Risk.LOW, Risk.MEDIUM, Risk.HIGH, Risk.CRITICAL]


def risk(
    spec: MigrationSpec, steps: Sequence[Step], sizes: Sequence[TableEstimate], findings: Sequence[Finding]
) -> tuple[Risk, tuple[str, ...]]:
    """Return the highest level that anything in the plan has, with every reason for it."""
    reasons: list[tuple[Risk, str]] = []
    if any(isinstance(op, Sql) for op in spec.operations):
        reasons.append((Risk.HIGH, "the author's own SQL runs, whose effects are not known"))
    if any(isinstance(op, DropColumn | MoveColumn) for op in spec.operations):
        reasons.append((Risk.MEDIUM, "contract drops a column that applications use today"))
    if any(isinstance(op, DropTable) for op in spec.operations):
        reasons.append((Risk.HIGH, "contract drops a table, with every row in it"))
    for size in sizes:
        if size.rows >= MANY_ROWS:
            reasons.append((Risk.MEDIUM, f"{size.table} has about {size.rows:,} rows"))
    locked = {lock.table for step in steps for lock in _locks(step) if lock.mode is LockMode.ACCESS_EXCLUSIVE}
    if locked:
        reasons.append((Risk.LOW, f"short exclusive locks on {', '.join(sorted(locked))}"))
    reasons += [(Risk.MEDIUM, f.message) for f in findings if f.severity == "warning"]
    level = max((r for r, _ in reasons), key=ORDER.index, default=Risk.LOW)
    return level, tuple(f"{r}: {text}" for r, text in reasons)


def _locks(step: Step) -> tuple[Lock, ...]:
    return step.action.locks if isinstance(step.action, ShortTransaction) else ()
