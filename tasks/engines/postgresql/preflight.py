"""What can be known before a run: is this the right moment, the right role, enough room?"""

from collections.abc import Iterator

from profiles.model import Limits
from tasks.engines.postgresql.blockers import Connection, named, old_snapshots
from tasks.engines.postgresql.catalogue.estimate import room
from tasks.engines.postgresql.sessions import require_privileges
from tasks.model.plan import Finding, Plan
from tasks.model.steps import ConcurrentIndex, Reconcile


def preflight(conn: Connection, plan: Plan, limits: Limits) -> tuple[Finding, ...]:
    """Return what stands in the way; raise what cannot be overcome by waiting. Changes nothing."""
    require_privileges(conn, plan)
    return (*_old_transactions(conn, plan, limits), *_room(conn, plan, limits))


def _room(conn: Connection, plan: Plan, limits: Limits) -> Iterator[Finding]:
    """Look before the shadow is made: from then on it is a part of what is on the disk."""
    for step in plan.steps:
        if not isinstance(step.action, Reconcile) or limits.room is None:
            continue
        made = conn.execute("select to_regclass(%s) is not null", (step.action.notes.table,)).fetchone()
        needed = room(conn, step.action.copy_of.table)
        if needed > limits.room and not (made and made[0]):
            yield Finding(
                rule="SHD-10",
                severity="error",
                message=f"the shadow and its indexes take about {needed / 1e6:,.0f} MB, without what the spec"
                f" adds, and limits.room of the profile is {limits.room / 1e6:,.0f} MB",
                where=step.key.split("/")[1],
                hint="Make room on the disk of the server, and say so in limits.room.",
            )


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
