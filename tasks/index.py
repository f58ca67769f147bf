"""index: make the new shape as fast as the old one."""

from tasks.model.steps import Phase
from tasks.prefect_task import verb
from tasks.run import Run
from tasks.steps import run_phase


@verb("index")
def index(run: Run) -> int:
    """Build the indexes that reject nothing, concurrently.

    Locks: SHARE UPDATE EXCLUSIVE. Waits for older transactions, and says for whose. Returns how many
    steps were done now.
    """
    return run_phase(run, Phase.INDEX)
