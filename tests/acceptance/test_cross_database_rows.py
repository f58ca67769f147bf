"""The flow from MariaDB to PostgreSQL, through a real Prefect: every type to its edges, policies, there, and back."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
from bson.raw_bson import RawBSONDocument
from prefect import flow

from flows.contract import contract
from flows.cross_database import cross_database
from flows.rollback import rollback
from tasks.engines.mongodb.connect import connected as documents_in
from tasks.engines.mongodb.document import documents as documents_of
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.receiving.place import Place, mark, move, present
from tasks.engines.postgresql.transfer_rows import rows as rows_of
from tasks.expand import expand
from tasks.ledger.controls import clear_control, set_control
from tasks.ledger.state import load
from tasks.ledger.steps import step_records
from tasks.migration import open_migration
from tasks.model.errors import GateError, PreflightError, StateError
from tasks.model.status import MigrationState, Report, StepState
from tasks.model.transfer_steps import Relation
from tasks.preflight import preflight
from tasks.run import Run, engine_of
from tasks.swap import swap
from tasks.transfer import transfer
from tasks.validate import validate
from tests.integration.test_bson_there_and_back import arrive, back
from tests.servers.mariadb import connected
from tests.servers.remains import soon
from tests.two_databases import between, write_copy
from validations.transfer import of_rows, transferred

pytestmark = pytest.mark.usefixtures("prefect_server")
S = MigrationState
EDGES = """
create table `Odd "t` (
  a int, b varchar(20) character set latin1 collate latin1_bin, primary key (a, b),
  t1 tinyint, s smallint unsigned, m mediumint, i int(8) unsigned zerofill, big bigint, huge bigint unsigned,
  d decimal(20, 4), f float, g double, c char(5), v varchar(40), x longtext character set utf8mb4 collate utf8mb4_bin,
  e enum('x', 'y', ''), st set('p', 'q"r', 'back\\\\slash'), bi binary(4), vb varbinary(9), bl longblob,
  b1 bit(1), b9 bit(9),
  dt date, at datetime(6), ts timestamp(3) null, tm time(6), y year, u uuid, ip inet6,
  sum decimal(21, 4) generated always as (d + 1) stored, `select` int default 7)
"""
VALUES = """
insert into `Odd "t`
  (a, b, t1, s, m, i, big, huge, d, f, g, c, v, x, e, st, bi, vb, bl, b1, b9, dt, at, ts, tm, y, u, ip)
values (1, 'é', -128, 65535, -8388608, 42, -9223372036854775808, 18446744073709551615, -1234567890123456.7891, 16777217,
  1.7976931348623157e308, 'ab ', 'tab\\there ', 'line\\nback\\\\slash \\\\N 😀', '', 'p,q"r,back\\\\slash', 'a\\0b', '',
  x'00ff5c', b'1',
  b'101010101', '9999-12-31', '0001-01-01 00:00:00.000001', '2038-01-19 03:14:07.999', '-838:59:59.000000', 1901,
  '00112233-4455-6677-8899-aabbccddeeff', '::ffff:1.2.3.4'),
 (1, '', 127, 0, 8388607, 0, 9223372036854775807, 0, 0.0001, 0.1, 4.9e-324, '', '', '\\r', 'y', '', '',
  x'00', '', b'0', b'0',
  '2020-02-29', '2020-02-29 23:59:59.999999', '1970-01-01 00:00:01', '00:00:00.000001', 2155, null, null),
 (-1, 'NULL', null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
  null, null, null,
  null, null, null, null, null, null, null, null)
"""


@pytest.fixture
def profile(database: str, maria_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return between(tmp_path, monkeypatch, shop=maria_database, main=database)


@pytest.fixture
def target(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True, options="-c timezone=UTC") as conn:
        yield conn


@pytest.fixture
def source(maria_database: str) -> Iterator[pymysql.cursors.Cursor]:
    with connected(maria_database) as conn, conn.cursor() as cursor:
        cursor.execute("set session sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'")
        yield cursor


Copy = Callable[..., Report]


@pytest.fixture
def copy(profile: str, tmp_path: Path) -> Copy:
    """Run a copy with what the spec says of it."""

    def run(table: str, **transfer: Any) -> Report:
        return cross_database(write_copy(tmp_path, table, "main", database="shop", **transfer), profile)

    return run


def remains(target: psycopg.Connection[Any]) -> list[Any]:
    """What there is beside the system's own."""
    return target.execute(
        "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where nspname !~ '^pg_|information_schema' union all"
        " select nspname from pg_namespace where nspname like '\\_changeover%' order by 1"
    ).fetchall()


