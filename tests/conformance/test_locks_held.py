"""For how long locks are held, as `pg_locks` tells while steps run; to read the table takes longer than the budget.

A moment is one on a table of any size: `test_locks_announced` proves it by what the statements read. Here it is
measured, with the locks that a run takes first. A machine can stand still: so what took too long is tried again.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tasks.model.plan import LockMode, Phase, Step
from tasks.model.step_costs import Held, held_of, locks_of
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.test_locks_announced import HARMLESS, lock_mode

SCHEMA = """
create table t (id int primary key, n int default 5, name text not null);
insert into t select i, i, 'n' || i from generate_series(1, 100000) i;
"""
SLOW = "md5(repeat(name, 500)) <> ''"
"""Takes longer than the lock budget for all rows, so that nothing that evaluates it can pass for a moment."""
OPERATIONS: list[dict[str, Any]] = [
    {"alter_column": {"table": "t", "column": "n", "type": "bigint", "nullable": False, "up": "n", "down": "n"}},
    {"create_constraint": {"table": "t", "name": "k", "type": "check", "columns": ["name"], "check": SLOW}},
    {"create_index": {"table": "t", "name": "i", "columns": ["name"]}},
]
TRIES = 4


@dataclass
class Holds:
    """From when to when transactions of others were seen with a lock on the table."""

    times: dict[tuple[str, LockMode], tuple[float, float]] = field(default_factory=dict)

    def longest(self, *modes: LockMode) -> float:
        """Return the seconds of the one that was held longest."""
        return max((last - first for (_, mode), (first, last) in self.times.items() if mode in modes), default=0.0)

    @property
    def modes(self) -> set[LockMode]:
        """Return what was seen."""
        return {mode for _, mode in self.times}


@contextmanager
def watched(url: str) -> Iterator[Holds]:
    """Look at the locks on the table all the time, until the body has ended."""
    found, over = Holds(), threading.Event()

    def watch() -> None:
        with psycopg.connect(url, autocommit=True) as conn:
            while not over.wait(0.002):
                seen = conn.execute(
                    "select l.virtualtransaction, l.mode from pg_locks l join pg_stat_activity a using (pid)"
                    " where l.locktype = 'relation' and l.relation = 't'::regclass and l.granted"
                    " and a.backend_type = 'client backend' and pid <> pg_backend_pid()"
                ).fetchall()
                now = time.monotonic()
                for transaction, name in seen:
                    key = (transaction, lock_mode(name))
                    found.times[key] = (found.times.get(key, (now, now))[0], now)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


BLOCKING = (LockMode.SHARE, LockMode.SHARE_ROW_EXCLUSIVE, LockMode.EXCLUSIVE, LockMode.ACCESS_EXCLUSIVE)
"""What keeps writers waiting."""


def carried_out(migration: Migration, step: Step, url: str) -> tuple[Holds, float]:
    """Carry out a step, and say what was held meanwhile and how long it took; what blocks too long, once more."""
    budget = migration.engine.limits.lock_budget / 1000
    for tries in range(TRIES):
        if tries:
            migration.back(step)
        started = time.monotonic()
        with watched(url) as holds:
            migration.forward(step)
        if holds.longest(*BLOCKING) < budget:
            break
    return holds, time.monotonic() - started


def test_a_lock_that_blocks_writers_is_held_for_less_than_the_budget(conn: Connection, url: str) -> None:
    """One step of each kind; whatever takes longer holds nothing that would keep anybody from writing."""
    conn.execute(SCHEMA.encode())
    migration = Migration(url, OPERATIONS, batch_rows=5000)
    migration.begin()
    assert migration.plan is not None
    budget = migration.engine.limits.lock_budget / 1000
    strength = list(LockMode)
    scanned: list[float] = []
    for step in (step for phase in (*BEFORE_SWAP, Phase.SWAP) for step in migration.plan.phase(phase)):
        holds, seconds = carried_out(migration, step, url)
        said = max((strength.index(lock.mode) for lock in locks_of(step)), default=-1)
        surprising = [mode for mode in holds.modes if mode not in HARMLESS and strength.index(mode) > said]
        assert surprising == [], step.key
        assert holds.longest(*BLOCKING) < budget, step.key
        match held_of(step):
            case Held.SCAN:
                assert not holds.modes & {*BLOCKING}, step.key
                scanned.append(holds.longest(LockMode.SHARE_UPDATE_EXCLUSIVE))
            case Held.BATCH:
                assert len(holds.times) > 2, step.key
                assert holds.longest(LockMode.ROW_EXCLUSIVE) < seconds / 2, step.key
    assert max(scanned) > budget, "the table is too small to tell a moment from a scan"
