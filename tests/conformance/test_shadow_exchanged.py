"""Unique values that change places, in more rows than are carried over at once, before the swap and after it."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from tasks.engines.postgresql.drain import FIRST_NOTES
from tasks.model.errors import LockTimeoutError
from tasks.model.steps import Phase, ShortTransaction, Step
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_shadow_notes import noted, strict
from tests.conformance.test_shadow_writers import finish, rebuilt, rows
from tests.legs import EVERY_LEG
from tests.servers.remains import soon

MANY = 16_000 if EVERY_LEG else FIRST_NOTES + 101
SCHEMA = f"""
create table t (id int primary key, k int, x text default 'new', constraint u unique (k) deferrable);
insert into t select i, i, 'x' || i from generate_series(1, {MANY}) i;
"""
WITHOUT_X = [{"drop_column": {"table": "t", "column": "x"}}]
NOT_UNIQUE = [{"drop_constraint": {"table": "t", "name": "u"}}]
MIRRORED = f"update t set k = {MANY + 1} - k"
TURNED = f"update t set k = k % {MANY} + 1"
REJECTED = "select direction, sqlstate from changeover.rejections"


def the_swap(migration: Migration) -> Step:
    """Return that step."""
    assert migration.plan is not None
    (swap,) = (step for step in migration.plan.steps if step.key == "swap/all")
    return swap


def settle(migration: Migration) -> None:
    """Carry back what is noted, as a rollback does before it asks what it would lose."""
    migration.engine.settle(the_swap(migration), lambda _: None)


def test_more_rows_than_are_carried_at_once_change_places(conn: Connection, url: str) -> None:
    """Each with one far away, and all in a circle. What only the old table has comes back with its row."""
    migration = rebuilt(conn, url, SCHEMA, WITHOUT_X)
    migration.run(Phase.BACKFILL, Phase.INDEX)
    conn.execute(MIRRORED.encode())
    assert noted(conn) > 2 * FIRST_NOTES
    finish(migration)
    assert rows(conn, f"select count(*) from t where k = {MANY + 1} - id") == [(MANY,)]
    conn.execute(TURNED.encode())
    with strict(url) as other:
        other.execute("delete from t where id = 7")
        other.execute("insert into t values (-1, -1)")
    settle(migration)
    assert rows(conn, REJECTED) == []
    conn.execute(TURNED.encode())
    wanted = rows(conn, "select id, k from t order by id")
    migration.roll_back()
    assert rows(conn, "select id, k from t order by id") == wanted
    assert rows(conn, "select id, x from t where x is distinct from 'x' || id") == [(-1, "new")]


def test_what_keeps_a_row_out_may_be_locked_or_be_there_to_stay(conn: Connection, url: str) -> None:
    """The first waits for its turn; the other is refused, alone, and is what it was if the loss is accepted.

    One that goes just before it is refused does not come back with what was put aside.
    """
    migration = rebuilt(conn, url, SCHEMA, NOT_UNIQUE)
    finish(migration)
    conn.execute("update t set k = 3 - k where id < 3; update t set k = id - 2 where id between 7 and 8")
    assert rows(conn, REJECTED) == [], "nobody knows yet whether it can stay"
    with psycopg.connect(url) as other:
        other.execute("select from t where id = 2 for update")
        settle(migration)
        assert rows(conn, REJECTED) == []
    ((function,),) = rows(conn, "select pg_get_functiondef(oid) from pg_proc where proname like 'shadow_down_drain%'")
    before_it_fails = "select coalesce(min("
    conn.execute(function.replace(before_it_fails, f"perform pg_sleep(1); {before_it_fails}").encode())
    action = the_swap(migration).action
    assert isinstance(action, ShortTransaction)
    call = action.inverse_before.format(most=500, after=0)
    with psycopg.connect(url, autocommit=True) as other, ThreadPoolExecutor() as pool:
        calling = pool.submit(other.execute, call.encode())
        assert soon(lambda: conn.execute("select from pg_stat_activity where wait_event = 'PgSleep'").rowcount > 0)
        conn.execute("delete from t where id = 7")
        calling.result(20)
    conn.execute(function.encode())
    settle(migration)
    assert rows(conn, REJECTED) == [("down", "23505")]
    conn.execute("update t set k = 5 where id = 9; update t set k = 9 where id = 12")
    settle(migration)
    conn.execute("delete from t where id = 9; insert into t values (9, 5); delete from t where id = 12")
    conn.execute("update t set k = 21 - k where id between 10 and 11")
    migration.roll_back_steps()
    changed = "select id, k from t where id <> k or id between 7 and 9 order by id"
    assert rows(conn, changed) == [(1, 2), (2, 1), (8, 8), (10, 11), (11, 10)]


def test_who_comes_while_others_are_refused_waits_for_his_turn(conn: Connection, url: str) -> None:
    """In one call: that nobody was in the way of the first ones does not tell that nobody is later."""
    migration = rebuilt(conn, url, SCHEMA, NOT_UNIQUE)
    finish(migration)
    conn.execute("update t set k = 3 - k where id < 3; update t set k = id - 2 where id between 7 and 8")
    with psycopg.connect(url) as other:
        other.execute("select from t where id = 2 for update")
        settle(migration)
    conn.execute("update t set k = 7 where id = 6")
    in_old = "pg_class where relname = 't' and relnamespace::regnamespace::text like '%old%'"
    ((old,),) = rows(conn, f"select oid::regclass::text from {in_old}")
    action = the_swap(migration).action
    assert isinstance(action, ShortTransaction)
    call = action.inverse_before.format(most=500, after=0)
    with psycopg.connect(url) as other, psycopg.connect(url, autocommit=True) as drain, ThreadPoolExecutor() as pool:
        other.execute(f"insert into {old} (id, k) values (-1, 6)".encode())
        calling = pool.submit(drain.execute, call.encode())
        assert soon(lambda: conn.execute("select from pg_locks where not granted").rowcount > 0)
        with strict(url) as exchanging:
            exchanging.execute("update t set k = 21 - k where id between 10 and 11")
        with psycopg.connect(url) as locking:
            locking.execute("select from t where id = 11 for update")
            other.commit()
            calling.result(20)
    settle(migration)
    assert rows(conn, REJECTED) == [("down", "23505")] * 2
    assert rows(conn, f"select id, k from {old} where id between 10 and 11 order by id") == [(10, 11), (11, 10)]


def test_a_row_whose_place_another_one_has_is_not_lost(conn: Connection, url: str) -> None:
    """Whatever is accepted: it stays aside, with what only the old table has, until it fits."""
    schema = SCHEMA.split("insert")[0] + "insert into t select i, i, 'x' || i from generate_series(5, 8) i"
    migration = rebuilt(conn, url, schema, [*WITHOUT_X, *NOT_UNIQUE])
    finish(migration)
    conn.execute("update t set k = 5 where id = 7")
    action = the_swap(migration).action
    assert isinstance(action, ShortTransaction)
    assert rows(conn, action.inverse_before.format(most=2, after=0)) == [(1, 2, 2, 1)]
    in_old = "pg_class where relname = 't' and relnamespace::regnamespace::text like '%old%'"
    ((old,),) = rows(conn, f"select oid::regclass::text from {in_old}")
    with psycopg.connect(url) as other:
        other.execute(f"insert into {old} (id, k) values (-1, 7)".encode())
        conn.execute("set lock_timeout = '50ms'")
        assert rows(conn, action.inverse_before.format(most=5, after=0)) == [(0, 3, 3, 0)], "it cannot come back yet"
        conn.execute("reset lock_timeout")
        other.rollback()
    conn.execute("update t set k = 7 where id = 8")
    settle(migration)
    place = "every row of public.t has a place in the old table, which another row may have by now"
    assert migration.before_rollback() == [place]
    with pytest.raises(psycopg.IntegrityError, match="rows cannot be carried over"):
        migration.revert("swap/all")
    conn.execute("update t set k = 9 where id = 7")
    migration.roll_back()
    assert rows(conn, "select * from t order by id") == [(5, 5, "x5"), (6, 6, "x6"), (7, 9, "x7"), (8, 7, "x8")]


def test_a_row_that_is_noted_once_more_keeps_out_no_other(conn: Connection, url: str) -> None:
    """Its first note goes for the second one, which comes after the row that wants its place."""
    migration = rebuilt(conn, url, SCHEMA, NOT_UNIQUE)
    finish(migration)
    with strict(url) as other:
        other.execute("update t set k = 1 + id % 3 where id < 4")
    action = the_swap(migration).action
    assert isinstance(action, ShortTransaction)
    assert rows(conn, action.inverse_before.format(most=2, after=0)) == [(1, 2, 6, 1)]
    with strict(url) as other:
        other.execute("update t set x = 'y' where id = 2")
    settle(migration)
    assert rows(conn, REJECTED) == []
    migration.roll_back()
    assert rows(conn, "select id, k from t where id <> k order by id") == [(1, 2), (2, 3), (3, 1)]


def test_a_way_back_that_is_kept_from_the_notes_says_so(conn: Connection, url: str) -> None:
    migration = rebuilt(conn, url, "create table t (id int primary key)")
    finish(migration)
    hasty = migration.engine.limits.model_copy(update={"lock_patience": 0.1, "lock_budget": 100})
    migration.engine = replace(migration.engine, limits=hasty)
    action = the_swap(migration).action
    assert isinstance(action, ShortTransaction)
    with strict(url) as other:
        other.execute("insert into t values (1)")
    with psycopg.connect(url) as other:
        table = action.inverse_written.split(" from ")[1]
        other.execute(f"lock table {table} in share mode".encode())
        with pytest.raises(LockTimeoutError, match="cannot be carried over within the lock budget") as refused:
            settle(migration)
    assert "roll back again" in refused.value.hint
    settle(migration)
    migration.roll_back()
    assert rows(conn, "select id from t") == [(1,)]


@pytest.mark.every_leg
def test_a_statement_takes_as_long_as_it_has_rows(conn: Connection, url: str) -> None:
    """Not with the square of their number, where each row has something that is checked at the commit."""
    schema = f"""
    create table p (id int primary key); insert into p values (1), (2);
    create table t (id int primary key, f int references p deferrable initially deferred, k int unique deferrable);
    insert into t select i, 1, i from generate_series(1, {MANY}) i;
    """
    rebuilt(conn, url, schema)
    took = []
    for rows_ in (MANY // 8, MANY):
        started = time.monotonic()
        conn.execute(f"update t set f = 3 - f where id <= {rows_}".encode())
        took.append(time.monotonic() - started)
    assert took[1] < 14 * took[0]