def test_every_type_arrives_as_it_is(
    source: Any, target: psycopg.Connection[Any], copy: Copy, database: str, documents: str
) -> None:
    """To the edges of every type, by names that need quotes; and the table that is made says the same.

    So do the documents that are made of it, and the table that these become.
    """
    source.execute(EDGES)
    source.execute(VALUES)
    report = copy('Odd "t')
    assert (report.state, report.rows) == (S.COMPLETE, 3)
    (before, after) = report.gates
    assert [check.name for check in before.checks] == [
        "rows read = rows written + rows rejected",
        "every row is there",
        "both databases say the same of their rows",
    ]
    assert after.passed
    types = dict(target.execute(
        "select attname, format_type(atttypid, atttypmod) || case when attnotnull then ' not null' else '' end"
        " from pg_attribute where attrelid = 'public.\"Odd \"\"t\"'::regclass and attnum > 0"
    ).fetchall())  # fmt: skip
    assert types == {
        "a": "integer not null", "b": "character varying(20) not null", "t1": "smallint", "s": "integer",
        "m": "integer",
        "i": "bigint", "big": "bigint", "huge": "numeric(20,0)", "d": "numeric(20,4)", "f": "real",
        "g": "double precision", "c": "character varying(5)", "v": "character varying(40)", "x": "text", "e": "text",
        "st": "text[]", "bi": "bytea", "vb": "bytea", "bl": "bytea", "b1": "bit(1)", "b9": "bit(9)", "dt": "date",
        "at": "timestamp(6) without time zone", "ts": "timestamp(3) with time zone", "tm": "interval", "y": "smallint",
        "u": "uuid", "ip": "inet", "sum": "numeric(21,4)", "select": "integer",
    }  # fmt: skip
    rows = target.execute('select (t.*)::text from "Odd ""t" t order by a, b').fetchall()
    assert [row[0] for row in rows] == [
        "(-1,NULL," + "," * 26 + ",7)",
        '(1,"",127,0,8388607,0,9223372036854775807,0,0.0001,0.1,5e-324,"","","\r",y,{},"\\\\x00000000","\\\\x00","\\\\x",0,'
        '000000000,2020-02-29,"2020-02-29 23:59:59.999999","1970-01-01 00:00:01+00",00:00:00.000001,2155,,,1.0001,7)',
        "(1,é,-128,65535,-8388608,42,-9223372036854775808,18446744073709551615,-1234567890123456.7891,1.6777216e+07,"
        '1.7976931348623157e+308,ab,"tab\there ","line\nback\\\\slash \\\\N 😀","",'
        '"{p,""q\\\\""r"",""back\\\\\\\\slash""}",'
        '"\\\\x61006200","\\\\x","\\\\x00ff5c",1,101010101,9999-12-31,"0001-01-01 00:00:00.000001",'
        '"2038-01-19 03:14:07.999+00",-838:59:59,1901,00112233-4455-6677-8899-aabbccddeeff,::ffff:1.2.3.4,'
        "-1234567890123455.7891,7)",
    ]
    texts = ("st", "b1", "b9", "dt", "at", "tm", "ip")
    names = [name for name in types if name not in ("a", "b")]
    fields = {name: {"column": name, **({"type": "string"} if name in texts else {})} for name in names}
    held = {
        name: written.replace("numeric(20,0)", "numeric(20)") for name, written in types.items() if name not in texts
    }
    columns = {name: {"type": held.get(name, "text"), "nulls": "null"} for name in names}
    with (
        connect(database, application_name="test", search_path="public") as conn,
        documents_in(documents, name="t") as others,
    ):
        action = back(conn, 'Odd "t', **fields)
        made = [RawBSONDocument(one.document) for one in documents_of(action, rows_of(conn, action, None, None))]
        others.c.insert_many(made)
        arrive(others, conn, a="_id.a", b="_id.b", **columns)
        listed = ", ".join(f'"{name}"::text' for name in types)
        one, other = (
            conn.execute(f"select {listed} from {name} order by a, b".encode()).fetchall()
            for name in ('"Odd ""t"', "t")
        )
    assert one == other


