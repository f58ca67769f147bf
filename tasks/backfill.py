"""backfill: fill the new shape for the rows that were there before."""

from tasks.boundary import Boundary
from tasks.engines.records import FIRST_ROWS, Checkpoint, Key, Shard
from tasks.engines.session import Session
from tasks.ledger.cursors import Cursor, CursorState, advance, create_cursors, cursors, finish_cursor
from tasks.ledger.fencing import fence
from tasks.ledger.steps import begin_step, finish_step
from tasks.model.plan import Backfill, Copy, Phase, Step
from tasks.model.status import StepState
from tasks.prefect_task import verb
from tasks.progress import Progress
from tasks.run import Run, say
from tasks.runner import run_everywhere
from tasks.steps import record_of
from tasks.throttle import between_batches


@verb("backfill")
def backfill(run: Run) -> int:
    """Fill every table of the plan, shard by shard; return the rows scanned.

    The ranges are fixed when it begins and kept in the ledger, so it ends however fast applications insert,
    and goes on where it stopped, with whatever runner. Row locks last one batch. Raises Paused at a batch
    boundary when somebody asks for it, or when the window closes.
    """
    return sum(_backfill_step(run, step) for step in run.plan.phase(Phase.BACKFILL))


def _backfill_step(run: Run, step: Step) -> int:
    assert isinstance(step.action, Backfill | Copy)
    if record_of(run, step).state is not StepState.DONE:
        shards = _begin(run, step, step.action)
        left = [cursor.shard for cursor in shards if cursor.state is not CursorState.DONE]
        with Progress(run, step):
            run_everywhere(run, backfill_shard, [{"run": run, "key": step.key, "shard": shard} for shard in left])
        with run.ledger() as conn, conn.transaction():
            fence(conn, run.migration, run.epoch)
            finish_step(conn, run.migration, run.epoch, step.key, StepState.DONE, {"rows": _rows(conn, run, step)})
    with run.ledger() as conn:
        return _rows(conn, run, step)


def _rows(conn: Session, run: Run, step: Step) -> int:
    return sum(cursor.rows for cursor in cursors(conn, run.migration, step.key))


def _begin(run: Run, step: Step, action: Backfill | Copy) -> tuple[Cursor, ...]:
    with run.ledger() as conn:
        present = cursors(conn, run.migration, step.key)
        ranges = [] if present else run.engine.shards(action, run.settings.runner.shards)
        with conn.transaction():
            fence(conn, run.migration, run.epoch)
            begin_step(conn, run.migration, run.epoch, step.key)
            found = create_cursors(conn, run.migration, step.key, ranges)
    say(f"{step.title}: {len(found)} shard{'s' if len(found) != 1 else ''}")
    return found


@verb("backfill shard", "shard {shard}")
def backfill_shard(run: Run, key: str, shard: int) -> None:
    """Fill one shard to its end. After a passing failure it goes on from its cursor, on a new session."""
    step = next(step for step in run.plan.steps if step.key == key)
    assert isinstance(step.action, Backfill | Copy)
    run.engine.retrying()(_fill, run, step, step.action, shard)


def _fill(run: Run, step: Step, action: Backfill | Copy, shard: int) -> None:
    with run.ledger() as conn:
        cursor = next(c for c in cursors(conn, run.migration, step.key) if c.shard == shard)
    if cursor.state is CursorState.DONE or cursor.high is None:
        return
    work = Shard(position=cursor.position or cursor.low, high=cursor.high, batch_rows=cursor.batch_rows or FIRST_ROWS)
    with Boundary(run) as boundary:
        run.engine.fill(
            action,
            work,
            _checkpoint(run, step, shard, cursor.batches),
            between_batches(boundary, action, lambda _: None),
        )
        with boundary.conn.transaction():
            fence(boundary.conn, run.migration, run.epoch)
            finish_cursor(boundary.conn, run.migration, step.key, shard)


def _checkpoint(run: Run, step: Step, shard: int, batches: int) -> Checkpoint:
    """Return what commits the cursor with its batch; the number of batches keeps two workers off one cursor."""

    def checkpoint(done: int, conn: Session, position: Key, rows: int, batch_rows: int) -> None:
        fence(conn, run.migration, run.epoch)
        advance(conn, run.migration, step.key, shard, position, rows, batch_rows, batches=batches + done)

    return checkpoint
