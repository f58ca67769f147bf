"""A view that applications read all the time does not keep a shadow table from taking its table's place."""

import threading
from contextlib import ExitStack

import psycopg
import pytest

from tests.conformance.drive import Connection, Migration
from tests.conformance.test_locks_announced import surprises

SCHEMA = """
create table t (id int primary key, n int); create table other (id int primary key);
insert into t select i, i from generate_series(1, 20) i; insert into other select i from generate_series(1, 20) i;
create view v as select t.id, t.n from t join other using (id);
create view w as select id, n from v where n > 3;
"""
REBUILD = [{"rebuild_table": {"table": "t"}}]


def read(url: str, view: str, over: threading.Event, failed: list[str]) -> None:
    """Read through a view until it is over; each statement holds its locks for a while."""
    with psycopg.connect(url, autocommit=True) as conn:
        while not over.is_set():
            try:
                conn.execute(f"select count(n), pg_sleep(0.02) from {view}".encode())
            except psycopg.Error as error:
                failed.append(str(error))


def test_readers_through_views_do_not_starve_the_swap(conn: Connection, url: str) -> None:
    """A statement locks the view before the table, and so does the swap, there and back."""
    conn.execute(SCHEMA.encode())
    migration = Migration(url, REBUILD, strategy="shadow_table", lock_patience=60.0)
    migration.begin()
    migration.before_swap()
    over, failed = threading.Event(), list[str]()
    with ExitStack() as stack:
        stack.callback(over.set)
        readers = [threading.Thread(target=read, args=(url, view, over, failed)) for view in "vwvw"]
        for reader in readers:
            reader.start()
            stack.callback(reader.join)
        stack.callback(over.set)
        migration.swap()
        migration.roll_back()
    assert failed == []


@pytest.mark.parametrize("way", ["back after the swap", "to the end"])
def test_no_lock_is_a_surprise(way: str, conn: Connection, url: str) -> None:
    """Of views, and of tables whose rules reach the table, whatever they are called; but for what is our own."""
    conn.execute(SCHEMA.encode())
    conn.execute(
        'create schema "s.1"; create view "s.1"."V ""x" as select n from t;'
        'create table "l.og" (a int); create rule "r as on" as on insert to "l.og" do also update t set n = 1;'
        "create rule own as on delete to t do also delete from other"
    )
    migration = Migration(url, REBUILD, strategy="shadow_table")
    migration.begin()
    found = [one for one in surprises(migration, way, url) if not one.partition(": ")[2].startswith("_changeover_")]
    assert found == []
