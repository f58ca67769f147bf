"""Applications that write throughout a migration by shadow table: nothing is lost, doubled, stale or brought back."""

import threading
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from tasks.engines.records import Shard
from tasks.model.steps import Copy, Phase
from tests.conformance import tables
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.test_writers_twin import OLD, TABLE, assert_same
from tests.conformance.writers import Writers
from tests.servers.remains import soon

OPERATIONS: list[dict[str, Any]] = [
    {"alter_column": {"table": "t", "column": "id", "type": "bigint"}},
    {"alter_column": {"table": "t", "column": "n", "type": "bigint"}},
    {"rebuild_table": {"table": "t", "columns": ["n", "id", "note", "a", "full_name"]}},
]


def test_writers_through_swap_rollback_and_contract(conn: Connection, url: str) -> None:
    """They never notice: not the copy, not the swap, not the way back, not the second run to the end."""
    for name in ("t", "twin"):
        conn.execute(TABLE.replace("{t}", name).encode())
    before = tables.catalogue(conn)
    migration = Migration(url, OPERATIONS, batch_rows=50, strategy="shadow_table", lock_patience=60.0)
    with Writers(url, "old") as writers:
        migration.begin()
        for phase in BEFORE_SWAP:
            migration.run(phase)
            writers.work(8)
        migration.pass_gate("before_swap")
        migration.swap()
        writers.work(25)
        migration.pass_gate("after_swap")
    assert_same(conn, OLD, OLD)
    with Writers(url, "old") as writers:
        migration.roll_back()
        writers.work(12)
    assert_same(conn, OLD, OLD)
    assert tables.catalogue(conn) == before
    assert tables.leftovers(conn) == []
    with Writers(url, "old") as writers:
        migration.begin()
        migration.before_swap()
        writers.work(12)
        migration.swap()
        migration.contract()
        writers.work(12)
    assert_same(conn, OLD, OLD)
    assert tables.leftovers(conn) == []


REBUILD = [{"rebuild_table": {"table": "t"}}]


def rebuilt(conn: Connection, url: str, schema: str, operations: list[dict[str, Any]] = REBUILD) -> Migration:
    """Begin, and go as far as dual write."""
    conn.execute(schema.encode())
    migration = Migration(url, operations, strategy="shadow_table")
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE)
    return migration


def finish(migration: Migration) -> None:
    """Go on to the swap."""
    migration.run(Phase.BACKFILL, Phase.INDEX, Phase.RECONCILE)
    migration.pass_gate("before_swap")
    migration.run(Phase.CONSTRAIN)
    migration.swap()


def rows(conn: Connection, statement: str = "select * from t order by 1, 2") -> list[tuple[Any, ...]]:
    """Return rows."""
    return conn.execute(statement.encode()).fetchall()


def test_null_written_during_the_copy_is_null(conn: Connection, url: str) -> None:
    # pg-osc replays an UPDATE to NULL as the string, or leaves the old value.
    migration = rebuilt(
        conn, url, "create table t (id int primary key, a text); insert into t values (1, 'x'), (2, 'y')"
    )
    conn.execute("update t set a = null where id = 1")
    finish(migration)
    assert rows(conn) == [(1, None), (2, "y")]


def test_delete_by_composite_key_deletes_one_row(conn: Connection, url: str) -> None:
    # pg-osc deletes by the first column of the key, and with it every row that shares it.
    schema = "create table t (a int, b int, primary key (a, b));"
    schema += "insert into t select i / 10, i % 10 from generate_series(0, 99) i"
    migration = rebuilt(conn, url, schema)
    migration.run(Phase.BACKFILL)
    conn.execute("delete from t where a = 3 and b = 4")
    finish(migration)
    assert rows(conn, "select count(*), count(*) filter (where a = 3) from t") == [(99, 9)]


