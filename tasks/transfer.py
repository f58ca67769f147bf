"""transfer: copy rows into another database."""

from tasks.engines.records import Checkpoint, Shard
from tasks.model.plan import Collection, Phase, Step, Transfer
from tasks.model.status import StepState
from tasks.prefect_task import verb
from tasks.run import Run
from tasks.shards import Between, all_shards, one_shard
from tasks.steps import record_of


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
    return sum(all_shards(run, step, _action(step), transfer_shard) for step in run.plan.phase(Phase.BACKFILL))


@verb("transfer shard", "shard {shard}")
def transfer_shard(run: Run, key: str, shard: int) -> None:
    """Copy one shard to its end. After a passing failure of either database it goes on from its cursor."""
    step = next(step for step in run.plan.steps if step.key == key)
    action = _action(step)
    target = run.target(action.into.database)

    def load(work: Shard, checkpoint: Checkpoint, between: Between) -> None:
        target.load(action, work, shard, checkpoint, between, run.plan.search_path)

    target.retrying()(one_shard, run, step, action, shard, load)


def _action(step: Step) -> Transfer:
    assert isinstance(step.action, Transfer)
    return step.action
