"""approve: the point at which people say that the applications are ready."""

import time
from datetime import UTC, datetime
from typing import Literal

from tasks.boundary import Boundary
from tasks.ledger.approvals import Approval, decisions, valid_approvals
from tasks.ledger.approvals import approve as record
from tasks.ledger.state import summary
from tasks.ledger.transitions import transition
from tasks.model.errors import DataChanged, Paused, StateError
from tasks.model.status import MigrationState
from tasks.prefect_task import verb
from tasks.run import Run, engine_of, new_run_id, say

LOOK_EVERY = 1.0


class AwaitingApproval(Paused):
    """The run stopped because people have to decide first."""

    code = "APPROVAL"


@verb("approve")
def approve(run: Run) -> int:
    """Wait until enough people have approved this very plan; return how many did.

    Neither the author nor whoever runs it counts. Raises StateError when somebody rejects, AwaitingApproval
    when the profile's patience ends.
    """
    needed = run.settings.approvals
    if needed == 0:
        return 0
    deadline = time.monotonic() + run.settings.approval_wait
    told = False
    with Boundary(run) as boundary:
        while True:
            approvers = _approvers(boundary, run)
            if len(approvers) >= needed:
                _go_on(boundary, run)
                return len(approvers)
            if not told:
                _await(boundary, run, f"{len(approvers)} of {needed} approvals")
                told = True
            if time.monotonic() >= deadline:
                raise AwaitingApproval(
                    f"waits for approval: {len(approvers)} of {needed}",
                    where=run.migration,
                    hint=f"changeover approve {run.migration}, then changeover resume {run.migration}.",
                    changed=DataChanged.PARTIALLY,
                )
            time.sleep(LOOK_EVERY)
            boundary.check()


def decide(
    migration: str,
    approver: str,
    decision: Literal["approve", "reject"],
    reason: str,
    *,
    profile: str = "local",
    database: str = "main",
) -> None:
    """Record the decision of one person on the present plan, audited.

    Raises StateError when it is the author's or the executor's: whoever asks does not approve (NIST AC-5).
    """
    # A session of the migration's own name would be ended by the next run that takes over.
    engine = engine_of(profile, database, f"decision on {migration}", new_run_id())
    with engine.connect("approve") as conn, conn.transaction():
        known = summary(conn, migration)
        if decision == "approve" and same_person(approver, known.author, known.executor):
            raise StateError(
                f"{approver} is the author of the migration, or runs it, and cannot approve it",
                where=migration,
                hint="Ask somebody else.",
            )
        record(conn, migration, known.plan_digest, approver, decision=decision, reason=reason)


def approved(run: Run) -> bool:
    """Tell whether people have approved: from then on a new application may rely on the new shape."""
    with Boundary(run) as boundary:
        return run.settings.approvals > 0 and len(_approvers(boundary, run)) >= run.settings.approvals


def _approvers(boundary: Boundary, run: Run) -> tuple[str, ...]:
    digest = run.plan.digest
    for decision in decisions(boundary.conn, run.migration, digest):
        if decision.decision == "reject":
            raise StateError(
                f"{decision.approver} rejected the plan: {decision.reason or 'no reason given'}",
                where=run.migration,
                hint="Roll back, or have the decision changed.",
            )
    found = valid_approvals(boundary.conn, run.migration, digest, datetime.now(UTC))
    author = summary(boundary.conn, run.migration).author
    return tuple(a.approver for a in found if _independent(a, author, run.actor))


def _independent(approval: Approval, author: str, executor: str) -> bool:
    return not same_person(approval.approver, author, executor)


def same_person(name: str, *others: str | None) -> bool:
    """Tell whether a name is one of the others, however it is written."""
    return name.strip().casefold() in {other.strip().casefold() for other in others if other}


def _await(boundary: Boundary, run: Run, message: str) -> None:
    say(f"waits for approval: {message}; changeover approve {run.migration}")
    with boundary.conn.transaction():
        transition(boundary.conn, run.migration, run.epoch, MigrationState.AWAITING_APPROVAL, message=message)


def _go_on(boundary: Boundary, run: Run) -> None:
    if summary(boundary.conn, run.migration).state is MigrationState.AWAITING_APPROVAL:
        with boundary.conn.transaction():
            transition(boundary.conn, run.migration, run.epoch, MigrationState.RUNNING, message="approved")
