"""dual_write: from here on, every write reaches both shapes."""

from tasks.follow_documents import remember
from tasks.model.steps import Phase
from tasks.prefect_task import verb
from tasks.run import Run
from tasks.steps import run_step


@verb("dual write")
def dual_write(run: Run) -> int:
    """Install the triggers, and commit: whatever is written afterwards has met them.

    Locks: SHARE ROW EXCLUSIVE within the lock budget, which waits for writers in flight and so leaves none
    that the triggers have missed. Returns how many steps were done now.
    """
    return sum(run_step(run, step, afterwards=remember(run, step)) for step in run.plan.phase(Phase.DUAL_WRITE))
