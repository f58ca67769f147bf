"""transfer: copy rows into another database."""

from tasks.boundary import Boundary
from tasks.engines.records import FIRST_ROWS, Checkpoint, Key, Shard
from tasks.engines.session import Session
from tasks.ledger.cursors import Cursor, CursorState, advance, create_cursors, cursors, finish_cursor
from tasks.ledger.fencing import fence
from tasks.ledger.steps import begin_step, finish_step
from tasks.model.plan import Collection, Phase, Step, Transfer
from tasks.model.status import StepState
from tasks.prefect_task import verb
from tasks.progress import Progress
from tasks.run import Run, say
from tasks.runner import run_everywhere
from tasks.steps import record_of
from tasks.throttle import between_batches


@verb("ask the other database")
def require_room(run: Run) -> None:
    """Refuse another database that cannot be used, or has the collection already; change nothing.

    Nothing is asked once the collection is begun: then it is ours.
    """
    for step in run.plan.phase(Phase.EXPAND):
        action = step.action
        if isinstance(action, Collection) and record_of(run, step).state in (StepState.PENDING, StepState.UNDONE):
            run.target(action.database).require_room(action)


@verb("transfer")
def transfer(run: Run) -> int:
    """Copy the rows of the table, shard by shard; return the rows read.

    The ranges are fixed when it begins and kept in the ledger of the source. Goes on where it stopped: a batch that was
    written, and not recorded, is written again in its own place. Raises Paused at a batch boundary.
    """
    return sum(_transfer_step(run, step) for step in run.plan.phase(Phase.BACKFILL))


def _transfer_step(run: Run, step: Step) -> int:
    assert isinstance(step.action, Transfer)
    if record_of(run, step).state is not StepState.DONE:
        left = [cursor.shard for cursor in _begin(run, step, step.action) if cursor.state is not CursorState.DONE]
        with Progress(run, step):
            run_everywhere(run, transfer_shard, [{"run": run, "key": step.key, "shard": shard} for shard in left])
        with run.ledger() as conn, conn.transaction():
            fence(conn, run.migration, run.epoch)
            finish_step(conn, run.migration, run.epoch, step.key, StepState.DONE, {"rows": _rows(conn, run, step)})
    with run.ledger() as conn:
        return _rows(conn, run, step)


def _rows(conn: Session, run: Run, step: Step) -> int:
    return sum(cursor.rows for cursor in cursors(conn, run.migration, step.key))


def _begin(run: Run, step: Step, action: Transfer) -> tuple[Cursor, ...]:
    with run.ledger() as conn:
        present = cursors(conn, run.migration, step.key)
        ranges = [] if present else run.engine.shards(action, run.settings.runner.shards)
        with conn.transaction():
            fence(conn, run.migration, run.epoch)
            begin_step(conn, run.migration, run.epoch, step.key)
            found = create_cursors(conn, run.migration, step.key, ranges)
    say(f"{step.title}: {len(found)} shard{'s' if len(found) != 1 else ''}")
    return found


@verb("transfer shard", "shard {shard}")
def transfer_shard(run: Run, key: str, shard: int) -> None:
    """Copy one shard to its end. After a passing failure of either database it goes on from its cursor."""
    step = next(step for step in run.plan.steps if step.key == key)
    assert isinstance(step.action, Transfer)
    run.target(step.action.into.database).retrying()(_load, run, step, step.action, shard)


def _load(run: Run, step: Step, action: Transfer, shard: int) -> None:
    with run.ledger() as conn:
        cursor = next(c for c in cursors(conn, run.migration, step.key) if c.shard == shard)
    if cursor.state is CursorState.DONE or cursor.high is None:
        return
    work = Shard(position=cursor.position or cursor.low, high=cursor.high, batch_rows=cursor.batch_rows or FIRST_ROWS)
    with Boundary(run) as boundary:
        run.target(action.into.database).load(
            action,
            work,
            shard,
            _checkpoint(run, step, shard, cursor.batches),
            between_batches(boundary, action, lambda _: None),
            run.plan.search_path,
        )
        with boundary.conn.transaction():
            fence(boundary.conn, run.migration, run.epoch)
            finish_cursor(boundary.conn, run.migration, step.key, shard)


def _checkpoint(run: Run, step: Step, shard: int, batches: int) -> Checkpoint:
    """Return what moves the cursor in the transaction of a batch, once MongoDB has it."""

    def checkpoint(done: int, conn: Session, position: Key, rows: int, batch_rows: int) -> None:
        fence(conn, run.migration, run.epoch)
        advance(conn, run.migration, step.key, shard, position, rows, batch_rows, batches=batches + done)

    return checkpoint
