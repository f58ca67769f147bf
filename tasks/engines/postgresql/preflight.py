"""What can be known before a run: is this the right moment, the right role, enough room?"""

from collections.abc import Iterator

from profiles.model import Limits
from tasks.engines.postgresql.blockers import Connection, named, old_snapshots
from tasks.engines.postgresql.sessions import require_privileges
from tasks.model.plan import ConcurrentIndex, Finding, Plan


def preflight(conn: Connection, plan: Plan, limits: Limits) -> tuple[Finding, ...]:
    """Return what stands in the way; raise what cannot be overcome by waiting. Changes nothing."""
    require_privileges(conn, plan.tables)
    return (*_old_transactions(conn, plan, limits), *_restrictions(conn, plan))


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


def _restrictions(conn: Connection, plan: Plan) -> Iterator[Finding]:
    """Rows that break a new restriction on a column that stays: no backfill will mend them."""
    for requirement in plan.requirements:
        if requirement.gate != "before_swap" or requirement.reads_new or requirement.kind == "structure":
            continue
        row = conn.execute(f"select count(*) from ({requirement.violations}) as violations").fetchone()
        if row and row[0]:
            yield Finding(
                rule="SAF-08",
                severity="error",
                message=f"{row[0]} violations: {requirement.name}",
                where=requirement.table,
                hint="Correct those rows, or give `up` so that the backfill does.",
            )
