"""Rows of B made what they are in A where one of the two, or both, are on MariaDB."""

import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pymysql
import pytest

from profiles.model import Limits
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.session import connect as maria_session
from tasks.ledger import audit
from tasks.ledger.install import install
from tasks.ledger.verify import verify
from tasks.model.errors import DataChanged, LockTimeoutError, PreflightError, StepError
from tests.servers.mariadb import MariaServer, connected, fresh_database, run
from validations.parity.compare import Options, Table, compare
from validations.parity.repair import Repaired, repair
from validations.parity.report import Verdict

ROWS = 400
SHAPE = """
create table `T %s` (`k 1` int, k2 varchar(9) collate utf8mb4_bin, `a%b` decimal(12,4), t text, f float, d double,
  c char(5), b varbinary(9), bits bit(9), w datetime(6), tm time(2), y year, e enum('sad','glad'), s set('x','y'),
  j json, l varchar(9) character set latin1, g int as (`k 1` * 2) stored, primary key (`k 1`, k2))
"""
FILL = f"""
insert into `T %s` (`k 1`, k2, `a%b`, t, f, d, c, b, bits, w, tm, y, e, s, j, l)
select seq, concat('x', seq), seq / 8, concat('t''%s😀', char(92), seq), seq / 10, seq / 3e0, 'c', unhex(md5(seq) ),
  seq % 512, '2020-01-01' + interval seq microsecond, '-10:11:12.5', 2020, 'glad', 'x,y', '{{"a": 1, "a": 2.50}}', 'é'
  from seq_1_to_{ROWS}
""".replace("unhex(md5(seq) )", "left(unhex(md5(seq)), 9)")


@pytest.fixture
def two(mariadb: MariaServer) -> Iterator[tuple[str, str]]:
    with fresh_database(mariadb) as a, fresh_database(mariadb) as b:
        yield a, b


def tables(a: str, b: str, name: str) -> tuple[Table, Table]:
    return Table(url=a, database="a", name=name), Table(url=b, database="b", name=name)


def repaired(a: str, b: str, name: str, **limits: int) -> Repaired:
    pair, options = tables(a, b, name), Options(lag=0)
    return repair(*pair, options, compare(*pair, options), Limits.model_validate(limits), lambda *_: None)


def test_only_what_differs_is_written(two: tuple[str, str]) -> None:
    a, b = two
    for url in two:
        run(url, SHAPE, FILL)
    run(
        b,
        "update `T %s` set `a%b` = 1, t = null, f = 16777217, d = 0.1e0, bits = 1 where `k 1` = 7",
        "update `T %s` set c = 'x', j = '{}', b = x'00ff', w = null, tm = '1:00', y = 1999, e = 'sad', s = '', l = 'e'"
        " where `k 1` = 9",
        "delete from `T %s` where `k 1` between 100 and 349",
        "insert into `T %s` (`k 1`, k2) values (-1, 'only b'), (7, 'X7')",
        "create table written (what text)",
        *(f"create trigger z{what} after {what} on `T %s` for each row insert into written values ('{what}')"
          for what in ("insert", "update", "delete")),
    )  # fmt: skip
    assert repaired(a, b, "T %s") == Repaired(updated=2, inserted=250, deleted=2)
    assert compare(*tables(a, b, "T %s"), Options(lag=0)).verdict is Verdict.EQUAL
    with connected(b) as conn, conn.cursor() as cursor:
        cursor.execute("select what, count(*) from written group by 1 order by 1")
        assert cursor.fetchall() == (("delete", 2), ("insert", 250), ("update", 2))
        mine, theirs = (f"`{url.rpartition('/')[2]}`.`T %s`" for url in two)
        cursor.execute(f"select count(*) from (select * from {mine} except select * from {theirs}) as d")
        assert cursor.fetchone() == (0,), "the bytes of json and the bits of a FLOAT are the same, too"
    assert repaired(a, b, "T %s") == Repaired()


def test_a_zero_is_a_zero_and_what_is_written_is_on_record(two: tuple[str, str]) -> None:
    """Neither the next number of AUTO_INCREMENT nor a date that strict servers refuse; each batch in the audit log."""
    a, b = two
    for url in two:
        run(url, "create table z (id int auto_increment primary key, d date)")
    run(a, "set sql_mode = 'NO_AUTO_VALUE_ON_ZERO'", "insert into z values (0, '0000-00-00'), (1, null)")
    with maria_session(b) as conn:
        install(conn)

    def record(conn: MariaSession, done: Repaired) -> None:
        audit.append(conn, "ada", "repair", "z", "done", detail=done.model_dump())

    pair, options = tables(a, b, "z"), Options(lag=0)
    assert repair(*pair, options, compare(*pair, options), Limits(), record) == Repaired(inserted=2)
    assert compare(*pair, options).verdict is Verdict.EQUAL
    with maria_session(b) as conn:
        assert verify(conn, None).ok
        (body,) = run(b, "select body from changeover_audit where action = 'repair'")
    assert '"inserted":2' in body[0]


