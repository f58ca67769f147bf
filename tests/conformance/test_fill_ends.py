"""What fills ends, however fast others insert behind it: how far it goes is settled when it begins."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tasks.engines.records import Key, Shard
from tasks.model.steps import Backfill, Copy, Phase
from tests.conformance.drive import Connection, Migration

ROWS = 2000
TABLE = f"""
create table t (a int, b int, n int, primary key (a, b));
insert into t select i / 10, i, i from generate_series(1, {ROWS}) i;
"""
WIDEN = {"alter_column": {"table": "t", "column": "n", "type": "bigint", "up": "n", "down": "n"}}


@contextmanager
def inserting(url: str) -> Iterator[Callable[[int], int]]:
    """Append rows; gives what waits, between two batches, until more have come than a batch has."""
    over, come = threading.Event(), threading.Semaphore(0)

    def insert() -> None:
        with psycopg.connect(url, autocommit=True) as conn:
            # Not for ever: a backfill without an end of its own would go on for as long.
            for _ in range(100):
                if not over.is_set():
                    conn.execute(
                        "insert into t select b / 10, b, b from (select i + (select max(b) from t) as b"
                        " from generate_series(1, 400) i) as coming"
                    )
                come.release()

    def outrun(size: int) -> int:
        come.acquire(timeout=10)
        return size

    writer = threading.Thread(target=insert)
    writer.start()
    try:
        yield outrun
    finally:
        over.set()
        writer.join()


@pytest.mark.parametrize("strategy", ["expand_contract", "shadow_table"])
def test_it_ends_while_rows_come_faster_than_it_goes(strategy: str, conn: Connection, url: str) -> None:
    """It deals with the rows that were there, and dual write with all that come."""
    conn.execute(TABLE.encode())
    migration = Migration(url, [WIDEN], strategy=strategy, batch_rows=5000)
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE)
    assert migration.plan is not None
    [action] = [s.action for s in migration.plan.phase(Phase.BACKFILL) if isinstance(s.action, Backfill | Copy)]
    batches: list[int] = []

    def checkpoint(_done: int, _conn: Connection, _position: Key, rows: int, _size: int) -> None:
        batches.append(rows)

    ranges = migration.engine.shards(action, 2)
    with inserting(url) as outrun:
        for low, high in ranges:
            assert high is not None
            migration.engine.fill(action, Shard(position=low, high=high, batch_rows=100), checkpoint, outrun)
        there = conn.execute("select count(*) from t").fetchone()
    assert there is not None
    assert there[0] > 2 * ROWS, "the backfill was faster"
    assert sum(batches) == ROWS
    migration.run(Phase.BACKFILL, Phase.INDEX, Phase.RECONCILE)
    migration.pass_gate("before_swap")
