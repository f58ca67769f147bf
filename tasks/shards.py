"""Work in ranges of keys: fixed when it begins, kept in the ledger, and gone on with from its cursors."""

from collections.abc import Callable

from prefect import Task

from tasks.boundary import Boundary
from tasks.engines.records import FIRST_ROWS, Checkpoint, Key, Shard
from tasks.engines.session import Session
from tasks.ledger.cursors import Cursor, CursorState, advance, create_cursors, cursors, finish_cursor
from tasks.ledger.fencing import fence
from tasks.ledger.steps import begin_step, finish_step
from tasks.model.status import StepState
from tasks.model.steps import InRanges, Step
from tasks.progress import Progress
from tasks.run import Run, say
from tasks.runner import run_everywhere
from tasks.steps import record_of
from tasks.throttle import between_batches

Between = Callable[[int], int | None]


def all_shards(run: Run, step: Step, action: InRanges, task: Task[..., None]) -> int:
    """Run a task for each shard of a step that is left; return the rows of all. The task gets run, key and shard."""
    if record_of(run, step).state is not StepState.DONE:
        left = [cursor.shard for cursor in _begin(run, step, action) if cursor.state is not CursorState.DONE]
        with Progress(run, step):
            run_everywhere(run, task, [{"run": run, "key": step.key, "shard": shard} for shard in left])
        with run.ledger() as conn, conn.transaction():
            fence(conn, run.migration, run.epoch)
            finish_step(conn, run.migration, run.epoch, step.key, StepState.DONE, {"rows": _rows(conn, run, step)})
    with run.ledger() as conn:
        return _rows(conn, run, step)


def one_shard(
    run: Run, step: Step, action: InRanges, shard: int, fill: Callable[[Shard, Checkpoint, Between], object]
) -> None:
    """Go on with a shard from its cursor, and say in the ledger when it is done."""
    with run.ledger() as conn:
        cursor = next(c for c in cursors(conn, run.migration, step.key) if c.shard == shard)
    if cursor.state is CursorState.DONE or cursor.high is None:
        return
    work = Shard(position=cursor.position or cursor.low, high=cursor.high, batch_rows=cursor.batch_rows or FIRST_ROWS)
    with Boundary(run) as boundary:
        checkpoint = _checkpoint(run, step, shard, cursor.batches)
        fill(work, checkpoint, between_batches(boundary, action, lambda _: None))
        with boundary.conn.transaction():
            fence(boundary.conn, run.migration, run.epoch)
            finish_cursor(boundary.conn, run.migration, step.key, shard)


def _begin(run: Run, step: Step, action: InRanges) -> tuple[Cursor, ...]:
    with run.ledger() as conn:
        present = cursors(conn, run.migration, step.key)
        ranges = [] if present else run.engine.shards(action, run.settings.runner.shards)
        with conn.transaction():
            fence(conn, run.migration, run.epoch)
            begin_step(conn, run.migration, run.epoch, step.key)
            found = create_cursors(conn, run.migration, step.key, ranges)
    say(f"{step.title}: {len(found)} shard{'s' if len(found) != 1 else ''}")
    return found


def _rows(conn: Session, run: Run, step: Step) -> int:
    return sum(cursor.rows for cursor in cursors(conn, run.migration, step.key))


def _checkpoint(run: Run, step: Step, shard: int, batches: int) -> Checkpoint:
    """Return what commits the cursor with its batch; the number of batches keeps two workers off one cursor."""

    def checkpoint(done: int, conn: Session, position: Key, rows: int, batch_rows: int) -> None:
        fence(conn, run.migration, run.epoch)
        advance(conn, run.migration, step.key, shard, position, rows, batch_rows, batches=batches + done)

    return checkpoint
