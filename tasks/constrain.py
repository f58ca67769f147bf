"""constrain: let the rules of the new shape hold."""

from tasks.model.plan import Phase
from tasks.prefect_task import verb
from tasks.run import Run
from tasks.steps import run_phase


@verb("constrain")
def constrain(run: Run) -> int:
    """Add the restrictions of the new shape and validate them, now that applications are ready.

    Comes after approval: from here on the database refuses what the new shape refuses. Locks: ACCESS EXCLUSIVE
    within the lock budget to add, SHARE UPDATE EXCLUSIVE to validate. Returns how many steps were done now.
    """
    return run_phase(run, Phase.CONSTRAIN)
