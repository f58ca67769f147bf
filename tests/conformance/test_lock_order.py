"""Locks on several tables, where applications write them in another order: they are no victims of a deadlock."""

import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.conformance.drive import Connection, Migration

TABLES = ("a", "b", "c")
SCHEMA = "".join(
    f"create table {one} (id int primary key, n int); insert into {one} select i, i from generate_series(1, 60) i;"
    for one in TABLES
)
OPERATIONS = [
    {"alter_column": {"table": one, "column": "n", "type": "bigint", "up": "n", "down": "n"}}
    for one in reversed(TABLES)
]
CROSSED = """
select exists (
  select from pg_locks waits join pg_locks holds using (pid)
  where waits.relation = 'c'::regclass and not waits.granted and holds.relation = 'a'::regclass and holds.granted)
"""


def crosses(conn: Connection, other: Connection) -> bool:
    """Write the last table and then the first; tell whether somebody had the first by then, and waited for the last."""
    with conn.transaction():
        conn.execute("update c set n = n + 1 where id = 1")
        deadline = time.monotonic() + 0.2
        while not (crossed := other.execute(CROSSED).fetchone() == (True,)) and time.monotonic() < deadline:
            time.sleep(0.002)
        # Later than the other one looks for a deadlock: from then on only this one would find it.
        time.sleep(0.12 if crossed else 0)
        conn.execute("update a set n = n + 1 where id = 1")
        return crossed


def test_who_writes_tables_in_another_order_is_no_victim(conn: Connection, url: str) -> None:
    """There and back; on a server that looks for deadlocks before the lock budget is over."""
    database = sql.Identifier(urlsplit(url).path[1:])
    conn.execute(sql.SQL("alter database {} set deadlock_timeout = '80ms'").format(database))
    conn.execute(SCHEMA.encode())
    migration = Migration(url, OPERATIONS)
    migration.begin()
    migration.before_swap()

    def under_writers(act: Callable[[], None]) -> None:
        ours = threading.Thread(target=act)
        ours.start()
        while not crosses(application, conn):
            assert ours.is_alive(), "they have not met"
            time.sleep(0.05)
        ours.join()

    with psycopg.connect(url, autocommit=True) as application:
        under_writers(migration.swap)
        assert migration.swapped
        under_writers(migration.roll_back_steps)
    rows = conn.execute("select n from a where id < 3 order by id").fetchall()
    assert rows == conn.execute("select n from c where id < 3 order by id").fetchall() != [(1,), (2,)]
