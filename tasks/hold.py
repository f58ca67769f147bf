"""hold: put off the swap for as long as somebody asks for it."""

import time
from collections.abc import Callable

from tasks.boundary import EVERY, Boundary
from tasks.engines.session import Session
from tasks.ledger.controls import control
from tasks.ledger.state import summary
from tasks.model.status import MigrationState
from tasks.prefect_task import verb
from tasks.run import Run, say


class HeldError(Exception):
    """Somebody asked to put off the swap, while it waited for its locks."""


@verb("hold")
def hold(run: Run) -> float:
    """Wait, before the swap, until `changeover release` says that it may come; return the seconds.

    Dual write keeps both shapes in step meanwhile. Raises Paused at the pause that somebody asks for, and when
    the window closes. Locks: none.
    """
    return wait_until_released(run)


def refuse_held(conn: Session, run: Run) -> None:
    """Raise HeldError when somebody asked to put off the swap."""
    if control(conn, run.migration, "hold"):
        raise HeldError


def wait_until_released(run: Run, meanwhile: Callable[[], None] = lambda: None) -> float:
    """Wait while somebody asks for it, and call `meanwhile` again and again; return the seconds. See `hold`."""
    began = time.monotonic()
    told = False
    with Boundary(run) as boundary:
        while summary(boundary.conn, run.migration).state is MigrationState.RUNNING and control(
            boundary.conn, run.migration, "hold"
        ):
            if not told:
                say(f"holds before the swap: changeover release {run.migration} lets it come")
                told = True
            boundary.check()
            meanwhile()
            time.sleep(EVERY)
    return time.monotonic() - began