def test_a_transaction_of_5000_rows_in_flight_at_the_swap_arrives_whole(conn: Connection, url: str) -> None:
    # pg-osc replays as many rows as a batch has, swaps, and drops the others.
    migration = rebuilt(conn, url, "create table t (id int primary key, a text); insert into t values (0, 'x')")
    migration.run(Phase.BACKFILL, Phase.INDEX, Phase.RECONCILE)
    migration.pass_gate("before_swap")
    with psycopg.connect(url) as other:
        other.execute("insert into t select i, 'y' from generate_series(1, 5000) i")
        assert migration.blocked_swap()
        other.commit()
    finish(migration)
    assert rows(conn, "select count(*) from t") == [(5001,)]
    migration.roll_back()
    assert rows(conn, "select count(*) from t") == [(5001,)]


def test_a_row_deleted_beside_the_copy_does_not_come_back(conn: Connection, url: str) -> None:
    # pt-online-schema-change and pg-osc bring it back, when the delete commits between reading and writing it.
    schema = "create table t (id int primary key, a text); insert into t select i, 'x' from generate_series(1, 20) i"
    migration = rebuilt(conn, url, schema)
    with psycopg.connect(url) as other:
        other.execute("delete from t where id between 5 and 8")
        assert migration.blocked_copy()
        other.commit()
    finish(migration)
    assert [row[0] for row in rows(conn)] == [1, 2, 3, 4, *range(9, 21)]


def test_a_row_deleted_by_a_transaction_that_cannot_see_its_copy_does_not_come_back(conn: Connection, url: str) -> None:
    # Every peer with triggers: at REPEATABLE READ the trigger does not see what was copied since.
    schema = "create table t (id int primary key, a text); insert into t select i, 'x' from generate_series(1, 20) i"
    migration = rebuilt(conn, url, schema)
    with psycopg.connect(url) as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.execute("select count(*) from t")
        migration.run(Phase.BACKFILL)
        other.execute("delete from t where id = 5")
        other.execute("update t set a = 'z' where id = 6")
        other.execute("update t set id = 100 where id = 7")
        other.commit()
    finish(migration)
    assert rows(conn, "select * from t where id in (5, 6, 7, 100) order by id") == [(6, "z"), (100, "x")]
    with psycopg.connect(url) as other:
        other.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        other.execute("delete from t where id = 6")
        other.commit()
    migration.roll_back()
    assert rows(conn, "select * from t where id in (5, 6, 7, 100) order by id") == [(100, "x")]


def test_a_row_that_dual_write_brings_while_the_copy_comes_to_it_stays(conn: Connection, url: str) -> None:
    """The copy found the shadow empty, waits for the row of somebody else, and then lets it be."""
    schema = "create table t (id int primary key, a text); insert into t select i, 'x' from generate_series(1, 20) i"
    migration = rebuilt(conn, url, schema)
    with psycopg.connect(url) as other:
        other.execute("update t set a = 'z' where id in (5, 17)")
        pid = other.info.backend_pid
        copy = threading.Thread(target=migration.run, args=(Phase.BACKFILL,))
        copy.start()
        waits = "select from pg_stat_activity where %s = any (pg_blocking_pids(pid))"
        waited = soon(lambda: conn.execute(waits, (pid,)).fetchone() is not None, seconds=30)
        other.commit()
        copy.join()
    assert waited
    conn.execute("update t set a = 'w' where id = 18")
    finish(migration)
    assert rows(conn, "select id, a from t where a <> 'x' order by 1") == [(5, "z"), (17, "z"), (18, "w")]
    assert rows(conn, "select count(*) from t") == [(20,)]


def test_a_value_that_has_the_name_of_a_column_of_the_key_changes_no_order(conn: Connection, url: str) -> None:
    """Two columns of the new table come from `id`, and the server calls both values so."""
    text = {"add_column": {"table": "t", "column": {"name": "b", "type": "text", "nullable": True}, "up": "id::text"}}
    migration = rebuilt(conn, url, "create table t (id int primary key); insert into t values (2), (10)", [text])
    finish(migration)
    assert rows(conn) == [(2, "2"), (10, "10")]


