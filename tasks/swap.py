"""swap: the act, in one short transaction."""

from tasks.engines.session import Session
from tasks.ledger.gates import count_rejections, last_gate
from tasks.ledger.transitions import transition
from tasks.ledger.waivers import lapsed
from tasks.model.errors import DataChanged, GateError
from tasks.model.plan import Phase
from tasks.model.status import MigrationState
from tasks.prefect_task import verb
from tasks.run import Run
from tasks.steps import run_step

Connection = Session


@verb("swap")
def swap(run: Run) -> None:
    """Make the new shape the truth, for all tables of the plan at once, or not at all.

    Refuses, under the locks, unless the gate before the swap passed in this attempt and nothing was written
    since that it has not seen. Locks: ACCESS EXCLUSIVE on every table of the plan, within the lock budget; one
    transaction with the ledger's entry. Raises GateError, LockTimeoutError.
    """
    for step in run.plan.phase(Phase.SWAP):
        run_step(run, step, guard=lambda conn: _guard(conn, run), afterwards=lambda conn: _swapped(conn, run))


def _swapped(conn: Connection, run: Run) -> None:
    transition(conn, run.migration, run.epoch, MigrationState.SWAPPED)


def _guard(conn: Connection, run: Run) -> None:
    gate = last_gate(conn, run.migration, "before_swap")
    if gate is None or not gate.passed:
        raise GateError(
            "no gate has passed before the swap",
            where=run.migration,
            hint="Call validate with the gate before_swap first.",
            changed=DataChanged.PARTIALLY,
        )
    if gone := lapsed(conn, run.migration, gate.plan_digest, gate.result):
        raise GateError(
            f"the waiver has expired: {', '.join(gone)}",
            where=run.migration,
            hint="Correct the rows, or have somebody answer for them anew, then run again.",
            changed=DataChanged.PARTIALLY,
        )
    for requirement in run.plan.requirements:
        if requirement.kind == "structure" and requirement.gate != "before_rollback":
            wrong = conn.execute(requirement.violations).fetchall()
            if wrong:
                raise GateError(
                    f"{requirement.name}: not so: {', '.join(str(row[0]) for row in wrong)}",
                    where=run.migration,
                    hint="Somebody changed the table: undo that, or roll back.",
                    changed=DataChanged.PARTIALLY,
                )
    unseen = count_rejections(conn, run.migration) - gate.rejections
    if unseen:
        raise GateError(
            f"{unseen} writes since the gate could not be carried to the new shape",
            where=run.migration,
            hint="Correct those rows and run again: the gate looks at every row anew.",
            changed=DataChanged.PARTIALLY,
        )
