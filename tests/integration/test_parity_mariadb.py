"""MariaDB against MariaDB: what differs is told apart, and nothing else."""

import threading
import time
from collections.abc import Callable

import pytest

from tests.servers.mariadb import connected, run
from validations.parity.compare import Options, Table, compare
from validations.parity.report import Comparison, Kind, Verdict

# Without -0: MariaDB makes it 0 when it is written.
DIFFERENT = [
    ("decimal(30,20)", "0.1", "0.11"),
    ("decimal(30,20)", "5", "-5"),
    ("decimal(30,20)", "1e-20", "0"),
    ("decimal(12,0)", "1", "10000"),
    ("bigint", "-1", "4294967295"),
    ("bigint unsigned", "18446744073709551615", "9223372036854775807"),
    ("tinyint(1)", "1", "2"),
    ("double", "0.1e0", "0.1e0 + 2.8e-17"),
    ("double", "1e-20", "0"),
    ("float", "16777216", "16777218"),
    ("text", "'<null>'", "null"),
    ("text", "null", "'<null>'"),
    ("text", "''", "null"),
    ("text", "null", "''"),
    ("text", "'a'", "'a '"),
    ("text", "'a'", "'a\\n'"),
    ("text collate utf8mb4_general_ci", "'é'", "'e'"),
    ("varchar(9) collate utf8mb4_general_ci", "'A'", "'a'"),
    ("varchar(9) character set latin1", "'ä'", "'a'"),
    ("varbinary(9)", "x'00'", "x'0000'"),
    ("blob", "''", "null"),
    ("date", "'2020-02-29'", "'2020-03-01'"),
    ("datetime(6)", "'2020-01-01 00:00:00.000001'", "'2020-01-01'"),
    ("timestamp(6) null", "'2020-01-01 00:00:00.000001'", "'2020-01-01'"),
    ("time(3)", "'24:00'", "'00:00'"),
    ("time", "'-00:00:01'", "'00:00:01'"),
    ("year", "2020", "2021"),
    ("json", """'{"a": 1, "a": 2}'""", """'{"a": 2}'"""),
    ("json", "'null'", "null"),
    ("json", "'0.12345678901234567890'", "'0.12345678901234567891'"),
    ("enum('sad','glad')", "'sad'", "'glad'"),
    ("set('x','y')", "'x'", "'x,y'"),
    ("bit(9)", "b'0'", "b'100000000'"),
    ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12'"),
]
EQUAL = [
    ("decimal(30,20)", "0.10", "'0.1'"),
    ("decimal(30,20)", "1e-20", "0.00000000000000000001"),
    ("decimal(30,20)", "-0.0", "0.0"),
    ("bigint", "9223372036854775807", "'9223372036854775807'"),
    ("bigint unsigned", "18446744073709551615", "18446744073709551615"),
    ("smallint", "-32768", "'-32768'"),
    ("tinyint(1)", "true", "1"),
    ("double", "0.1", "0.1000000000000000055e0"),
    ("double", "-1e-300", "'-1e-300'"),
    ("float", "16777217", "16777216"),
    ("text", "null", "null"),
    ("text", "''", "''"),
    ("text", "'<null>'", "'<null>'"),
    ("text", "'Ä 😀 ''q''\\\\'", "concat('Ä 😀 ', '''q''', char(92))"),
    ("char(5)", "'ab'", "'ab   '"),
    ("varchar(9) character set latin1", "'é'", "'é'"),
    ("varbinary(9)", "x'DEAD'", "x'dead'"),
    ("blob", "''", "x''"),
    ("date", "'2020-02-29'", "20200229"),
    ("datetime(6)", "'2020-01-01 10:20:30.000001'", "'2020-01-01T10:20:30.000001'"),
    ("datetime", "'2020-01-01'", "'2020-01-01 00:00:00'"),
    ("timestamp null", "'2020-06-01 12:00:00'", "20200601120000"),
    ("time(2)", "'23:59:59.25'", "235959.25"),
    ("time", "'-838:59:59'", "'-838:59:59'"),
    ("year", "2020", "'2020'"),
    ("json", """'{"a": [1, 2.50]}'""", """'{"a": [1, 2.50]}'"""),
    ("enum('sad','glad')", "'sad'", "1"),
    ("set('x','y')", "'x,y'", "'y,x'"),
    ("bit(9)", "b'101'", "5"),
    ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "'a0eebc999c0b4ef8bb6d6bb9bd380a11'"),
    ("integer zerofill", "7", "'007'"),
]
ROWS, HOT = 3000, 777


