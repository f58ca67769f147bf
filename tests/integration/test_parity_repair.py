"""Rows of B made what they are in A: no more than differs, under writers, and refused where it would do harm."""

import threading
import time
from collections.abc import Callable

import psycopg
import pytest

from profiles.model import Limits
from tasks.model.errors import DataChanged, LockTimeoutError, PreflightError, StepError
from validations.parity.compare import Options, Table, compare
from validations.parity.postgresql import Connection
from validations.parity.repair import Repaired, repair
from validations.parity.report import Verdict

ROWS = 1_000
SHAPE = """
create table "T%" ("k 1" int, k2 text, "a%b" numeric, t text, c char(5), w timestamptz, j json, arr int[],
  g int generated always as ("k 1" * 2) stored, s bigint generated always as identity, primary key ("k 1", k2))
"""
FILL = f"""
insert into "T%" ("k 1", k2, "a%b", t, c, w, j, arr)
select n, 'x' || n, n / 8.0, 't''%s' || n, 'c', timestamptz '2020-01-01' + n * interval '1 us', '{{"a": 1, "a": 2}}',
  array[n, null] from generate_series(1, {ROWS}) n
"""


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def tables(a: str, b: str, name: str = "T%") -> tuple[Table, Table]:
    return Table(url=a, database="a", name=name), Table(url=b, database="b", name=name)


def repaired(a: str, b: str, name: str = "T%", **limits: int) -> tuple[Repaired, list[Repaired]]:
    """Compare and repair; return what was done in all, and batch by batch."""
    told: list[Repaired] = []

    def record(conn: Connection, done: Repaired) -> None:
        told.append(done)

    pair, options = tables(a, b, name), Options(lag=0)
    found = compare(*pair, options)
    return repair(*pair, options, found, Limits.model_validate(limits), record), told


def test_only_what_differs_is_written(new_database: Callable[[], str]) -> None:
    a, b = new_database(), new_database()
    for url in (a, b):
        run(url, SHAPE, FILL)
    run(
        b,
        """update "T%" set "a%b" = 1.0, t = null where "k 1" = 7""",
        """update "T%" set "a%b" = "a%b" * 1.0 where "k 1" = 8""",
        """update "T%" set c = 'x', j = '{}', arr = '[0:0]={5}' where "k 1" = 9""",
        """delete from "T%" where "k 1" between 100 and 349""",
        """insert into "T%" ("k 1", k2) values (-1, 'only b'), (-2, 'only b')""",
        "create table written (what text); create function note() returns trigger language plpgsql as"
        " $$ begin insert into written values (tg_op); return null; end $$",
        """create trigger z after insert or update or delete on "T%" for each row execute function note()""",
    )
    done, told = repaired(a, b)
    assert done == Repaired(updated=3, inserted=250, deleted=2)
    assert [one.inserted for one in told] == [0, 0, 100, 100, 50]
    assert compare(*tables(a, b), Options(lag=0)).verdict is Verdict.EQUAL
    with psycopg.connect(b) as conn:
        assert conn.execute("select what, count(*) from written group by 1 order by 1").fetchall() == [
            ("DELETE", 2), ("INSERT", 250), ("UPDATE", 3),
        ]  # fmt: skip
    assert repaired(a, b)[0] == Repaired()


def test_what_changed_after_the_comparison_is_read_again(new_database: Callable[[], str]) -> None:
    a, b = new_database(), new_database()
    for url in (a, b):
        run(url, SHAPE, FILL)
    run(b, """update "T%" set t = 'wrong' where "k 1" <= 4""", """delete from "T%" where "k 1" = 5""")
    pair, options = tables(a, b), Options(lag=0)
    found = compare(*pair, options)
    run(
        a,
        """update "T%" set t = 'newer' where "k 1" = 1""",
        """delete from "T%" where "k 1" in (2, 5)""",
    )
    run(b, """update "T%" set t = 't''%s3' where "k 1" = 3""", """delete from "T%" where "k 1" = 4""")
    done = repair(*pair, options, found, Limits(), lambda *_: None)
    assert done == Repaired(updated=1, deleted=1, inserted=1, unchanged=2)
    assert compare(*pair, options).verdict is Verdict.EQUAL


@pytest.mark.parametrize("apart", [False, True], ids=["one session", "two sessions"])
def test_a_row_that_is_deleted_while_it_is_inserted_does_not_come_back(
    new_database: Callable[[], str], apart: bool
) -> None:
    """Who deletes it from A and from B waits until it is in B, and finds it there; nobody waits for other rows."""
    url = new_database()
    run(
        url,
        "create table a (id int primary key, n int); create table b (id int primary key, n int)",
        "insert into a select g, 0 from generate_series(1, 9) g; insert into b select * from a where id <> 5",
        "create function gone() returns trigger language plpgsql as"
        " $$ begin delete from b where id = old.id; return null; end $$",
        "create trigger t after delete on a for each row execute function gone()",
        "create function slow() returns trigger language plpgsql as"
        " $$ begin perform pg_advisory_xact_lock(7); return new; end $$",
        "create trigger t before insert on b for each row execute function slow()",
    )
    there = url + ("&" if "?" in url else "?") + "connect_timeout=9" if apart else url
    pair, options = (tables(url, there, "a")[0], tables(url, there, "b")[1]), Options(lag=0)
    found, done = compare(*pair, options), list[Repaired]()
    with psycopg.connect(url, autocommit=True) as holder, psycopg.connect(url, autocommit=True) as other:
        holder.execute("select pg_advisory_lock(7)")
        limits = Limits(lock_budget=20_000)
        mending = threading.Thread(target=lambda: done.append(repair(*pair, options, found, limits, lambda *_: None)))
        mending.start()
        _until(holder, "select exists (select from pg_locks where locktype = 'advisory' and not granted)")
        deleting = threading.Thread(target=lambda: other.execute("delete from a where id = 5"))
        deleting.start()
        _until(holder, "select exists (select from pg_locks where locktype = 'transactionid' and not granted)")
        holder.execute("update a set n = 1 where id = 6")
        holder.execute("select pg_advisory_unlock(7)")
        mending.join(30)
        deleting.join(30)
    assert done == [Repaired(inserted=1)]
    with psycopg.connect(url) as conn:
        assert conn.execute(
            "select count(*) from a where id = 5 union all select count(*) from b where id = 5"
        ).fetchall() == [(0,), (0,)]


