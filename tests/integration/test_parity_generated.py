"""Tables of values that nobody thought of: whatever differs is told apart, and nothing else, on and between engines."""

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pymysql
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from tests.legs import TIMES
from tests.servers import mariadb as maria
from tests.servers.postgres import PostgresServer, fresh_database
from validations.parity.compare import Options, Table, compare
from validations.parity.report import Comparison, Kind, Verdict

EXAMPLES = int(os.environ.get("CHANGEOVER_PARITY_EXAMPLES", 8 * TIMES))
Key = tuple[str, int]
Rows = dict[Key, tuple[Any, ...]]

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=4)
KEYS = st.tuples(TEXT, st.integers(-3, 3))
DECIMALS = st.decimals(-(10**9), 10**9, allow_nan=False, places=4)
# Python has no year before 1, nor MariaDB one before 1000; the table of pairs has those.
MOMENTS = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 30))
DATES = st.dates(date(1000, 1, 1))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)
NUMBERS = st.lists(st.none() | st.integers(-3, 3), max_size=3)
WORDS = st.lists(st.none() | TEXT, max_size=3)
ANY_DECIMAL = st.builds(
    lambda digits, scale: Decimal(digits).scaleb(-scale), st.integers(-(10**12), 10**12), st.integers(0, 20)
)


def rows_of(*cells: st.SearchStrategy[Any]) -> st.SearchStrategy[Rows]:
    """Rows by their key, each cell of which may be NULL."""
    return st.dictionaries(KEYS, st.tuples(*(st.none() | cell for cell in cells)), max_size=6)


def alike(of_a: Rows, of_b: Rows) -> Rows:
    """Return the rows of the first, one with the values of a row of the other; every other time another is missing."""
    first = dict(zip(list(of_a)[:1], of_b.values(), strict=False))
    rows = list((of_a | first).items())
    return dict(rows[: len(rows) - len(of_b) % 2])


def plain(value: object) -> str:
    """Write a value so that two are written alike if they are the same to a database: 1.0 is not 1.00, true not 1."""
    match value:
        case Decimal():
            return f"{abs(value):f}" if value == 0 else f"{value:f}"
        case datetime() | date():
            return value.isoformat()
        case _:
            return json.dumps(value, sort_keys=True)


def expected(of_a: Rows, of_b: Rows, names: tuple[str, ...]) -> set[tuple[Kind, Key, tuple[str, ...]]]:
    """Compare in memory."""
    found: set[tuple[Kind, Key, tuple[str, ...]]] = {(Kind.MISSING, key, ()) for key in of_a.keys() - of_b.keys()}
    found |= {(Kind.EXTRA, key, ()) for key in of_b.keys() - of_a.keys()}
    for key in of_a.keys() & of_b.keys():
        pairs = zip(names, of_a[key], of_b[key], strict=True)
        if columns := tuple(name for name, a, b in pairs if plain(a) != plain(b)):
            found.add((Kind.CHANGED, key, columns))
    return found


def found_by(result: Comparison) -> set[tuple[Kind, Key, tuple[str, ...]]]:
    """Return what a comparison has found, in the same words."""
    assert result.unsettled == ()
    assert result.verdict is (Verdict.DIFFERENT if result.differences else Verdict.EQUAL)
    return {(one.kind, (one.key[0], int(one.key[1])), one.columns) for one in result.differences}


ONE_ENGINE = {
    "d": ("numeric", "%s"),
    "at": ("timestamp", "%s"),
    "tz": ("timestamptz", "%s"),
    "day": ("date", "%s"),
    "j": ("jsonb", "%s"),
    "numbers": ("int[]", "%s::int[]"),
    "words": ("text[]", "%s::text[]"),
}
ROWS = rows_of(
    ANY_DECIMAL,
    MOMENTS,
    MOMENTS.map(lambda one: one.replace(tzinfo=UTC)),
    DATES,
    JSON.map(lambda one: [one]),
    NUMBERS,
    WORDS,
)
BOTH_ENGINES = {
    "d": ("numeric(20,4)", "decimal(20,4)"),
    "at": ("timestamp", "datetime(6)"),
    "day": ("date", "date"),
    "j": ("jsonb", "json"),
    "t": ("text", "text"),
}
COMMON_ROWS = rows_of(DECIMALS, MOMENTS, DATES, JSON.map(lambda one: [one]), TEXT)
PROFILE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # What is tried on two servers shrinks for minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


