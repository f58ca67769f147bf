"""How risky a plan is, and why."""

from collections.abc import Sequence

from tasks.model.operations import (
    DropColumn,
    DropTable,
    ExtractJunction,
    ExtractLookup,
    MergeTables,
    MoveColumn,
    SplitTable,
    Sql,
)
from tasks.model.plan import Finding, TableEstimate
from tasks.model.spec import MigrationSpec
from tasks.model.steps import Lock, LockMode, Risk, ShortTransaction, Step

MANY_ROWS = 10_000_000
_DROPS_A_COLUMN = (DropColumn, MoveColumn, ExtractLookup, ExtractJunction, SplitTable)
ORDER = [Risk.LOW, Risk.MEDIUM, Risk.HIGH, Risk.CRITICAL]


def risk(
    spec: MigrationSpec, steps: Sequence[Step], sizes: Sequence[TableEstimate], findings: Sequence[Finding]
) -> tuple[Risk, tuple[str, ...]]:
    """Return the highest level that anything in the plan has, with every reason for it."""
    reasons: list[tuple[Risk, str]] = []
    for op in spec.operations:
        if isinstance(op, Sql):
            from tasks.engines.postgresql.planning.statements import judged  # noqa: PLC0415 - few specs need the parser

            found = dict.fromkeys(judged(op.up, undone=op.down is not None))
            reasons += [(level, f"the author's own SQL: {why}") for level, why in found]
    if any(isinstance(op, _DROPS_A_COLUMN) or getattr(op, "dropped", None) for op in spec.operations):
        reasons.append((Risk.MEDIUM, "contract drops a column that applications use today"))
    if any(isinstance(op, DropTable | MergeTables) for op in spec.operations):
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