def diff(url: str, **options: object) -> Comparison:
    """Compare the tables a and b."""
    a, b = (Table(url=url, database="maria", name=name) for name in "ab")
    return compare(a, b, Options(**options))  # type: ignore[arg-type]


def fill(url: str, pairs: list[tuple[str, str, str]]) -> None:
    """Make two tables with a row and a column for each pair, all else null."""
    columns = ", ".join(f"v{number} {pair[0]}" for number, pair in enumerate(pairs))
    for side, name in enumerate("ab", 1):
        run(
            url,
            f"create table {name} (id integer primary key, {columns}) character set utf8mb4 collate utf8mb4_bin",
            *(f"insert into {name} (id, v{n}) values ({n}, {pair[side]})" for n, pair in enumerate(pairs)),
        )


def test_what_differs_is_told_apart(maria_database: str) -> None:
    assert len(DIFFERENT) >= 25
    fill(maria_database, DIFFERENT)
    found = {one.key: one.columns for one in diff(maria_database).differences}
    assert [pair for n, pair in enumerate(DIFFERENT) if (str(n),) not in found] == []
    assert found == {(str(n),): (f"v{n}",) for n in range(len(DIFFERENT))}


def test_what_is_equal_is_equal(maria_database: str) -> None:
    assert len(EQUAL) >= 25
    fill(maria_database, EQUAL)
    result = diff(maria_database, values_in_reports=True)
    assert [(EQUAL[int(one.key[0])], one.columns, one.a, one.b) for one in result.differences] == []
    assert (result.verdict, result.rows_a, result.rows_b) == (Verdict.EQUAL, len(EQUAL), len(EQUAL))


@pytest.fixture
def followed(maria_database: str) -> str:
    """Two tables, of which one follows the other by triggers."""
    columns = "(id bigint primary key, n bigint not null, note varchar(40), later int)"
    run(
        maria_database,
        f"create table a {columns}",
        f"insert into a select seq, seq, concat('note ', seq), 0 from seq_1_to_{ROWS}",
        "create table b like a",
        "insert into b select * from a",
        "create trigger u after update on a for each row update b set n = new.n where id = new.id",
        "create trigger i after insert on a for each row insert into b values (new.id, new.n, new.note, new.later)",
        "create trigger d after delete on a for each row delete from b where id = old.id",
    )
    return maria_database


def writing(url: str, stop: threading.Event, turns: list[int]) -> Callable[[], None]:
    """Return what rewrites the hot row ten times a second, and others in between."""

    def write() -> None:
        with connected(url) as conn, conn.cursor() as cursor:
            while not stop.is_set():
                cursor.execute(f"update a set n = n + 1 where id = {HOT}")
                cursor.execute(f"update a set n = -n where id = {1000 + len(turns) * 7919 % 900}")
                cursor.execute(f"delete from a where id = {2000 + len(turns) % 900}")
                turns.append(1)
                time.sleep(0.1)

    return write


def test_what_is_planted_under_a_writer_is_found_and_nothing_else(followed: str) -> None:
    """In the first row, in the last, in one that is written ten times a second, and in rows that one side lacks."""
    run(
        followed,
        f"update b set note = 'planted' where id in (1, {HOT}, {ROWS})",
        "delete from b where id = 500",
        "insert into b values (-1, 0, 'only b', 0)",
    )
    stop, turns = threading.Event(), [1]
    writer = threading.Thread(target=writing(followed, stop, turns))
    writer.start()
    try:
        result = diff(followed, lag=0.2, patience=20.0)
    finally:
        stop.set()
        writer.join(20)
    assert len(turns) > 2
    named = {(one.kind, one.key): one.columns for one in result.differences}
    assert named == {
        (Kind.CHANGED, ("1",)): ("note",),
        (Kind.CHANGED, (str(HOT),)): ("note",),
        (Kind.CHANGED, (str(ROWS),)): ("note",),
        (Kind.MISSING, ("500",)): (),
        (Kind.EXTRA, ("-1",)): (),
    }
    assert (result.verdict, result.unsettled) == (Verdict.DIFFERENT, ())
