"""What can be known before a run: is this the right moment, the right role, enough room?"""

from collections.abc import Iterator

from profiles.model import Limits
from tasks.engines.postgresql.blockers import Connection, named, old_snapshots
from tasks.engines.postgresql.sessions import require_privileges
from tasks.model.plan import ConcurrentIndex, Finding, Plan


def preflight(conn: Connection, plan: Plan, limits: Limits) -> tuple[Finding, ...]:
    """Return what stands in the way; raise what cannot be overcome by waiting. Changes nothing."""
    require_privileges(conn, plan.tables)
    return tuple(_old_transactions(conn, plan, limits))


def _old_transactions(conn: Connection, plan: Plan, limits: Limits) -> Iterator[Finding]:
    if not any(isinstance(step.action, ConcurrentIndex) for step in plan.steps):
        return
    old = old_snapshots(conn, limits.snapshot_age)
    if old:
        yield Finding(
            rule="SAF-12",
            severity="warning",
            message=f"index builds will wait for old transactions: {named(old)}",
            hint="End them before the run.",
        )
