"""expand: make room for the new shape."""

from tasks.model.steps import Phase
from tasks.prefect_task import verb
from tasks.run import Run
from tasks.steps import run_phase


@verb("expand")
def expand(run: Run) -> int:
    """Add the columns and tables of the new shape; nobody uses them yet.

    Locks: ACCESS EXCLUSIVE within the lock budget, one short transaction a table. Returns how many steps were done now.
    """
    return run_phase(run, Phase.EXPAND)
