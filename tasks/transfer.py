"""transfer: copy rows into another database, and keep up with what is written meanwhile."""

import time
from collections.abc import Callable
from typing import Final

from tasks.boundary import Boundary
from tasks.engines.records import Checkpoint, Shard
from tasks.engines.translate import in_our_words
from tasks.ledger.fencing import fence
from tasks.ledger.state import summary
from tasks.model.errors import ChangeoverError
from tasks.model.status import MigrationState, StepState
from tasks.model.steps import Phase, Step
from tasks.model.transfer_steps import Collection, Relation, RowTransfer, Transfer
from tasks.prefect_task import verb
from tasks.run import Run, say
from tasks.shards import Between, all_shards, one_shard
from tasks.steps import record_of
from tasks.throttle import between_batches

_EVERY: Final = 5.0
"""Seconds between two looks at a stream of changes, while nothing else is done."""


@verb("ask the other database")
def require_room(run: Run) -> None:
    """Refuse another database that cannot be used, or has the collection already; change nothing.

    Nothing is asked once the collection is begun: then it is ours.
    """
    for step in run.plan.phase(Phase.EXPAND):
        action = step.action
        if isinstance(action, Collection | Relation) and record_of(run, step).state in (
            StepState.PENDING,
            StepState.UNDONE,
        ):
            run.target(action.database).require_room(action)


@verb("transfer")
def transfer(run: Run) -> int:
    """Copy the rows of the table, shard by shard; return the rows read.

    The ranges are fixed when it begins and kept in the ledger of the source. Goes on where it stopped: a batch that was
    written, and not recorded, is written again in its own place. Raises Paused at a batch boundary.
    """
    rows = 0
    for step in run.plan.phase(Phase.BACKFILL):
        if record_of(run, step).state is not StepState.DONE:
            _claim(run, _action(step))
        rows += all_shards(run, step, _action(step), transfer_shard)
    return rows


@verb("transfer shard", "shard {shard}")
def transfer_shard(run: Run, key: str, shard: int) -> None:
    """Copy one shard to its end. After a passing failure of either database it goes on from its cursor."""
    step = next(step for step in run.plan.steps if step.key == key)
    action = _action(step)
    target = run.target(action.into.database)

    def load(work: Shard, checkpoint: Checkpoint, between: Between) -> None:
        target.load(action, work, shard, checkpoint, between)

    target.retrying()(one_shard, run, step, action, shard, load)


@verb("follow")
def follow(run: Run) -> int:
    """Carry what was written to the table since the copy began; return how many notes were dealt with.

    Done again before every gate, and once more under the lock of the swap: until then, what is noted is kept.
    Nothing where no writes are captured, and nothing after the swap. Raises Paused between two bites.
    """
    with run.ledger() as conn:
        if summary(conn, run.migration).state is not MigrationState.RUNNING:
            return 0
    copies = [_action(step) for step in run.plan.phase(Phase.BACKFILL)]
    return sum(_follow(run, action) for action in copies if action.notes)


def keeping_up(run: Run, *, late: bool = False) -> Callable[[], None]:
    """Return what notes what was written, where a stream tells of it, every few seconds in which it is called.

    So nothing is forgotten there while a run waits. `late`: it was written after the swap; it is told of, and whatever
    goes wrong is a matter of the contract.
    """
    streamed = [one for one in map(_action, run.plan.phase(Phase.BACKFILL)) if isinstance(one, RowTransfer)]
    state = {"looked": float("-inf")}
    told: dict[str, str] = {}

    def look(action: RowTransfer) -> str:
        target = run.target(action.into.database)
        try:
            with in_our_words(action.table):
                found = target.retrying()(target.catch_up, action, counting=late)
        except ChangeoverError as error:
            if not late:
                raise
            return error.what
        return f"{found:,} documents of {action.table} were written to after the swap" if late and found else ""

    def keep_up() -> None:
        if time.monotonic() - state["looked"] < _EVERY:
            return
        for action in streamed:
            if action.notes and (now := look(action)) != told.get(action.table, ""):
                say(now)
                told[action.table] = now
        state["looked"] = time.monotonic()

    return keep_up


def _claim(run: Run, action: Transfer) -> None:
    """Take the collection away from older runs, before anything is written."""
    target = run.target(action.into.database)
    target.retrying()(target.claim, action, run.epoch, lambda conn: fence(conn, run.migration, run.epoch))


def _follow(run: Run, action: Transfer) -> int:
    _claim(run, action)
    target = run.target(action.into.database)
    if (behind := target.retrying()(target.behind, action)) is not None:
        say(f"what was written to {action.table} was known until {behind:.0f} s ago")
    with Boundary(run) as boundary:
        carried = target.retrying()(
            target.follow,
            action,
            lambda conn: fence(conn, run.migration, run.epoch),
            between_batches(boundary, action, lambda _: None),
        )
    say(f"carried {carried:,} notes of writes to {action.table}")
    return int(carried)


def _action(step: Step) -> Transfer:
    assert isinstance(step.action, Transfer)
    return step.action
