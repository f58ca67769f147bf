"""A batch that is tried again: the cursor must move once for it."""

import threading
import time

import psycopg

from profiles.model import Limits
from tasks.engines.postgresql.backfill import Shard, fill
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.key_ranges import Key
from tasks.model.steps import Assignment, Backfill

ACTION = Backfill(
    table="public.things",
    key=("id",),
    key_types=("bigint",),
    assignments=(Assignment(column="b", type="bigint", expression="a"),),
    alias="things",
)


def test_a_batch_that_met_a_locked_row_counts_once(database: str) -> None:
    """Its first tries are rolled back, with the move of the cursor: the next try begins from the same count."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("create table things (id bigint primary key, a bigint, b bigint)")
        conn.execute("insert into things (id, a) select n, n from generate_series(1, 50) as n")
        conn.execute("create table position (batches bigint, tries bigint)")
        conn.execute("insert into position values (0, 0)")
    tries = 0

    def checkpoint(done: int, conn: psycopg.Connection, _position: Key, _rows: int, _size: int) -> None:
        nonlocal tries
        tries += 1
        moved = conn.execute("update position set batches = batches + 1 where batches = %s", (done,))
        assert moved.rowcount == 1

    with psycopg.connect(database) as application, connect(database, application_name="fill") as conn:
        application.execute("update things set a = 7 where id = 25")

        def let_go() -> None:
            time.sleep(0.6)
            application.commit()

        thread = threading.Thread(target=let_go)
        thread.start()
        filled = fill(conn, ACTION, Shard(position=None, high=("50",), batch_rows=10), Limits(batch_rows=10),
                      checkpoint, lambda size: size)  # fmt: skip
        thread.join()
        batches = conn.execute("select batches from position").fetchone()
        wrong = conn.execute("select count(*) from things where b is distinct from a").fetchone()
    assert filled == 50
    assert wrong == (0,)
    assert batches is not None
    assert tries > batches[0] >= 5
