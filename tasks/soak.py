"""soak: watch for a while before anybody calls it done."""

import time
from collections.abc import Callable

from tasks.boundary import EVERY, Boundary
from tasks.ledger.gates import count_rejections
from tasks.ledger.state import summary
from tasks.ledger.transitions import transition
from tasks.model.errors import DataChanged, GateError
from tasks.model.status import MigrationState
from tasks.prefect_task import verb
from tasks.run import Run, say


@verb("soak")
def soak(run: Run, require: Callable[[], None] = lambda: None) -> None:
    """Watch dual write for the time that spec or profile ask for, then call the migration complete.

    Raises GateError when a write could not be carried back to the old shape: a rollback would lose it. `require`
    raises when what keeps both shapes in step has stopped.
    """
    with Boundary(run) as boundary:
        if summary(boundary.conn, run.migration).state is not MigrationState.SWAPPED:
            return
        asked = run.plan.spec.get("soak")
        seconds = float(asked) if isinstance(asked, int | float) else run.settings.soak
        before = count_rejections(boundary.conn, run.migration, direction="down")
        if seconds:
            say(f"watches for {seconds:g} s")
        deadline = time.monotonic() + seconds
        while True:
            require()
            lost = count_rejections(boundary.conn, run.migration, direction="down") - before
            if lost:
                raise GateError(
                    f"{lost} writes of the new application cannot be carried back to the old shape",
                    where=run.migration,
                    hint="Correct `down`, or accept that a rollback would lose them, and run again.",
                    changed=DataChanged.PARTIALLY,
                )
            left = deadline - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(EVERY, left))
        with boundary.conn.transaction():
            transition(boundary.conn, run.migration, run.epoch, MigrationState.COMPLETE)
