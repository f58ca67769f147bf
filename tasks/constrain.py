"""constrain: let the rules of the new shape hold."""

from tasks.ledger.steps import step_records
from tasks.model.status import StepState
from tasks.model.steps import ConcurrentIndex, Phase, Step
from tasks.prefect_task import verb
from tasks.run import Run
from tasks.steps import run_phase

LATER = (Phase.CONSTRAIN, Phase.SWAP)


@verb("constrain")
def constrain(run: Run) -> int:
    """Add the restrictions of the new shape and validate them, now that applications are ready.

    Comes after approval: from here on the database refuses what the new shape refuses. Looks first whether
    somebody else has changed the tables, and raises DriftError then. Locks: ACCESS EXCLUSIVE within the lock
    budget to add, SHARE UPDATE EXCLUSIVE to validate. Returns how many steps were done now.
    """
    with run.ledger("drift") as conn:
        records = step_records(conn, run.migration)
        if all(_to_come(step, records[step.key].state) for step in run.plan.steps if step.phase in LATER):
            run.engine.refuse_drift_since(conn, run.plan)
    return run_phase(run, Phase.CONSTRAIN)


def _to_come(step: Step, state: StepState) -> bool:
    """A build of a unique index that was cut off has not made anything hold yet."""
    return state is StepState.PENDING or (state is StepState.RUNNING and isinstance(step.action, ConcurrentIndex))
