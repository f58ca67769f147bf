"""Where a walk along a key is cut for several workers: every key once, and chosen from a sample."""

from typing import Any

import psycopg
import pytest

from tasks.engines.postgresql.key_ranges import SAMPLE_PAGES, shard
from tasks.engines.records import Key
from tasks.model.steps import Assignment, Backfill

WALK = Backfill(
    table="public.things",
    key=("id",),
    key_types=("bigint",),
    assignments=(Assignment(column="b", type="bigint", expression="id"),),
    alias="things",
)
ROWS = 6 * SAMPLE_PAGES
"""Of one page each."""


@pytest.mark.parametrize("partitions", ["", "partition by hash (id)"])
def test_bounds_come_from_a_sample(database: str, partitions: str) -> None:
    with psycopg.connect(database) as conn:
        conn.execute(f"create table things (id bigint primary key, b bigint) {partitions}".encode())
        for number in range(2 if partitions else 0):
            conn.execute(
                f"create table things_{number} partition of things for values with (modulus 2, remainder {number})"
                " with (fillfactor = 10)".encode()
            )
        if not partitions:
            conn.execute("alter table things set (fillfactor = 10)")
        conn.execute(f"insert into things select n, n from generate_series(1, {20 * ROWS}) as n".encode())
        conn.execute("analyze things")
        conn.commit()
        read = "select sum(pg_stat_get_xact_tuples_returned(oid)) from pg_class where relname like 'things%'"
        before = conn.execute(read).fetchone()
        ranges = shard(conn, WALK, 4)
        after = conn.execute(read).fetchone()
        counts = [_rows(conn, low, high) for low, high in ranges]
    assert before is not None
    assert after is not None
    assert after[0] - before[0] < 20 * ROWS / 2
    assert len(counts) == 4
    assert sum(counts) == 20 * ROWS


def _rows(conn: psycopg.Connection[Any], low: Key | None, high: Key | None) -> int:
    assert high is not None
    row = conn.execute(
        "select count(*) from things where id > %s and id <= %s", (low[0] if low else 0, high[0])
    ).fetchone()
    return int(row[0]) if row else 0