def test_what_the_server_writes_by_itself_is_not_written(two: tuple[str, str]) -> None:
    """ON UPDATE CURRENT_TIMESTAMP would make a difference of what was none, and take away what is ignored."""
    a, b = two
    for url in two:
        run(url, "create table u (id int primary key, n int, at datetime default '2020-01-01' on update now())",
            "insert into u (id, n) values (1, 1), (2, 2)")  # fmt: skip
    run(b, "update u set n = 9, at = at where id = 1")
    assert repaired(a, b, "u") == Repaired(updated=1)
    assert run(b, "select count(*) from u where at = '2020-01-01'") == [(2,)]


def test_where_rows_of_a_cannot_be_held_nothing_is_inserted(two: tuple[str, str]) -> None:
    """A table of another engine; a standby is read-only, and its shared locks hold up no replication."""
    a, b = two
    for url in two:
        run(url, "create table r (id int primary key)", "create table m (id int primary key) engine=Aria")
    run(a, "insert into r values (1)", "insert into m values (1)")
    with pytest.raises(PreflightError, match="stored by Aria"):
        repaired(a, b, "m")
    run(a, "set global read_only = 1")
    try:
        with pytest.raises(PreflightError, match="a standby"):
            repaired(a, b, "r")
    finally:
        run(a, "set global read_only = 0")
    assert run(b, "select * from r union all select * from m") == []


def test_whose_rows_go_with_one_is_known_or_nothing_is_deleted(two: tuple[str, str]) -> None:
    """InnoDB deletes rows of tables that the user does not see."""
    a, b = two
    for url in two:
        run(url, "create table p (id int primary key)")
    name = b.rpartition("/")[2]
    run(b, "insert into p values (1)", "create user blind identified by 'x'",
        f"grant select, insert, update, delete on `{name}`.p to blind",
        "create table `c d` (p int, foreign key (p) references p (id) on delete set null)")  # fmt: skip
    try:
        with pytest.raises(PreflightError) as raised:
            repaired(a, b.replace("root@", "blind:x@"), "p")
        assert "process" in raised.value.hint
        with pytest.raises(PreflightError, match=r"would take rows of .*c@0020d"):
            repaired(a, b, "p")
    finally:
        run(b, "drop user blind")
    assert run(b, "select * from p") == [(1,)]


def test_a_key_that_is_called_otherwise(two: tuple[str, str]) -> None:
    a, b = two
    run(a, "create table k (id int primary key, `Old name` varchar(9))", "insert into k values (1, 'a'), (2, 'b')")
    run(b, "create table k (number int primary key, name varchar(9))", "insert into k values (1, 'a'), (3, 'c')")
    pair, options = tables(a, b, "k"), Options(lag=0, mapped={"number": "id", "name": "`Old name`"})
    found = compare(*pair, options)
    assert (found.key, [one.key for one in found.differences]) == (("number",), [("2",), ("3",)])
    assert repair(*pair, options, found, Limits(), lambda *_: None) == Repaired(inserted=1, deleted=1)
    assert compare(*pair, options).verdict is Verdict.EQUAL


@pytest.mark.parametrize("towards", ["postgresql", "mariadb"])
def test_a_lock_on_a_is_one_of_a(two: tuple[str, str], new_database: Callable[[], str], towards: str) -> None:
    """It is tried again, whichever engine has it, and is no constraint of B."""
    maria, postgres = two[0], new_database()
    run(maria, "create table t (id int primary key)")
    with psycopg.connect(postgres, autocommit=True) as held, connected(maria, autocommit=False) as also:
        held.execute("create table t (id int primary key)")
        with also.cursor() as cursor:
            if towards == "postgresql":
                run(maria, "insert into t values (1)")
                cursor.execute("update t set id = 1 where id = 1")
                cursor.execute("select * from t where id = 1 for update")
            else:
                held.execute("insert into t values (1)")
                held.execute("begin; select from t for update")
            a, b = (maria, postgres) if towards == "postgresql" else (postgres, maria)
            with pytest.raises(LockTimeoutError):
                repaired(a, b, "t", attempts=2, lock_budget=100)
        also.rollback()
        held.rollback()
    assert repaired(a, b, "t") == Repaired(inserted=1)


