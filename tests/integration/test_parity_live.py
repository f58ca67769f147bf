"""Tables that are written while they are compared."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from validations.parity.compare import Options, Table, compare
from validations.parity.report import Kind, Verdict

ROWS = 20_000
HOT, LAST = 777, ROWS
TABLE = "create table {} (id bigint primary key, n bigint not null, note text, at timestamptz default '2020-01-01')"
FILL = f"insert into {{}} (id, n, note) select n, n, 'note ' || n from generate_series(1, {ROWS}) as n"
FOLLOW = """
create function follow() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' then delete from b where id = old.id; return old; end if;
  insert into b values (new.*) on conflict (id) do update set n = excluded.n, at = excluded.at;
  return new;
end $$;
create trigger follow after insert or update or delete on a for each row execute function follow();
"""


@contextmanager
def writing(step: Callable[[psycopg.Connection[tuple[object, ...]], int], None], url: str) -> Iterator[list[int]]:
    """Call a writer over and over in a thread; gives a list whose length says how often."""
    stop, done, failed = threading.Event(), [], []

    def run() -> None:
        try:
            with psycopg.connect(url, autocommit=True) as conn:
                while not stop.is_set():
                    step(conn, len(done))
                    done.append(1)
        except psycopg.Error as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join(20)
    assert not failed


def often(conn: psycopg.Connection[tuple[object, ...]], turn: int) -> None:
    """Rewrite the hot row ten times a second, and others in between."""
    conn.execute("update a set n = n + 1 where id = %s", (HOT,))
    key = 1000 + turn * 7919 % 9000
    conn.execute("update a set n = -n where id = %s", (key,))
    conn.execute("delete from a where id = %s", (key + 1,))
    conn.execute("insert into a (id, n, note) values (%s, 0, 'note ' || %s::int)", (key + 1, key + 1))
    time.sleep(0.1)


@pytest.fixture
def followed(database: str) -> str:
    """Two tables of one database, of which one follows the other by a trigger."""
    with psycopg.connect(database, autocommit=True) as conn:
        for name in "ab":
            conn.execute(TABLE.format(name).encode())
            conn.execute(FILL.format(name).encode())
        conn.execute(FOLLOW.encode())
    return database


def planted(execute: Callable[[str], object], table: str) -> set[tuple[Kind, str, tuple[str, ...]]]:
    """Plant differences in the first row, the last, the hot one, and rows that one side lacks; say what is planted."""
    execute(f"update {table} set note = 'planted' where id in (1, {HOT}, {LAST})")
    execute(f"delete from {table} where id = 500")
    execute(f"insert into {table} (id, n) values (-5, 1)")
    changed: set[tuple[Kind, str, tuple[str, ...]]] = {(Kind.CHANGED, str(key), ("note",)) for key in (1, HOT, LAST)}
    return changed | {(Kind.MISSING, "500", ()), (Kind.EXTRA, "-5", ())}


def test_in_one_database_a_snapshot_shows_both(followed: str) -> None:
    a, b = (Table(url=followed, database="main", name=name) for name in "ab")
    with writing(often, followed) as turns:
        for _ in range(5):
            assert compare(a, b).verdict is Verdict.EQUAL
        with psycopg.connect(followed, autocommit=True) as conn:
            expected = planted(lambda statement: conn.execute(statement.encode()), "b")
        result = compare(a, b)
    assert turns
    assert {(one.kind, one.key[0], one.columns) for one in result.differences} == expected
    assert result.unsettled == ()


def queued(source: str) -> None:
    """Note in a queue which rows of `a` are written."""
    with psycopg.connect(source, autocommit=True) as conn:
        conn.execute("create table queue (seq bigserial primary key, id bigint)")
        conn.execute(
            "create function enqueue() returns trigger language plpgsql as $$"
            " begin insert into queue (id) values (coalesce(new.id, old.id)); return null; end $$"
        )
        conn.execute(
            "create trigger enqueue after insert or update or delete on a for each row execute function enqueue()"
        )


@pytest.fixture
def replicated(new_database: Callable[[], str]) -> Iterator[tuple[str, str]]:
    """Two databases, of which one follows the other a moment later, by a queue that a thread carries over."""
    source, target = new_database(), new_database()
    for url, name in ((source, "a"), (target, "b")):
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(TABLE.format(name).encode())
            conn.execute(FILL.format(name).encode())
    queued(source)
    remote = psycopg.connect(target, autocommit=True)

    def carry(conn: psycopg.Connection[tuple[object, ...]], _: int) -> None:
        time.sleep(0.03)
        for _, key in conn.execute("delete from queue where seq in (select seq from queue order by seq) returning *"):
            row = conn.execute("select id, n, at from a where id = %s", (key,)).fetchone()
            if row is None:
                remote.execute("delete from b where id = %s", (key,))
            else:
                remote.execute(
                    "insert into b (id, n, at, note) values (%s, %s, %s, 'note ' || %s::bigint)"
                    " on conflict (id) do update set n = excluded.n, at = excluded.at",
                    (*row, key),
                )

    with writing(carry, source):
        yield source, target
    remote.close()


def test_what_was_committed_before_the_position_is_in_the_verdict(new_database: Callable[[], str]) -> None:
    """And what a verdict says nothing of is at a later one."""
    url = new_database()
    a, b = Table(url=url, database="d", name="a"), Table(url=url, database="d", name="b")
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("create table a (id int primary key); create table b (id int primary key)")
        for number, name in enumerate("abab"):
            conn.execute(f"insert into {name} values ({number // 2})".encode())
            written = conn.execute("select pg_current_wal_lsn()").fetchone()
            result = compare(a, b)
            reached = conn.execute("select %s::pg_lsn >= %s::pg_lsn", (result.position_a.log, written[0]))  # type: ignore[index]
            assert reached.fetchone() == (True,)
            assert result.verdict is (Verdict.DIFFERENT if name == "a" else Verdict.EQUAL)


def test_between_two_databases_rows_are_read_until_they_settle(replicated: tuple[str, str]) -> None:
    source, target = replicated
    a, b = Table(url=source, database="old", name="a"), Table(url=target, database="new", name="b")
    with writing(often, source) as turns:
        for _ in range(2):
            result = compare(a, b)
            assert (result.verdict, result.differences, result.unsettled) == (Verdict.EQUAL, (), ())
        with psycopg.connect(target, autocommit=True) as conn:
            expected = planted(lambda statement: conn.execute(statement.encode()), "b")
        result = compare(a, b)
    assert len(turns) > 5
    assert {(one.kind, one.key[0], one.columns) for one in result.differences} == expected
    assert result.unsettled == ()
    assert result.position_a.log
    assert result.position_a.sees


def test_what_never_settles_is_undecided(new_database: Callable[[], str]) -> None:
    """Whatever is written faster than it can be read is neither equal nor different."""
    source, target = new_database(), new_database()
    for url in (source, target):
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("create table t (id int primary key, n bigint)")
            conn.execute("insert into t values (1, -1)")

    def restless(conn: psycopg.Connection[tuple[object, ...]], _: int) -> None:
        conn.execute("update t set n = abs(n) + 1")

    a, b = (Table(url=url, database=name, name="t") for url, name in ((source, "old"), (target, "new")))
    with writing(restless, source):
        time.sleep(0.2)
        result = compare(a, b, Options(patience=1.5))

    assert result.verdict is Verdict.UNDECIDED
    assert [(one.kind, one.key) for one in result.unsettled] == [(Kind.UNSETTLED, ("1",))]


def test_without_a_key_what_stands_still_is_told_apart(new_database: Callable[[], str]) -> None:
    """With the default lag between two databases: a row more in one of them, and rows that only one has."""
    source, target = new_database(), new_database()
    for url, rows in ((source, "(1), (1), (2), (4)"), (target, "(1), (3), (4)")):
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("create table t (n int)")
            conn.execute(f"insert into t values {rows}".encode())

    a, b = (Table(url=url, database=label, name="t") for url, label in ((source, "old"), (target, "new")))
    result = compare(a, b, Options(patience=4))

    assert result.verdict is Verdict.DIFFERENT
    assert {(one.kind, one.rows_a, one.rows_b) for one in result.differences} == {
        (Kind.CHANGED, 2, 1),
        (Kind.MISSING, 1, 0),
        (Kind.EXTRA, 0, 1),
    }
    assert result.unsettled == ()