def _until(conn: Connection, question: str) -> None:
    deadline = time.monotonic() + 20
    while conn.execute(question.encode()).fetchone() != (True,):
        assert time.monotonic() < deadline, question
        time.sleep(0.02)


def test_where_rows_of_a_cannot_be_locked_nothing_is_inserted(new_database: Callable[[], str]) -> None:
    a, b = new_database(), new_database()
    for url in (a, b):
        run(url, "create table r (id int primary key, n int)", "insert into r values (1, 1), (2, 2)")
    run(b, "delete from r where id = 1; update r set n = 9")
    pair, options = tables(a, b, "r"), Options(lag=0)
    found = compare(*pair, options)
    run(a, "create role only_reading login; grant select on r to only_reading")
    reader = a.replace("//postgres", "//only_reading")
    assert reader != a
    try:
        with pytest.raises(PreflightError, match="cannot be locked") as raised:
            repair(tables(reader, b, "r")[0], pair[1], options, found, Limits(), lambda *_: None)
    finally:
        run(a, "drop owned by only_reading; drop role only_reading")
    assert raised.value.changed is DataChanged.NO
    with psycopg.connect(b) as conn:
        assert conn.execute("select * from r").fetchall() == [(2, 9)]


def test_under_a_writer_that_keeps_both_in_step(new_database: Callable[[], str]) -> None:
    """Dual write within one database: what it writes meanwhile is never put back to what it was."""
    url = new_database()
    run(
        url,
        "create table a (id int primary key, n int); create table b (id int primary key, n int)",
        "insert into a select g, 0 from generate_series(1, 300) g; insert into b select id, -1 from a",
        "create function f() returns trigger language plpgsql as"
        " $$ begin update b set n = new.n where id = new.id; return null; end $$",
        "create trigger t after update on a for each row execute function f()",
    )
    stop, failures = threading.Event(), []

    def write() -> None:
        try:
            with psycopg.connect(url, autocommit=True) as conn:
                number = 0
                while not stop.is_set():
                    number += 1
                    conn.execute("update a set n = n + 1 where id = %s", (number % 100 + 1,))
        except psycopg.Error as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    pair = Table(url=url, database="a", name="a"), Table(url=url, database="a", name="b")
    options = Options(patience=5)
    found = compare(*pair, options)
    writer.start()
    try:
        done = repair(*pair, options, found, Limits(), lambda *_: None)
    finally:
        stop.set()
        writer.join()
    assert not failures
    assert done.updated >= 200
    assert done.updated + done.unchanged == 300
    assert compare(*pair, options).verdict is Verdict.EQUAL


def test_what_would_do_harm_is_refused_and_nothing_is_written(new_database: Callable[[], str]) -> None:
    a, b = new_database(), new_database()
    for url in (a, b):
        run(url, "create table p (id int primary key, n int unique); create table bare (n int)")
    run(
        b,
        "insert into p values (1, 1); create table c (p int references p on delete cascade); insert into c values (1)",
    )
    with pytest.raises(PreflightError, match="would take rows of c with them"):
        repaired(a, b, "p")
    run(b, "insert into bare values (1)")
    with pytest.raises(PreflightError, match="without a key"):
        repaired(a, b, "bare")
    run(a, "insert into p values (1, 2)")
    pair, options = tables(a, b, "p"), Options(lag=0, values_equal=True)
    with pytest.raises(PreflightError, match="equal by value"):
        repair(*pair, options, compare(*pair, options), Limits(), lambda *_: None)
    run(b, "alter table p add check (n < 2)")
    with pytest.raises(StepError, match="CheckViolation"):
        repaired(a, b, "p")
    with psycopg.connect(b) as conn:
        assert conn.execute("select * from p, c").fetchall() == [(1, 1, 1)]


def test_it_says_what_is_written_when_a_lock_cannot_be_had(new_database: Callable[[], str]) -> None:
    a, b = new_database(), new_database()
    for url in (a, b):
        run(url, "create table p (id int primary key, n int); insert into p select g, 0 from generate_series(1, 150) g")
    run(b, "update p set n = 1")
    with psycopg.connect(b) as holder:
        holder.execute("select from p where id = 77 for update")
        with pytest.raises(LockTimeoutError) as none:
            repaired(a, b, "p", lock_budget=50, attempts=1)
        assert none.value.changed is DataChanged.NO
        holder.rollback()
        last = compare(*tables(a, b, "p"), Options(lag=0)).differences[-1].key[0]
        holder.execute(f"select from p where id = {last} for update".encode())
        with pytest.raises(LockTimeoutError) as some:
            repaired(a, b, "p", lock_budget=50, attempts=1)
        assert some.value.changed is DataChanged.PARTIALLY
    assert repaired(a, b, "p")[0] == Repaired(updated=50)
