"""A view that applications read all the time does not keep a shadow table from taking its table's place."""

import re
import threading
from contextlib import ExitStack

import psycopg
import pytest

from tasks.engines.postgresql.inspect import inspect
from tasks.engines.postgresql.planning.shadow import obstacles
from tasks.engines.postgresql.planning.shadow.readers import locks
from tasks.model.errors import PreflightError, StepError
from tasks.model.steps import Phase, ShortTransaction
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


def test_a_view_is_locked_before_those_that_it_reads(conn: Connection, url: str) -> None:
    """Whatever they are called, and whatever stands between; so is a table whose rule reaches one of them."""
    conn.execute(SCHEMA.encode())
    conn.execute(
        "create view a as select id, n from t; create view b as select a.id, t.n from a join t using (id);"
        "create view between as select * from b; create view c as select id, t.n from between join t using (id);"
        "create table log (a int); create rule r as on insert to log do also update c set id = 1 where id < 0;"
        "create rule reaches as on delete to log do also update t set n = 1;"
        "create rule instead as on update to c do instead nothing"
    )
    migration = Migration(url, REBUILD, strategy="shadow_table", lock_patience=60.0)
    migration.begin()
    assert migration.plan is not None
    action = migration.plan.phase(Phase.SWAP)[0].action
    assert isinstance(action, ShortTransaction)
    for announced in (action.locks, action.inverse_locks or ()):
        order = [lock.table for lock in announced if lock.by and lock.table != "public.v"]
        assert order == [f"public.{name}" for name in ("log", "c", "b", "a")]
    migration.before_swap()
    over, failed = threading.Event(), list[str]()
    with ExitStack() as stack:
        stack.callback(over.set)
        for view in "bbc":
            reader = threading.Thread(target=read, args=(url, view, over, failed))
            reader.start()
            stack.callback(reader.join)
        stack.callback(over.set)
        migration.swap()
        migration.roll_back()
    assert failed == []


@pytest.mark.parametrize(
    ("gone", "there"),
    [
        ("drop view v cascade", True),
        ("drop view v cascade", False),
        ('drop schema "s.1" cascade', True),
        ("drop table log", False),
    ],
)
def test_what_is_gone_at_the_swap_is_named(gone: str, there: bool, conn: Connection, url: str) -> None:
    """There, and on the way back: nothing is made that somebody has dropped."""
    conn.execute(SCHEMA.encode())
    conn.execute(
        'create schema "s.1"; create view "s.1".x as select n from t; create table log (a int);'
        "create rule r as on insert to log do also update t set n = 1"
    )
    migration = Migration(url, REBUILD, strategy="shadow_table")
    migration.begin()
    migration.before_swap()
    if not there:
        migration.swap()
    conn.execute(gone.encode())
    with pytest.raises(StepError, match=r"is not what the plan was made for: .* is gone"):
        migration.run(Phase.SWAP) if there else migration.roll_back_steps()


RIGHTS = """
create role maker; grant create on schema public to maker; create schema s; grant usage on schema s to maker;
do $$ begin execute format('grant create on database %I to maker', current_database()); end $$;
create table t (id int primary key, n int); alter table t owner to maker;
"""
MADE_AGAIN = {
    "view": (
        "create view s.v as select n from t; alter view s.v owner to maker",
        "in the schema s, where the view s.v is made again",
    ),
    "function": (
        "create function s.f() returns bigint begin atomic select count(*) from t; end;"
        "alter function s.f() owner to maker",
        "in the schema s, where the function s.f() is made again",
    ),
    "view of another": ("create view v as select n from t", "the view public.v is made again at the swap, and is not"),
    "rule of another": (
        "create table o (a int); create rule r as on insert to o do also update t set n = 1",
        "the table public.o is made again at the swap, and is not",
    ),
    "rule": (
        "create table s.o (a int); create rule r as on insert to s.o do also update t set n = 1;"
        "alter table s.o owner to maker",
        "",
    ),
}


@pytest.mark.parametrize("name", MADE_AGAIN)
def test_who_may_not_make_it_again_is_told_before_anything_is_done(name: str, conn: Connection) -> None:
    """To make a rule again, and to lock its table, needs no right in the schema."""
    more, refused = MADE_AGAIN[name]
    with conn.transaction(force_rollback=True):
        conn.execute((RIGHTS + more).encode())
        conn.execute("set local role maker")
        table = inspect(conn, ["public.t"], "public").tables[0]
        if refused:
            with pytest.raises(PreflightError, match=re.escape(refused)):
                obstacles.of_table(conn, table)
            return
        obstacles.of_table(conn, table)
        announced = list(locks(conn, table))
        assert [lock.table for lock in announced] == ["s.o"]
        for lock in announced:
            conn.execute(lock.by.encode())
