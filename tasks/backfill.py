"""backfill: fill the new shape for the rows that were there before."""

from functools import partial

from tasks.model.document_steps import Rebuild, Reshape
from tasks.model.steps import Backfill, Copy, Phase, Step
from tasks.prefect_task import verb
from tasks.run import Run
from tasks.shards import all_shards, one_shard


@verb("backfill")
def backfill(run: Run) -> int:
    """Fill every table of the plan, shard by shard; return the rows scanned.

    The ranges are fixed when it begins and kept in the ledger, so it ends however fast applications insert,
    and goes on where it stopped, with whatever runner. Row locks last one batch. Raises Paused at a batch
    boundary when somebody asks for it, or when the window closes.
    """
    return sum(all_shards(run, step, _action(step), backfill_shard) for step in run.plan.phase(Phase.BACKFILL))


@verb("backfill shard", "shard {shard}")
def backfill_shard(run: Run, key: str, shard: int) -> None:
    """Fill one shard to its end. After a passing failure it goes on from its cursor, on a new session."""
    step = next(step for step in run.plan.steps if step.key == key)
    action = _action(step)
    run.engine.retrying()(one_shard, run, step, action, shard, partial(run.engine.fill, action))


def _action(step: Step) -> Backfill | Copy | Reshape | Rebuild:
    assert isinstance(step.action, Backfill | Copy | Reshape | Rebuild)
    return step.action
