"""For how long locks are held, as `pg_locks` tells while steps run; to read the table takes longer than the budget.

A moment is one on a table of any size: `test_locks_announced` proves it by what the statements read. Here it is
measured, with the locks that a run takes first. A machine can stand still: so what took too long is tried again.
"""

import time
from typing import Any

import pytest

from tasks.model.step_costs import Held, held_of, locks_of
from tasks.model.steps import LockMode, Phase, Step
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.lock_watch import Holds, LockWatch

SCHEMA = """
create table t (id int primary key, n int default 5, name text not null);
insert into t select i, i, 'n' || i from generate_series(1, 100000) i;
"""
SLOW = "md5(repeat(name, 500)) <> ''"
"""Takes longer than the lock budget for all rows, so that nothing that evaluates it can pass for a moment."""
WIDEN = {"alter_column": {"table": "t", "column": "n", "type": "bigint", "nullable": False, "up": "n", "down": "n"}}
OPERATIONS: dict[str, list[dict[str, Any]]] = {
    "expand_contract": [
        WIDEN,
        {"create_constraint": {"table": "t", "name": "k", "type": "check", "columns": ["name"], "check": SLOW}},
        {"create_index": {"table": "t", "name": "i", "columns": ["name"]}},
    ],
    "shadow_table": [WIDEN, {"create_index": {"table": "t", "name": "i", "columns": ["name"]}}],
}
TRIES = 4
BLOCKING = (LockMode.SHARE, LockMode.SHARE_ROW_EXCLUSIVE, LockMode.EXCLUSIVE, LockMode.ACCESS_EXCLUSIVE)
"""What keeps writers waiting."""


def carried_out(migration: Migration, step: Step, watch: LockWatch) -> tuple[Holds, float]:
    """Carry out a step, and say what was held meanwhile and how long it took; what blocks too long, once more."""
    budget = migration.engine.limits.lock_budget / 1000
    for tries in range(TRIES):
        if tries:
            migration.back(step)
        started = time.monotonic()
        with watch.during() as holds:
            migration.forward(step)
        if holds.longest(*BLOCKING) < budget:
            break
    return holds, time.monotonic() - started


@pytest.mark.parametrize("strategy", OPERATIONS)
def test_a_lock_that_blocks_writers_is_held_for_less_than_the_budget(strategy: str, conn: Connection, url: str) -> None:
    """One step of each kind; whatever takes longer holds nothing that would keep anybody from writing. And back."""
    conn.execute(SCHEMA.encode())
    migration = Migration(url, OPERATIONS[strategy], strategy=strategy, batch_rows=5000)
    migration.begin()
    assert migration.plan is not None
    budget = migration.engine.limits.lock_budget / 1000
    longest: list[float] = []
    with LockWatch(url) as watch:
        for step in (step for phase in (*BEFORE_SWAP, Phase.SWAP) for step in migration.plan.phase(phase)):
            holds, seconds = carried_out(migration, step, watch)
            assert holds.harder_than(locks_of(step)) == [], step.key
            assert holds.longest(*BLOCKING) < budget, step.key
            match held_of(step):
                case Held.SCAN:
                    assert not holds.modes & {*BLOCKING}, step.key
                    longest.append(holds.longest(LockMode.SHARE_UPDATE_EXCLUSIVE))
                case Held.BATCH:
                    assert len(holds.times) > 2, step.key
                    assert holds.longest(LockMode.ROW_EXCLUSIVE) < seconds / 2, step.key
                    longest.append(seconds)
        with watch.during() as holds:
            migration.roll_back_steps()
        assert holds.longest(*BLOCKING) < 2 * budget
    assert max(longest) > budget, "the table is too small to tell a moment from a scan"