def test_what_does_not_fit_is_counted_and_decided(source: Any, target: psycopg.Connection[Any], copy: Copy) -> None:
    """Undecided, nothing is done; by a policy rows are left out, and noted, or values become NULL."""
    source.execute(
        "create table account (id bigint unsigned primary key, born date not null, seen timestamp null, "
        "name varchar(20),"
        " state enum('new', 'old'), took time, flag tinyint(1), amount decimal(12, 4))"
    )
    source.executemany(
        "insert ignore into account values (%s, %s, %s, %s, %s, %s, %s, %s)",
        [
            (1, "2020-01-01", "2020-01-01", "fits", "new", "23:59:59", 1, "1.5"),
            (2, "0000-00-00", None, None, None, None, None, None),
            (3, "2020-02-31", "0000-00-00", "a\0b", "other", "838:59:59", 7, "1.2345"),
            (4, "2020-00-15", None, "twenty characters !!", "old", "-00:00:01", 0, "99999999.0000"),
            (2**64 - 1, "2020-01-01", None, "", "old", "24:00:00", 0, "0.0100"),
        ],
    )

    def rules(unfit: str) -> dict[str, Any]:
        given = {
            "id": "bigint", "born": None, "seen": None, "name": "varchar(10)", "state": None, "took": "time",
            "flag": "boolean", "amount": "numeric(9,2)",
        }  # fmt: skip
        keeping = {name: {"unfit": "reject" if name == "id" else unfit} for name in given}
        return {name: {**keeping[name], **({"type": given[name]} if given[name] else {})} for name in given}

    with pytest.raises(PreflightError) as refused:
        copy("account", columns={name: {**rule, "unfit": "fail"} for name, rule in rules("fail").items()})
    for told in ("values of id fit: 1 ×", "values of born fit: 3 × no day", "seen fit: 1 ×", "name fit: 1 × the char"):
        assert told in str(refused.value)
    assert remains(target) == []

    assert copy("account", columns=rules("null")).state is S.COMPLETE
    assert target.execute("select * from account order by id").fetchall() == [
        target.execute(
            "select 1::bigint, date '2020-01-01', timestamptz '2020-01-01', 'fits', 'new', time '23:59:59', true, 1.50"
        ).fetchone(),
        (2, None, None, None, None, None, None, None),
        (3, None, None, None, None, None, None, None),
        (4, None, None, None, "old", None, False, None),
    ]
    (schema,) = next(row for row in remains(target) if str(row[0]).startswith("_changeover") and "." not in row[0])
    assert target.execute(f'select key, field, reason from "{schema}"._changeover_rejected'.encode()).fetchall() == [
        (str(2**64 - 1), "id", "out of the range of the type")
    ]
    account = f'select sum(read), sum(written), sum(rejected) from "{schema}"._changeover_account'
    assert target.execute(account.encode()).fetchone() == (5, 4, 1)


def test_there_and_back_and_for_good(source: Any, target: psycopg.Connection[Any], copy: Copy, profile: str) -> None:
    """A rollback leaves nothing, and takes nothing that somebody wrote; a contract leaves the table, and no more."""
    source.execute(
        "create table users (id int auto_increment primary key, first varchar(20) not null, last varchar(20) not null,"
        " secret text, active boolean not null default 1, unique (last, first))"
    )
    source.executemany("insert into users (first, last, active) values (%s, %s, %s)", [
        (f"f{n}", f"l{n}", n % 10 > 0) for n in range(3000)
    ])  # fmt: skip
    source.execute("alter table users auto_increment = 5000")
    given = {
        "where": "active",
        "omit": ["secret"],
        "columns": {
            "name": {"up": "concat(first, ' ', last)"},
            "active": {"type": "boolean"},
            "last": "first",
            "first": "last",
        },
    }
    report = copy("users", **given)
    assert (report.state, report.rows) == (S.COMPLETE, 2700)
    first = ("l1", "f1", True, "f1 l1")
    shown = 'select "first", "last", active, name from users where id = 2'
    assert target.execute(shown.encode()).fetchone() == first
    made = target.execute("insert into users (first, last, active) values ('', '', true) returning id").fetchone()
    assert made == (5000,)
    with pytest.raises(StateError, match="1 writes since the swap"):
        rollback("copy", profile, "shop")
    assert target.execute("select count(*) from users").fetchone() == (2701,)
    assert rollback("copy", profile, "shop", accept_loss=True).state is S.ROLLED_BACK
    assert remains(target) == []
    assert copy("users", **given).state is S.COMPLETE
    assert contract("copy", profile, "shop").state is S.CONTRACTED
    assert target.execute(shown.encode()).fetchone() == first
    assert remains(target) == [("users",), ("users_id_seq",), ("users_pkey",)]


