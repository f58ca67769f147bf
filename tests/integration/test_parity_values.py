"""Values of PostgreSQL: whatever differs is told apart, and nothing else."""

import os
from collections.abc import Callable

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.parity_values import DIFFERENT, EQUAL, TYPES
from validations.parity.compare import Options, Table, compare
from validations.parity.report import Comparison, Verdict

Pairs = list[tuple[str, str, str]]


def fill(url: str, side: int, pairs: Pairs) -> None:
    """Make a table with a row and a column for each pair, all else null; and the same without its key."""
    with psycopg.connect(url, autocommit=True) as conn:
        # Types have another OID on the other side, as in a database that has lived.
        conn.execute(b"create type filler as enum ('x')" if side else b"select 1")
        conn.execute(TYPES.encode())
        columns = ", ".join(f"v{number} {pair[0]}" for number, pair in enumerate(pairs))
        conn.execute(f"create table keyed (id integer primary key, {columns})".encode())
        for number, pair in enumerate(pairs):
            conn.execute(f"insert into keyed (id, v{number}) values ({number}, {pair[1 + side]})".encode())
        conn.execute(b"create table bare as table keyed")


def keyed_and_bare(new_database: Callable[[], str], pairs: Pairs) -> list[Comparison]:
    """Compare the first values of pairs with the second ones, between two databases."""
    urls = new_database(), new_database()
    for side, url in enumerate(urls):
        fill(url, side, pairs)
    both = [[Table(url=url, database="main", name=name) for url in urls] for name in ("keyed", "bare")]
    return [compare(a, b, Options(lag=0)) for a, b in both]


def test_what_differs_is_told_apart(new_database: Callable[[], str]) -> None:
    """A part of the table holds one row, so that no pair hides behind another."""
    assert len(DIFFERENT) >= 25

    keyed, bare = keyed_and_bare(new_database, DIFFERENT)

    assert {one.key: one.columns for one in keyed.differences} == {
        (str(number),): (f"v{number}",) for number in range(len(DIFFERENT))
    }
    assert len(bare.differences) == 2 * len(DIFFERENT)


def test_what_is_equal_is_equal(new_database: Callable[[], str]) -> None:
    assert len(EQUAL) >= 25

    for result in keyed_and_bare(new_database, EQUAL):
        assert result.verdict is Verdict.EQUAL
        assert result.rows_a == len(EQUAL)
        # Nothing was even suspected.
        assert result.rechecked == 0


def test_two_values_that_have_changed_places_are_found(database: str) -> None:
    """The sum of record hashes, which many take for a digest, is the same for both, but for carries."""
    with psycopg.connect(database, autocommit=True) as conn:
        for name, one, other in (("a", "x", "y"), ("b", "y", "x")):
            conn.execute(f"create table {name} (id integer primary key, t text)".encode())
            conn.execute(f"insert into {name} values (1, '{one}'), (2, '{other}')".encode())
        sums = [conn.execute(f"select sum(hash_record_extended({n}, 0)) from {n}".encode()).fetchone() for n in "ab"]
        for name in "ab":
            conn.execute(f"create table bare_{name} as table {name}".encode())

    assert sums[0] is not None
    assert sums[1] is not None
    assert (int(sums[0][0]) - int(sums[1][0])) % 2**64 == 0
    for prefix in ("", "bare_"):
        a, b = (Table(url=database, database="main", name=f"{prefix}{name}") for name in "ab")
        assert compare(a, b).verdict is Verdict.DIFFERENT


def test_what_the_database_calls_equal_is_equal_on_request(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        for name, values in (("a", "1.0, '-0', '1 mon', 'x '"), ("b", "1.00, '0', '30 days', 'x'")):
            conn.execute(
                f"create table {name} (id int primary key, n numeric, f float8, i interval, c bpchar)".encode()
            )
            conn.execute(f"insert into {name} values (1, {values})".encode())
    a, b = (Table(url=database, database="main", name=name) for name in "ab")

    assert compare(a, b).differences[0].columns == ("n", "f", "i", "c")
    assert compare(a, b, Options(values_equal=True)).verdict is Verdict.EQUAL


_CELL = st.one_of(st.none(), st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=4))
_ROWS = st.dictionaries(st.integers(-(2**31), 2**31 - 1), st.tuples(_CELL, _CELL, st.floats(width=64)), max_size=8)


@settings(max_examples=int(os.environ.get("CHANGEOVER_PARITY_EXAMPLES", "15")))
@given(_ROWS, _ROWS, st.booleans())
def test_the_same_as_a_comparison_in_memory(
    generated: tuple[str, psycopg.Connection[tuple[object, ...]]],
    of_a: dict[int, tuple[object, ...]],
    of_b: dict[int, tuple[object, ...]],
    mostly_alike: bool,
) -> None:
    url, conn = generated
    if mostly_alike:
        of_b = of_a | dict(list(of_b.items())[:1])
    for name, rows in (("a", of_a), ("b", of_b)):
        conn.execute(f"truncate {name}".encode())
        for key, values in rows.items():
            conn.execute(f"insert into {name} values (%s, %s, %s, %s)".encode(), (key, *values))
    expected = {key for key in of_a.keys() | of_b.keys() if repr(of_a.get(key)) != repr(of_b.get(key))}

    found = compare(*(Table(url=url, database="main", name=name) for name in "ab"))

    assert {int(one.key[0]) for one in found.differences} == expected
    assert found.verdict is (Verdict.DIFFERENT if expected else Verdict.EQUAL)


@pytest.fixture(scope="module")
def generated(postgres: object) -> object:
    """A database with two empty tables, for many examples."""
    from tests.servers.postgres import fresh_database

    with fresh_database(postgres) as url, psycopg.connect(url, autocommit=True) as conn:  # type: ignore[arg-type]
        for name in "ab":
            conn.execute(f"create table {name} (id integer primary key, s text, t text, f float8)".encode())
        yield url, conn
