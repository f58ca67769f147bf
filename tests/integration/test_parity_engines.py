"""PostgreSQL against MariaDB: equal rows are equal, and what differs is named."""

import threading

import psycopg
import pytest

from tasks.model.errors import PreflightError
from tests.servers.mariadb import connected
from validations.parity.compare import Options, Table, compare
from validations.parity.report import Comparison, Kind, Verdict

EQUAL = [
    # PostgreSQL: type and value; MariaDB: type and value.
    ("bigint", "-9223372036854775808", "bigint", "-9223372036854775808"),
    ("numeric(20)", "18446744073709551615", "bigint unsigned", "18446744073709551615"),
    ("smallint", "7", "tinyint", "7"),
    ("boolean", "true", "tinyint(1)", "1"),
    ("boolean", "false", "boolean", "false"),
    ("numeric(12,2)", "-0.10", "decimal(12,2)", "-0.1"),
    ("numeric", "1.5", "decimal(30,10)", "1.5"),
    ("numeric", "100", "decimal(10,0)", "100"),
    ("numeric", "0", "decimal(10,4)", "0"),
    ("numeric", "1e-20", "decimal(40,20)", "0.00000000000000000001"),
    ("float8", "0.1", "double", "0.1"),
    ("float8", "1e20", "double", "1e20"),
    ("float8", "-1e-300", "double", "-1e-300"),
    ("float8", "0.1::float8 + 0.2", "double", "0.1e0 + 0.2e0"),
    ("float4", "16777216", "float", "16777216"),
    ("text", "''", "text", "''"),
    ("text", "'<null>'", "text", "'<null>'"),
    ("text", "null", "text", "null"),
    ("text", "'Ä 😀 ''q'''", "text", "'Ä 😀 ''q'''"),
    ("text", "'a '", "text", "'a '"),
    ("varchar(9)", "'a'", "varchar(9) collate utf8mb4_general_ci", "'a'"),
    ("char(5)", "'ab'", "char(5)", "'ab'"),
    ("text", "'latin é'", "varchar(20) character set latin1", "'latin é'"),
    ("bytea", "'\\x00ff20'", "varbinary(9)", "x'00ff20'"),
    ("bytea", "'\\x'", "blob", "''"),
    ("date", "'2020-02-29'", "date", "'2020-02-29'"),
    ("timestamp", "'2020-01-01 10:20:30.000001'", "datetime(6)", "'2020-01-01 10:20:30.000001'"),
    ("timestamp", "'2020-01-01 00:00:00'", "datetime", "'2020-01-01'"),
    ("timestamptz", "'2020-01-01 02:00:00.5+02'", "timestamp(3)", "'2020-01-01 00:00:00.5'"),
    ("time", "'23:59:59.25'", "time(2)", "'23:59:59.25'"),
    ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "char(36)", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
    ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
    ("jsonb", """'{"b": [1, 2.50, null], "a": "x"}'""", "json", """'{"a":"x","b":[1,2.50,null]}'"""),
    ("mood", "'sad'", "enum('sad','glad')", "'sad'"),
    ("integer", "5", "bit(8)", "b'101'"),
    ("integer", "2020", "year", "2020"),
    ("integer", "7", "int(5) zerofill", "7"),
    ("numeric", "7.5", "decimal(8,2) zerofill", "7.5"),
]
DIFFERENT = [
    ("bigint", "5", "bigint", "-5"),
    ("bigint", "-1", "bigint unsigned", "4294967295"),
    ("boolean", "true", "tinyint(1)", "0"),
    ("boolean", "true", "tinyint(1)", "2"),
    ("numeric", "0.1", "decimal(4,2)", "0.11"),
    ("numeric", "1e-20", "decimal(30,10)", "0"),
    ("numeric", "'NaN'", "decimal(4,2)", "null"),
    ("numeric", "100", "decimal(10,0)", "1"),
    ("float8", "0.1::float8 + 2.8e-17", "double", "0.1"),
    ("float8", "'-0'", "double", "0"),
    ("float8", "'infinity'", "double", "1.7976931348623157e308"),
    ("float4", "16777218", "float", "16777216"),
    ("text", "'<null>'", "text", "null"),
    ("text", "null", "text", "'<null>'"),
    ("text", "''", "text", "null"),
    ("text", "null", "text", "'-'"),
    ("text", "'a'", "text", "'a '"),
    ("text", "'a'", "text collate utf8mb4_general_ci", "'A'"),
    ("text", "'e'", "text collate utf8mb4_general_ci", "'é'"),
    ("text", "'1:'", "text", "'1'"),
    ("bytea", "'\\x00'", "varbinary(9)", "x'0000'"),
    ("date", "'0044-03-15 BC'", "date", "'0044-03-15'"),
    ("date", "'infinity'", "date", "'9999-12-31'"),
    ("timestamp", "'2020-01-01 00:00:00.000001'", "datetime", "'2020-01-01'"),
    ("timestamptz", "'2020-01-01 00:00:00+01'", "datetime", "'2020-01-01 00:00:00'"),
    ("timestamp", "'0044-03-15 10:00 BC'", "datetime", "'0044-03-15 10:00'"),
    ("time", "'24:00'", "time", "'00:00'"),
    ("jsonb", "'null'", "json", "null"),
    ("jsonb", "'0.12345678901234567890'", "json", "'0.12345678901234567891'"),
    ("jsonb", """'{"a": 2}'""", "json", """'{"a": 1, "a": 2}'"""),
    ("jsonb", """'"1"'""", "json", "'1'"),
    ("mood", "'sad'", "enum('sad','glad')", "'glad'"),
    ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "char(36)", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12'"),
]
Urls = tuple[str, str]