def as_json(cells: tuple[Any, ...], names: Mapping[str, object], wrap: Any) -> list[Any]:
    """Wrap the JSON of a row as a driver wants it."""
    return [wrap(cell) if name == "j" and cell is not None else cell for name, cell in zip(names, cells, strict=True)]


def write_postgresql(conn: psycopg.Connection[Any], table: str, rows: Rows, marks: Mapping[str, str]) -> None:
    """Put rows into a table in place of those that it has."""
    conn.execute(f"truncate {table}".encode())
    statement = f"insert into {table} values (%s, %s, {', '.join(marks.values())})".encode()
    for key, cells in rows.items():
        conn.execute(statement, (*key, *as_json(cells, marks, Jsonb)))


@pytest.fixture(scope="module")
def one_engine(postgres: PostgresServer) -> Iterator[tuple[str, psycopg.Connection[Any]]]:
    """A database with two empty tables, for many examples."""
    with fresh_database(postgres) as url, psycopg.connect(url, autocommit=True) as conn:
        columns = ", ".join(f"{name} {kind}" for name, (kind, _) in ONE_ENGINE.items())
        for name in "ab":
            conn.execute(f"create table {name} (k text, n int, {columns}, primary key (k, n))".encode())
        yield url, conn


@pytest.fixture(scope="module")
def engines(
    postgres: PostgresServer, mariadb: maria.MariaServer
) -> Iterator[tuple[str, str, psycopg.Connection[Any], "pymysql.Connection[Any]"]]:
    """A database of each engine with an empty table, for many examples."""
    ours, theirs = (", ".join(f"{name} {kind[side]}" for name, kind in BOTH_ENGINES.items()) for side in (0, 1))
    with fresh_database(postgres) as url, psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"create table t (k text, n int, {ours}, primary key (k, n))".encode())
        with maria.fresh_database(mariadb) as other_url, maria.connected(other_url) as other:
            with other.cursor() as cursor:
                key = "k varchar(40) collate utf8mb4_nopad_bin, n int"
                cursor.execute(f"create table t ({key}, {theirs}, primary key (k, n)) character set utf8mb4")
            yield url, other_url, conn, other


@PROFILE
@given(ROWS, ROWS, st.booleans())
def test_tables_of_postgresql_as_in_memory(
    one_engine: tuple[str, psycopg.Connection[Any]], of_a: Rows, of_b: Rows, mostly_alike: bool
) -> None:
    """Numerics with their scale, moments, JSON, arrays, and a key of a text and a number."""
    url, conn = one_engine
    of_b = alike(of_a, of_b) if mostly_alike else of_b
    marks = {name: mark for name, (_, mark) in ONE_ENGINE.items()}
    for name, rows in (("a", of_a), ("b", of_b)):
        write_postgresql(conn, name, rows, marks)

    a, b = (Table(url=url, database="main", name=name) for name in "ab")
    result = compare(a, b)

    assert found_by(result) == expected(of_a, of_b, tuple(ONE_ENGINE))


@PROFILE
@given(COMMON_ROWS, COMMON_ROWS, st.booleans())
def test_between_engines_as_in_memory(
    engines: tuple[str, str, psycopg.Connection[Any], "pymysql.Connection[Any]"],
    of_a: Rows,
    of_b: Rows,
    mostly_alike: bool,
) -> None:
    url, other_url, conn, other = engines
    of_b = alike(of_a, of_b) if mostly_alike else of_b
    write_postgresql(conn, "t", of_a, dict.fromkeys(BOTH_ENGINES, "%s"))
    with other.cursor() as cursor:
        cursor.execute("delete from t")
        for key, cells in of_b.items():
            values = (*key, *as_json(cells, BOTH_ENGINES, json.dumps))
            cursor.execute(f"insert into t values (%s, %s, {', '.join(['%s'] * len(cells))})", values)

    a, b = Table(url=url, database="pg", name="t"), Table(url=other_url, database="maria", name="t")
    result = compare(a, b, Options(lag=0))

    assert found_by(result) == expected(of_a, of_b, tuple(BOTH_ENGINES))