def test_what_a_rollback_that_was_cut_off_has_taken_away_comes_back(
    source: Any, target: psycopg.Connection[Any], copy: Copy, profile: str
) -> None:
    """Killed before it looked, it left the table away from applications: the next one looks, and gives it back."""
    source.execute("create table t (id int primary key, v text)")
    source.execute("insert into t values (1, 'a')")
    assert copy("t").state is S.COMPLETE
    with engine_of(profile, "shop", "copy", "").connect("test") as conn:
        into = next(step.action for step in load(conn, "copy").plan.steps if step.key == "swap/all")
    assert isinstance(into, Relation)

    def withdraw() -> None:
        with target.transaction():
            move(target, present(target, into), into.helpers, into)
            mark(target, into, withdrawn=True)

    for done, named, undone, accept_loss in (
        ("insert into t values (2, 'new')", "1 writes since the swap", "delete from t where id = 2", False),
        ("alter table t add note text", "added: note", "alter table t drop note", False),
        ("create view v as select id from t", "rule _RETURN on view v", "drop view v", True),
    ):
        target.execute(done.encode())
        withdraw()
        with pytest.raises(StateError, match=named):
            rollback("copy", profile, "shop", accept_loss=accept_loss)
        assert target.execute("select v from public.t where id = 1").fetchone() == ("a",)
        assert present(target, into) == Place(schema_name="public", name="t")
        target.execute(undone.encode())
    withdraw()
    assert rollback("copy", profile, "shop").state is S.ROLLED_BACK
    assert remains(target) == []


def test_what_stands_in_the_way_is_left_alone(source: Any, target: psycopg.Connection[Any], copy: Copy) -> None:
    """A table that exists is neither written to nor dropped; and so where it comes into being meanwhile."""
    source.execute("create table t (id int primary key)")
    target.execute("create table t (mine text)")
    with pytest.raises(PreflightError, match="exists already"):
        copy("t")
    assert remains(target) == [("t",)]


def test_a_source_that_is_written_is_found_out(
    source: Any, target: psycopg.Connection[Any], profile: str, tmp_path: Path
) -> None:
    """Without capture nothing is carried over: the gate refuses, and nothing is left."""
    source.execute("create table t (id int primary key, v text)")
    source.executemany("insert into t values (%s, 'v')", [(n,) for n in range(100)])

    @flow
    def written_meanwhile() -> None:
        with open_migration(write_copy(tmp_path, "t", "main", database="shop"), profile) as m:
            preflight(m)
            expand(m)
            transfer(m)
            source.execute("update t set v = 'late' where id in (1, 99)")
            source.execute("delete from t where id = 3")
            source.execute("insert into t values (500, 'new')")
            validate(m, transferred("before_swap", m.plan, m.profile))

    with pytest.raises(GateError, match="3 rows are not there, or are others"):
        written_meanwhile()
    assert remains(target) == []


def test_after_a_hold_everything_is_compared_once_more(
    source: Any, target: psycopg.Connection[Any], profile: str, tmp_path: Path
) -> None:
    """A hold may last for days, and what the gate has seen is as old."""
    source.execute("create table t (id int primary key, v text)")
    source.executemany("insert into t values (%s, 'v')", [(n,) for n in range(100)])

    def release(run: Run) -> None:
        """Let the swap come once it has heeded the hold, which ends its session."""
        swaps = "select count(*) from pg_stat_activity where application_name like 'changeover % copy swap'"
        with run.ledger() as conn:
            try:
                assert soon(lambda: step_records(conn, "copy")["swap/all"].state is StepState.RUNNING, seconds=60)
                assert soon(lambda: target.execute(swaps).fetchone() == (0,), seconds=60)
                assert remains(target) != [("t",)]
            finally:
                clear_control(conn, "copy", "hold", "ben")

    @flow
    def held() -> None:
        with open_migration(write_copy(tmp_path, "t", "main", database="shop"), profile) as m:
            preflight(m)
            expand(m)
            transfer(m)
            validate(m, transferred("before_swap", m.plan, m.profile))
            source.execute("update t set v = 'late' where id = 1")
            with m.ledger() as conn:
                set_control(conn, "copy", "hold", True, "ben")
            thread = threading.Thread(target=release, args=(m,))
            thread.start()
            try:
                swap(m, of_rows("before_swap", m.plan, m.profile))
            finally:
                thread.join()

    with pytest.raises(GateError, match="1 rows are not there, or are others"):
        held()
    assert remains(target) == []