@pytest.fixture
def urls(database: str, maria_database: str) -> Urls:
    """A database of each engine."""
    return database, maria_database


def on_both(urls: Urls, *statements: str | tuple[str, str]) -> None:
    """Carry out statements on both engines; a pair has one for each."""
    with psycopg.connect(urls[0], autocommit=True) as conn, connected(urls[1]) as other, other.cursor() as cursor:
        for statement in statements:
            ours, theirs = (statement, statement) if isinstance(statement, str) else statement
            if ours:
                conn.execute(ours.encode())
            if theirs:
                cursor.execute(theirs)


def diff(urls: Urls, name: str = "t", *, back: bool = False, **options: object) -> Comparison:
    """Compare the tables of one name; `back`: MariaDB is A."""
    a, b = (Table(url=url, database=label, name=name) for url, label in zip(urls, ("pg", "maria"), strict=True))
    if back:
        a, b = b, a
    return compare(a, b, Options(**{"lag": 0, **options}))  # type: ignore[arg-type]


def fill(urls: Urls, pairs: list[tuple[str, str, str, str]]) -> None:
    """Make a table with a row and a column for each pair, all else null."""
    ours = ", ".join(f"v{number} {pair[0]}" for number, pair in enumerate(pairs))
    theirs = ", ".join(f"v{number} {pair[2]}" for number, pair in enumerate(pairs))
    # MariaDB gives a first TIMESTAMP a default of its own.
    theirs = theirs.replace("timestamp(3)", "timestamp(3) null")
    on_both(
        urls,
        ("create type mood as enum ('sad', 'glad')", ""),
        (f"create table t (id integer primary key, {ours})", f"create table t (id integer primary key, {theirs})"),
        *(
            (
                f"insert into t (id, v{number}) values ({number}, {pair[1]})",
                f"insert into t (id, v{number}) values ({number}, {pair[3]})",
            )
            for number, pair in enumerate(pairs)
        ),
    )


@pytest.mark.parametrize("back", [False, True])
def test_what_is_equal_is_equal(urls: Urls, back: bool) -> None:
    assert len(EQUAL) >= 25
    fill(urls, EQUAL)

    result = diff(urls, back=back, values_in_reports=True)

    assert [(EQUAL[int(one.key[0])], one.columns, one.a, one.b) for one in result.differences] == []
    assert (result.verdict, result.rows_a, result.rows_b) == (Verdict.EQUAL, len(EQUAL), len(EQUAL))


def test_what_differs_is_told_apart(urls: Urls) -> None:
    assert len(DIFFERENT) >= 25
    fill(urls, DIFFERENT)

    result = diff(urls)

    missed = set(range(len(DIFFERENT))) - {int(one.key[0]) for one in result.differences}
    assert [DIFFERENT[number] for number in sorted(missed)] == []
    assert {one.key: one.columns for one in result.differences} == {
        (str(number),): (f"v{number}",) for number in range(len(DIFFERENT))
    }


@pytest.mark.parametrize(
    ("kinds", "keys"),
    [
        (("bigint", "bigint"), ("n - 700", "cast(n as signed) - 700")),
        (("text", "varchar(40)"), ("'Ab ' || n || repeat('z', n % 3)", "concat('Ab ', n, repeat('z', n % 3))")),
        (("uuid", "uuid"), ("('a0eebc99-9c0b-4ef8-bb6d-' || lpad(to_hex(n), 12, '0'))::uuid",
          "concat('a0eebc99-9c0b-4ef8-bb6d-', lpad(hex(n), 12, '0'))")),
        (("numeric(9,3)", "decimal(9,3)"), ("n / 8.0", "n / 8.0")),
        (("bytea", "varbinary(16)"), ("decode(md5(n::text), 'hex')", "unhex(md5(n))")),
        (("timestamptz", "timestamp"), ("timestamptz '2020-06-01+00' + n * interval '1 s'",
          "timestampadd(second, n, '2020-06-01')")),
    ],
)  # fmt: skip
def test_keys_of_every_kind(urls: Urls, kinds: tuple[str, str], keys: tuple[str, str]) -> None:
    ours, theirs = kinds
    on_both(
        urls,
        (f"create table t (id {ours} primary key, v text)", f"create table t (id {theirs} primary key, v text)"),
        (
            f"insert into t select {keys[0]}, 'v' || n from generate_series(1, 1500) as n",
            f"insert into t select {keys[1]}, concat('v', n) from (select seq as n from seq_1_to_1500) as s",
        ),
    )
    assert diff(urls).verdict is Verdict.EQUAL

    on_both(
        urls,
        ("", "update t set v = 'other' where v in ('v1', 'v1500')"),
        ("", "delete from t where v = 'v77'"),
        ("delete from t where v = 'v78'", ""),
    )
    for back in (False, True):
        kinds_found = sorted(one.kind for one in diff(urls, back=back).differences)
        assert kinds_found == [Kind.CHANGED, Kind.CHANGED, Kind.EXTRA, Kind.MISSING]


