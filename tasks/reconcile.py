"""reconcile: prove that two tables hold the same rows, while applications write to both."""

from tasks.ledger.state import summary
from tasks.model.status import MigrationState
from tasks.model.steps import Phase
from tasks.prefect_task import verb
from tasks.run import Run
from tasks.steps import repeat_step


@verb("reconcile")
def reconcile(run: Run) -> int:
    """Compare every table with its shadow, range by range, and carry over what differs.

    Every run that comes to a swap does it anew, as it evaluates the gate anew. Raises StepError when rows cannot be
    carried: the shadow does not take the table's place then. Row locks last one range that differs. Returns how
    many steps were done now.
    """
    with run.ledger() as conn:
        if summary(conn, run.migration).state is not MigrationState.RUNNING:
            return 0
    steps = run.plan.phase(Phase.RECONCILE)
    for step in steps:
        repeat_step(run, step)
    return len(steps)
