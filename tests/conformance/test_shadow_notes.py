"""What is only noted, because its transaction could not see the shadow, or the shadow refused it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tasks.model.errors import StepError
from tasks.model.steps import Phase, Reconcile
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_shadow_writers import REBUILD, finish, rebuilt, rows


@contextmanager
def strict(url: str) -> Iterator[Connection]:
    """A transaction that leaves its notes to others; committed at the end."""
    with psycopg.connect(url) as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        yield other


def notes(conn: Connection) -> str:
    """Return the table of notes of the way to the shadow."""
    (found,) = conn.execute(
        "select format('%I.%I', relnamespace::regnamespace::text, relname) from pg_class"
        " where relname = '_changeover_notes' and relnamespace::regnamespace::text like '%new%'"
    ).fetchall()
    return str(found[0])


def noted(conn: Connection) -> int:
    """Count them."""
    return int(rows(conn, f"select count(*) from {notes(conn)}")[0][0])


def reconciling(migration: Migration) -> Reconcile:
    """Return the comparison of a plan."""
    assert migration.plan is not None
    (action,) = (step.action for step in migration.plan.steps if isinstance(step.action, Reconcile))
    return action


AUDITED = "select detail -> 'rows' from changeover.audit where subject like '%reconcile/%' and outcome = 'done'"


def test_a_row_that_is_gone_and_only_noted_to_be_is_no_duplicate(conn: Connection, url: str) -> None:
    schema = "create table t (id int primary key, u text unique); insert into t values (1, 'x'), (3, 'z')"
    migration = rebuilt(conn, url, schema)
    migration.run(Phase.BACKFILL)
    with strict(url) as other:
        other.execute("delete from t where u = 'x'")
    conn.execute("insert into t values (2, 'x')")
    assert noted(conn) == 1
    finish(migration)
    assert rows(conn) == [(2, "x"), (3, "z")]


def test_a_row_that_goes_while_the_index_is_built_is_no_duplicate(conn: Connection, url: str) -> None:
    schema = "create table t (id int primary key, u text unique); insert into t values (1, 'x'), (3, 'z')"
    migration = rebuilt(conn, url, schema)
    migration.run(Phase.BACKFILL)
    with psycopg.connect(url) as old, psycopg.connect(url, autocommit=True) as look:
        # The build waits for it before it looks at a row.
        old.execute("insert into t values (4, 'y')")
        build = threading.Thread(target=migration.run, args=(Phase.INDEX,))
        build.start()
        while not rows(look, "select from pg_stat_progress_create_index where phase like 'waiting for writers%'"):
            time.sleep(0.05)
        with strict(url) as other:
            other.execute("delete from t where u = 'x'")
        look.execute("insert into t values (2, 'x')")
        old.commit()
        build.join()
    finish(migration)
    assert rows(conn) == [(2, "x"), (3, "z"), (4, "y")]


def test_the_copy_meets_a_row_that_is_gone_and_only_noted_to_be(conn: Connection, url: str) -> None:
    schema = "create table t (id int primary key, u int not null unique); insert into t values (7, 1), (8, 3)"
    conn.execute(schema.encode())
    migration = Migration(url, REBUILD, strategy="shadow_table", backfill={"key": {"t": ["u"]}}, batch_rows=1)
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE)
    # Brought by dual write, ahead of the copy.
    conn.execute("update t set u = u where id = 7")
    with strict(url) as other:
        other.execute("delete from t where id = 7")
    conn.execute("insert into t values (7, 2)")
    finish(migration)
    assert rows(conn) == [(7, 2), (8, 3)]


def test_a_row_that_is_locked_keeps_no_other_waiting(conn: Connection, url: str) -> None:
    """Its note stays, and is carried with the next; a transaction of ours waits for no row."""
    schema = "create table t (id int primary key, a text); insert into t select i, 'x' from generate_series(1, 50) i"
    migration = rebuilt(conn, url, schema)
    migration.run(Phase.BACKFILL, Phase.INDEX)
    with strict(url) as other:
        other.execute("update t set a = 'y'")
    with psycopg.connect(url) as other:
        other.execute("select from t where id = 3 for update")
        started = time.monotonic()
        migration.run(Phase.RECONCILE)
        assert time.monotonic() - started < 10, "it waited for the row"
        assert noted(conn) == 2, "the row before and after"
    finish(migration)
    assert rows(conn, "select distinct a from t") == [("y",)]


def test_what_the_comparison_has_carried_over_is_in_the_audit_log(conn: Connection, url: str) -> None:
    migration = rebuilt(
        conn, url, "create table t (id int primary key, a text); insert into t values (1, 'x'), (2, 'y')"
    )
    migration.run(Phase.BACKFILL, Phase.INDEX)
    conn.execute(f"delete from {reconciling(migration).copy_of.target} where id = 2".encode())
    migration.run(Phase.RECONCILE)
    assert rows(conn, AUDITED) == [(1,)]


ORDERS = {
    "the same": ("int", "int"),
    "wider": ("int", "bigint"),
    "narrower": ("bigint", "int"),
    "other": ("int", "text"),
}


@pytest.mark.parametrize("name", ORDERS)
def test_what_differs_is_found_wherever_it_is(name: str, conn: Connection, url: str) -> None:
    """Before the first row, between two, behind the last; on either side alone, and on both; and it is counted once."""
    old, new = ORDERS[name]
    schema = f"create table t (k {old}, j text, a numeric, primary key (k, j));"
    schema += "insert into t select i, 'j' || i % 3, i from generate_series(10, 1300) i"
    change = [{"alter_column": {"table": "t", "column": "k", "type": new}}] if new != old else REBUILD
    migration = rebuilt(conn, url, schema, change)
    migration.run(Phase.BACKFILL, Phase.INDEX)
    action = reconciling(migration)
    assert action.aligned is (name != "other")
    shadow = action.copy_of.target
    conn.execute(
        f"insert into {shadow} values ('1', 'x', 1), ('505', 'x', 1), ('1205', 'x', 1), ('9999', 'x', 1)".encode()
    )
    conn.execute(f"delete from {shadow} where k in ('10', '700', '1100', '1300')".encode())
    conn.execute(f"update {shadow} set a = a * 1.0 where k in ('11', '701', '1101', '1299')".encode())
    migration.run(Phase.RECONCILE)
    assert rows(conn, AUDITED) == [(12,)]
    wanted = rows(conn, "select k::text, j, a::text from t order by t.k, j")
    finish(migration)
    assert rows(conn, "select k::text, j, a::text from t order by t.k::int, j") == wanted


def test_a_shadow_of_an_empty_table_is_emptied(conn: Connection, url: str) -> None:
    migration = rebuilt(conn, url, "create table t (id int primary key, a text)")
    migration.run(Phase.BACKFILL, Phase.INDEX)
    conn.execute(f"insert into {reconciling(migration).copy_of.target} values (-1, 'x'), (7, 'y')".encode())
    migration.run(Phase.RECONCILE)
    assert rows(conn, AUDITED) == [(2,)]
    finish(migration)
    assert rows(conn) == []


def test_what_is_noted_of_either_side_is_no_difference(conn: Connection, url: str) -> None:
    """It has its turn later: by whoever carries the notes, and not by the comparison."""
    schema = "create table t (id int primary key, a text); insert into t select i, 'x' from generate_series(1, 9) i"
    migration = rebuilt(conn, url, schema)
    migration.run(Phase.BACKFILL, Phase.INDEX)
    with psycopg.connect(url) as other:
        with strict(url) as writer:
            writer.execute("delete from t where id = 9")
            writer.execute("update t set a = 'y' where id = 8")
            writer.execute("insert into t values (10, 'z')")
        # Notes that nobody can carry meanwhile.
        other.execute(f"select from {notes(other)} for update".encode())
        migration.run(Phase.RECONCILE)
        assert rows(conn, AUDITED) == [(0,)]
        assert noted(conn) == 4
    finish(migration)
    assert rows(conn) == [(i, "x") for i in range(1, 8)] + [(8, "y"), (10, "z")]


def test_writers_that_note_without_end_do_not_keep_the_run(conn: Connection, url: str) -> None:
    """It stops when a call finds little to do; the swap carries the rest under its locks."""
    schema = "create table t (id int primary key, n int); insert into t select i, 0 from generate_series(1, 50) i"
    migration = rebuilt(conn, url, schema)
    migration.run(Phase.BACKFILL, Phase.INDEX)
    over = threading.Event()

    def write() -> None:
        with psycopg.connect(url) as other:
            other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            while not over.is_set():
                other.execute("update t set n = n + 1")
                other.commit()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        started = time.monotonic()
        migration.run(Phase.RECONCILE)
        assert time.monotonic() - started < 20, "it went on for as long as they wrote"
    finally:
        over.set()
        writer.join()
    finish(migration)
    total = rows(conn, "select sum(n) from t")
    migration.roll_back()
    assert rows(conn, "select sum(n) from t") == total


def test_a_note_that_somebody_has_locked_is_not_passed_over_by_the_swap(conn: Connection, url: str) -> None:
    migration = rebuilt(conn, url, "create table t (id int primary key, a text); insert into t values (1, 'x')")
    migration.run(Phase.BACKFILL, Phase.INDEX, Phase.RECONCILE)
    with strict(url) as other:
        other.execute("update t set a = 'y'")
    with psycopg.connect(url) as other:
        assert noted(other) == 2
        other.execute(f"select from {notes(other)} for update".encode())
        assert migration.blocked_swap()
    finish(migration)
    assert rows(conn) == [(1, "y")]


def test_unique_values_that_change_places_and_are_only_noted(conn: Connection, url: str) -> None:
    schema = "create table t (id int primary key, u int unique); insert into t values (1, 1), (2, 2), (3, 3), (4, 4)"
    migration = rebuilt(conn, url, schema)
    migration.run(Phase.BACKFILL, Phase.INDEX)

    def exchange(a: int, b: int) -> None:
        with strict(url) as other:
            for row, value in ((a, 0), (b, a), (a, b)):
                other.execute("update t set u = %s where id = %s", (value, row))

    exchange(1, 2)
    finish(migration)
    assert rows(conn) == [(1, 2), (2, 1), (3, 3), (4, 4)]
    exchange(3, 4)
    migration.roll_back()
    assert rows(conn) == [(1, 2), (2, 1), (3, 4), (4, 3)]


FINER = {
    "cut": ("varchar(10)", "text", "abcdefghij", "abcdefghijKLM", "abcdefghijXYZ"),
    "rounded": (
        "timestamp(0)",
        "timestamp(6)",
        "2020-02-02 10:00:00",
        "2020-02-02 10:00:00.1",
        "2020-02-02 10:00:00.2",
    ),
    "rounded number": ("numeric(8, 2)", "numeric(10, 4)", "1.50", "1.5001", "1.5002"),
}


@pytest.mark.parametrize("name", FINER)
def test_a_key_that_the_old_type_would_round_or_cut_touches_no_other_row(name: str, conn: Connection, url: str) -> None:
    old, new, whole, *finer = FINER[name]
    schema = (
        f"create table t (id int, k {old}, a text, primary key (id, k)); insert into t values (1, '{whole}', 'old')"
    )
    migration = rebuilt(conn, url, schema, [{"alter_column": {"table": "t", "column": "k", "type": new}}])
    finish(migration)
    before = rows(conn)
    for value in finer:
        conn.execute("insert into t values (1, %s, 'new')", (value,))
    assert rows(conn, "select direction, sqlstate from changeover.rejections") == [("down", "22000")] * 2
    migration.pass_gate("after_swap")
    conn.execute("update t set a = 'newer' where k = %s", finer[:1])
    conn.execute("delete from t where k = any (%s)", (finer,))
    with strict(url) as other:
        other.execute("insert into t values (1, %s, 'new')", finer[:1])
        other.execute("delete from t where k = %s", finer[:1])
    migration.pass_gate("after_swap")
    migration.roll_back()
    assert rows(conn) == before


def test_nor_does_one_that_the_new_type_would_cut(conn: Connection, url: str) -> None:
    schema = "create table t (k text primary key, a text); insert into t values ('abcdefghij', 'old')"
    migration = rebuilt(conn, url, schema, [{"alter_column": {"table": "t", "column": "k", "type": "varchar(10)"}}])
    migration.run(Phase.BACKFILL, Phase.INDEX, Phase.RECONCILE)
    conn.execute("insert into t values ('abcdefghijKLM', 'new')")
    assert noted(conn) == 1
    conn.execute("delete from t where k = 'abcdefghijKLM'")
    finish(migration)
    assert rows(conn) == [("abcdefghij", "old")]


def test_a_key_that_becomes_a_text_is_compared_as_one(conn: Connection, url: str) -> None:
    """What the shadow has too much goes, and what is no image of any row, though its number is one, is refused."""
    schema = "create table t (id int primary key, a int); insert into t select i, i from generate_series(1, 50) i"
    migration = rebuilt(conn, url, schema, [{"alter_column": {"table": "t", "column": "id", "type": "text"}}])
    migration.run(Phase.BACKFILL)
    shadow = notes(conn).replace("_changeover_notes", "t")
    conn.execute(f"insert into {shadow} values ('007', 7)".encode())
    with pytest.raises(StepError, match="do not become equal"):
        migration.run(Phase.RECONCILE)
    conn.execute(f"update {shadow} set id = '77' where id = '007'".encode())
    finish(migration)
    conn.execute("insert into t values ('99', 1); delete from t where id = '3'; update t set id = '100' where id = '4'")
    migration.roll_back()
    assert rows(conn, "select count(*), sum(id) from t") == [(50, 1275 + 99 - 3 + 96)]