def test_texts_of_other_character_sets_and_collations_are_compared_by_what_they_say(urls: Urls) -> None:
    kinds = ("utf8mb4 collate utf8mb4_general_ci", "utf8mb4 collate utf8mb4_unicode_520_ci", "latin1", "utf16")
    theirs = ", ".join(f"t{number} varchar(20) character set {kind}" for number, kind in enumerate(kinds))
    values = ", ".join(["'Ärger é'"] * len(kinds))
    on_both(
        urls,
        ("create table t (id int primary key, t0 text, t1 text, t2 text, t3 text)",
         f"create table t (id int primary key, {theirs})"),
        f"insert into t values (1, {values}), (2, {values})",
    )  # fmt: skip
    assert diff(urls).verdict is Verdict.EQUAL

    on_both(urls, ("", "update t set t0 = 'ärger é', t1 = 'Arger é', t2 = 'ärger é', t3 = 'Ärger e' where id = 2"))
    assert [(one.key, one.columns) for one in diff(urls).differences] == [(("2",), ("t0", "t1", "t2", "t3"))]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("id int primary key, t text, u text",
         "id int primary key, t text collate utf8mb4_nopad_bin, u text collate utf8mb4_bin"),
        ("id int, t text, u text, primary key (t, id)",
         "id int, t varchar(40) collate utf8mb4_nopad_bin, u text, primary key (t, id)"),
    ],
)  # fmt: skip
def test_two_collations_by_bytes_stand_side_by_side(urls: Urls, ours: str, theirs: str) -> None:
    """Which MariaDB puts together into one text only where something says by which of the two."""
    on_both(
        urls,
        (f"create table t ({ours})", f"create table t ({theirs})"),
        "insert into t values (1, 'é', 'Ä'), (2, 'é', 'ä')",
    )
    assert diff(urls).verdict is Verdict.EQUAL

    on_both(urls, ("", "update t set u = 'ä' where id = 1"))
    assert [(one.key[-1], one.columns) for one in diff(urls).differences] == [("1", ("u",))]


def test_without_a_key_rows_are_counted(urls: Urls) -> None:
    on_both(urls, "create table t (n int, v varchar(9))", "insert into t values (1, 'x'), (1, 'x'), (2, null)")
    assert diff(urls).verdict is Verdict.EQUAL

    on_both(urls, ("", "insert into t values (1, 'x')"))
    result = diff(urls)
    assert [(one.rows_a, one.rows_b) for one in result.differences] == [(2, 3)]
    assert result.position_b.log


def test_a_row_that_is_written_all_the_time_is_judged_by_the_columns_that_stand_still(urls: Urls) -> None:
    """MariaDB has no version of a row: its values are one, so that what has just been written differs from nothing."""
    on_both(
        urls,
        "create table t (id int primary key, n bigint, note varchar(9))",
        ("insert into t values (1, -1, 'x'), (2, -1, 'y')", "insert into t values (1, 0, 'x'), (2, 0, 'z')"),
    )
    stop = threading.Event()

    def restless() -> None:
        with connected(urls[1]) as conn, conn.cursor() as cursor:
            while not stop.wait(0.05):
                cursor.execute("update t set n = n + 1")

    writer = threading.Thread(target=restless)
    writer.start()
    try:
        result = diff(urls, back=True, lag=0.5, patience=2)
    finally:
        stop.set()
        writer.join(10)

    assert [(one.key, one.columns) for one in result.differences] == [(("2",), ("note",))]
    assert [one.key for one in result.unsettled] == [("1",)]


def test_what_cannot_be_compared_is_refused(urls: Urls) -> None:
    on_both(
        urls,
        (
            "create table t (id int primary key, v interval, f float8)",
            "create table t (id int primary key, v time, f int)",
        ),
        ("create table u (f float8)", "create table u (f double)"),
    )
    with pytest.raises(PreflightError, match="f is double precision in A and int"):
        diff(urls, ignored=["v"])
    with pytest.raises(PreflightError, match="cannot be told by f"):
        diff(urls, "u")
    with pytest.raises(PreflightError, match="--values-equal is only there between tables of PostgreSQL"):
        diff(urls, ignored=["v", "f"], values_equal=True)
    with pytest.raises(PreflightError, match="there is no table nobody"):
        diff(urls, "nobody", back=True)
    with pytest.raises(PreflightError, match="evaluated by PostgreSQL only"):
        diff(urls, back=True, mapped={"f": "id + 0"})