def test_values_that_do_not_fit_are_refused_and_the_application_is_not(conn: Connection, url: str) -> None:
    # pt-online-schema-change and gh-ost lose rows whose shortened values meet under a unique key.
    schema = "create table t (id int primary key, a varchar(9) unique); insert into t values (1, 'abcd')"
    cut = {"type": "varchar(3)", "up": "left(a, 3)", "down": "a", "lossy": True}
    migration = rebuilt(conn, url, schema, [{"alter_column": {"table": "t", "column": "a", **cut}}])
    migration.run(Phase.BACKFILL, Phase.INDEX)
    conn.execute("insert into t values (2, 'abce')")
    assert rows(conn, "select count(*) from t") == [(2,)]
    with pytest.raises(Exception, match=r"1 rows of .* cannot be carried over"):
        migration.run(Phase.RECONCILE)
    conn.execute("update t set a = 'b' where id = 2")
    finish(migration)
    assert rows(conn) == [(1, "abc"), (2, "b")]


@pytest.mark.parametrize(
    "operation",
    [
        {"create_index": {"table": "t", "name": "i", "columns": [{"expression": "(a::int)"}]}},
        {"create_index": {"table": "t", "name": "i", "columns": ["a"]}},
        {"alter_column": {"table": "t", "column": "g", "generated": {"expression": "100 / length(a)"}}},
    ],
)
def test_what_an_index_or_an_expression_refuses_is_taken_and_noted(
    operation: dict[str, Any], conn: Connection, url: str
) -> None:
    """A text that is empty, and one that is larger than an index takes."""
    schema = "create table t (id int primary key, a text, g int); insert into t values (1, '4', 100)"
    migration = rebuilt(conn, url, schema, [operation])
    migration.run(Phase.BACKFILL, Phase.INDEX)
    for number, value in enumerate(("''", "(select string_agg(md5(i::text), '') from generate_series(1, 400) i)")):
        conn.execute(f"insert into t values ({number + 2}, {value}, 0)".encode())
    assert rows(conn, "select count(*) from t") == [(3,)]
    with pytest.raises(Exception, match=r"rows of .* cannot be carried over"):
        migration.run(Phase.RECONCILE)
    conn.execute("update t set a = '5', g = 100 where id > 1")
    finish(migration)
    assert rows(conn, "select id, a from t order by id") == [(1, "4"), (2, "5"), (3, "5")]


def test_truncate_reaches_the_other_table_on_both_sides_of_the_swap(conn: Connection, url: str) -> None:
    migration = rebuilt(conn, url, "create table t (id int primary key); insert into t select generate_series(1, 20)")
    migration.run(Phase.BACKFILL)
    conn.execute("truncate t; insert into t values (7)")
    finish(migration)
    assert rows(conn, "select id from t") == [(7,)]
    conn.execute("truncate t; insert into t values (8)")
    migration.roll_back()
    assert rows(conn, "select id from t") == [(8,)]


def test_the_row_itself_has_the_last_word_over_triggers_of_others(conn: Connection, url: str) -> None:
    schema = """
    create table t (id int primary key, a text, g text generated always as (upper(a)) stored);
    insert into t values (1, 'x'), (2, 'y');
    create function again() returns trigger language plpgsql as $$ begin
      if pg_trigger_depth() = 1 then update t set a = a || '!' where id in (1, 2); end if; return null; end $$;
    create trigger aaa after update on t for each row execute function again();
    create trigger zzzz after update on t for each row execute function again();
    """
    migration = rebuilt(conn, url, schema)
    migration.run(Phase.BACKFILL)
    conn.execute("update t set a = 'n' || id")
    wanted = rows(conn)
    finish(migration)
    assert rows(conn) == wanted
    conn.execute("update t set a = 'm' || id")
    wanted = rows(conn)
    migration.roll_back()
    assert rows(conn) == wanted


def test_what_the_old_table_cannot_hold_keeps_a_rollback_from_losing_it(conn: Connection, url: str) -> None:
    migration = rebuilt(
        conn,
        url,
        "create table t (id int primary key)",
        [{"alter_column": {"table": "t", "column": "id", "type": "bigint"}}],
    )
    finish(migration)
    conn.execute("insert into t values (5000000000)")
    assert rows(conn, "select direction from changeover.rejections") == [("down",)]