@pytest.mark.parametrize("towards", ["postgresql", "mariadb"])
def test_between_engines(two: tuple[str, str], new_database: Callable[[], str], towards: str) -> None:
    maria, postgres = two[0], new_database()
    run(maria, "create table t (id int primary key, n decimal(12,4), t text, d double, b blob, w datetime(6), o bool)",
        "insert into t select seq, seq / 8, concat('t''%s', seq), seq / 3e0, unhex(md5(seq)), '2020-01-01', seq % 2"
        " from seq_1_to_300")  # fmt: skip
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(
            "create table t (id int primary key, n numeric, t text, d float8, b bytea, w timestamp, o boolean);"
            "insert into t select g, g / 8.0, 't''%s' || g, g / 3::float8, decode(md5(g::text), 'hex'), '2020-01-01',"
            " g % 2 = 1 from generate_series(1, 300) g;"
        )
        change = (
            "update t set n = 0.5, t = null, d = 1e-300, b = null, w = '2021-02-03 04:05:06.000007', o = not o"
            " where id = 7; delete from t where id between 20 and 29; insert into t (id, t) values (0, 'mine')"
        )
        if towards == "postgresql":
            conn.execute(change.encode())
        else:
            run(maria, *change.split("; "))
    a, b = (maria, postgres) if towards == "postgresql" else (postgres, maria)
    assert repaired(a, b, "t") == Repaired(updated=1, inserted=10, deleted=1)
    assert compare(*tables(a, b, "t"), Options(lag=0)).verdict is Verdict.EQUAL


def test_under_a_writer_that_keeps_both_in_step(maria_database: str) -> None:
    """What it writes meanwhile is never put back to what it was, and it is never the victim of a deadlock."""
    url = maria_database
    run(
        url,
        "create table a (id int primary key, n int)", "create table b (id int primary key, n int)",
        "insert into a select seq, 0 from seq_1_to_300", "insert into b select id, -1 from a where id > 100",
        "create trigger u after update on a for each row update b set n = new.n where id = new.id",
        "create trigger d after delete on a for each row delete from b where id = old.id",
        "create trigger i after insert on a for each row insert into b values (new.id, new.n)",
    )  # fmt: skip
    stop, failures = threading.Event(), []

    def write() -> None:
        try:
            with connected(url, autocommit=False) as conn, conn.cursor() as cursor:
                number = 0
                while not stop.is_set():
                    number += 1
                    for key in (number % 300 + 1, (number * 7) % 300 + 1):
                        if number % 3:
                            cursor.execute("update a set n = n + 1 where id = %s", (key,))
                        elif cursor.execute("delete from a where id = %s", (key,)):
                            cursor.execute("delete from b where id = %s", (key,))
                            cursor.execute("insert into a values (%s, 7)", (key,))
                    conn.commit()
                    time.sleep(0.005)
        except pymysql.err.MySQLError as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    pair = Table(url=url, database="a", name="a"), Table(url=url, database="a", name="b")
    options = Options(patience=5)
    found = compare(*pair, options)
    writer.start()
    try:
        done = repair(*pair, options, found, Limits(attempts=50), lambda *_: None)
    finally:
        stop.set()
        writer.join()
    assert not failures
    assert done.updated + done.unchanged + done.inserted == 300
    assert done.updated + done.inserted > 100
    assert compare(*pair, options).verdict is Verdict.EQUAL


def test_what_would_do_harm_is_refused_and_nothing_is_written(two: tuple[str, str]) -> None:
    a, b = two
    for url in two:
        run(url, "create table p (id int primary key, n int unique)", "create table bare (n int)")
    run(b, "insert into p values (1, 1)", "insert into bare values (1)",
        "create table c (p int, foreign key (p) references p (id) on delete cascade)",
        "insert into c values (1)")  # fmt: skip
    with pytest.raises(PreflightError, match=r"would take rows of .*\.c with them"):
        repaired(a, b, "p")
    with pytest.raises(PreflightError, match="without a key"):
        repaired(a, b, "bare")
    run(a, "insert into p values (1, 2)")
    run(b, "alter table p add check (n < 2)")
    with pytest.raises(StepError, match="the server said 4025") as raised:
        repaired(a, b, "p")
    assert raised.value.changed is DataChanged.NO
    with connected(b) as conn, conn.cursor() as cursor:
        cursor.execute("alter table p drop constraint CONSTRAINT_1")
        cursor.execute("begin")
        cursor.execute("update p set n = n where id = 1")
        cursor.execute("select * from p where id = 1 for update")
        with pytest.raises(LockTimeoutError):
            repaired(a, b, "p", attempts=2)
        cursor.execute("rollback")
    assert repaired(a, b, "p") == Repaired(updated=1)