def test_null_in_a_column_that_may_be_null_now_is_taken_and_noted(conn: Connection, url: str) -> None:
    schema = "create table t (id int primary key, a text not null)"
    migration = rebuilt(conn, url, schema, [{"alter_column": {"table": "t", "column": "a", "nullable": True}}])
    finish(migration)
    conn.execute("insert into t values (1, null), (2, 'x')")
    assert rows(conn, "select direction, sqlstate from changeover.rejections") == [("down", "23502")]
    conn.execute("update t set a = 'y' where id = 1")
    migration.roll_back()
    assert rows(conn) == [(1, "y"), (2, "x")]


def test_a_difference_that_the_plan_does_not_name_refuses_the_swap(conn: Connection, url: str) -> None:
    migration = rebuilt(conn, url, "create table t (id int primary key, a text)")
    migration.run(Phase.BACKFILL, Phase.INDEX, Phase.RECONCILE)
    conn.execute("create index late on t (a)")
    with pytest.raises(Exception, match="index late is new"):
        migration.run(Phase.SWAP)
    assert not migration.swapped
    conn.execute("insert into t values (1, 'x')")
    conn.execute("drop index late")
    migration.swap()
    assert rows(conn) == [(1, "x")]


def test_what_the_rows_do_not_meet_is_said_before_anything_is_done(conn: Connection, url: str) -> None:
    """Shortened values, keys that would meet, and NULLs: by name, with the number of rows."""
    conn.execute(
        b"create domain s as varchar(3); create domain short as s;"
        b"create table t (id int primary key, k int, a varchar(9) not null unique);"
        b"insert into t values (1, null, 'abcd'), (2, 2, 'abce'), (3, 3, 'x')"
    )
    cut = {"alter_column": {"table": "t", "column": "a", "type": "varchar(3)", "up": "left(a, 3)", "down": "a"}}
    short = {"alter_column": {"table": "t", "column": "a", "type": "varchar(3)"}}
    domain = {"alter_column": {"table": "t", "column": "a", "type": "short"}}
    filled = {"alter_column": {"table": "t", "column": "k", "nullable": False}}
    asked = ((cut, "is unique by t_a_key"), (short, "can hold"), (domain, "can hold"), (filled, "t.k is not null"))
    for operation, check in asked:
        migration = Migration(url, [operation], strategy="shadow_table")
        result = migration.engine.examine(migration.engine.plan(migration.spec), values_in_reports=False)
        assert [one.passed for one in result.checks if check in one.name] == [False], result


def test_rows_are_stored_in_the_order_asked_for_whatever_is_written_meanwhile(conn: Connection, url: str) -> None:
    """The walk is along values that applications change: a row that passes the cursor, either way, is carried over."""
    schema = "create table t (id int primary key, a text, k int not null); create index on t (k, id) include (a);"
    schema += "insert into t select i, 'x', (i * 37) % 100 from generate_series(1, 300) i"
    migration = rebuilt(conn, url, schema, [{"rebuild_table": {"table": "t", "order_by": ["k"]}}])
    assert migration.plan is not None
    step = next(one for one in migration.plan.steps if isinstance(one.action, Copy))
    assert isinstance(step.action, Copy)
    moved = iter(("update t set k = 1 where k = 99", "update t set k = 98 where k = 0", "delete from t where k = 50"))
    for low, high in migration.engine.shards(step.action, 1):
        assert high is not None

        def between(size: int) -> int:
            conn.execute(next(moved, "update t set a = 'y' where id = 7").encode())
            return size

        shard = Shard(position=low, high=high, batch_rows=60)
        migration.engine.fill(step.action, shard, lambda *_: None, between)
    found = [row[0] for row in rows(conn, f"select k from {step.action.target} order by ctid")]
    assert sum(a > b for a, b in pairwise(found)) < 30, "not in order, but for what was written meanwhile"
    wanted = rows(conn)
    finish(migration)
    assert rows(conn) == wanted
