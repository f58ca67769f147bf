"""The checks that a plan brings, evaluated against a real server."""

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tasks.model.status import CheckResult, GateResult
from validations.checks import Gate, QueryCheck, RowCheck
from validations.gates import evaluate


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def orders(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    connection.execute("create table orders (id int primary key, code text, number int)")
    connection.execute("insert into orders select g, g::text, g from generate_series(1, 1000) g")
    return connection


def rows(name: str = "number", **changes: Any) -> RowCheck:
    values: dict[str, Any] = {
        "table": "public.orders",
        "key": ("id",),
        "stored": "number",
        "computed": "code::int",
        "source": "orders",
    }
    return RowCheck(name=name, **(values | changes))


def query(violations: str, name: str = "query", **changes: Any) -> QueryCheck:
    return QueryCheck(name=name, table="public.orders", violations=violations, **changes)


def run(database: str, *checks: RowCheck | QueryCheck, values: bool = False) -> tuple[CheckResult, ...]:
    result = evaluate(Gate(name="before_swap", migration="test", checks=checks), database, values_in_reports=values)
    assert [check.name for check in result.checks] == [check.name for check in checks]
    assert result.passed == all(check.passed for check in result.checks)
    return result.checks


def test_equal_rows_pass_and_are_counted(database: str, orders: psycopg.Connection[Any]) -> None:
    (check,) = run(database, rows())
    assert check.passed
    assert check.evaluated
    assert check.message == "1,000 rows compared"
    assert check.seconds > 0


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("place", [1, 500, 1000])
@pytest.mark.parametrize(
    "planted", ["number = number + 1", "number = null", "code = null", "code = (number - 1)::text"]
)
def test_one_row_that_differs_is_found_wherever_it_is(
    database: str, orders: psycopg.Connection[Any], place: int, planted: str, exact: bool
) -> None:
    orders.execute(f"update orders set {planted} where id = {place}")
    (check,) = run(database, rows(exact=exact), values=True)
    assert not check.passed
    assert check.evaluated
    assert check.unexpected == 1
    assert check.message == "1 of 1,000 rows compared differ"
    assert check.examples == (str(place),)


@pytest.mark.parametrize("exact", [True, False])
def test_null_equals_null(database: str, orders: psycopg.Connection[Any], exact: bool) -> None:
    orders.execute("update orders set number = null, code = null where id % 2 = 0")
    (check,) = run(database, rows(exact=exact))
    assert check.passed


def test_images_tell_apart_what_values_do_not(database: str, connection: psycopg.Connection[Any]) -> None:
    connection.execute("create table orders (id int primary key, a numeric, b numeric)")
    connection.execute("insert into orders values (1, 1.0, 1.00)")
    by_image, by_value = run(
        database,
        rows("image", stored="a", computed="b", exact=True),
        rows("value", stored="a", computed="b", exact=False),
    )
    assert by_image.unexpected == 1
    assert by_value.passed


def test_all_differences_are_counted_and_ten_are_named(database: str, orders: psycopg.Connection[Any]) -> None:
    orders.execute("update orders set number = 0")
    shown, (hidden,) = run(database, rows(), values=True)[0], run(database, rows())
    assert shown.unexpected == hidden.unexpected == 1000
    assert len(shown.examples) == 10
    assert hidden.examples == ()


def test_a_composite_key_is_shown_whole(database: str, connection: psycopg.Connection[Any]) -> None:
    connection.execute("create table orders (a int, b text, number int, code text)")
    connection.execute("insert into orders values (1, 'x', 1, '2'), (2, null, 1, '1'), (3, null, 1, '2')")
    (check,) = run(database, rows(key=("a", "b")), values=True)
    assert sorted(check.examples) == ["1, x", "3, null"]


def test_an_expression_that_fails_on_one_row_fails_the_gate_and_hides_nothing(
    database: str, orders: psycopg.Connection[Any]
) -> None:
    orders.execute("update orders set code = 'classified' where id = 1000")
    orders.execute("update orders set number = null where id = 7")
    checks = (rows(), rows("null", stored="number", computed="id"), rows("same", stored="id", computed="id"))
    broken, differing, same = run(database, *checks)
    assert not broken.evaluated
    assert not broken.passed
    assert broken.message == ('could not be evaluated: 22P02 invalid input syntax for type integer: "…"')
    assert (differing.evaluated, differing.unexpected) == (True, 1)
    assert same.passed
    (told,) = run(database, rows(), values=True)
    assert "classified" in told.message


def test_what_a_function_raises_is_not_repeated(database: str, orders: psycopg.Connection[Any]) -> None:
    orders.execute(
        """
        create function picky(code text) returns int language plpgsql as $$
        begin raise exception 'customer % is bad', code; end $$
        """
    )
    orders.execute("update orders set code = 'classified'")
    (check,) = run(database, rows(computed="picky(code)"))
    assert check.message == "could not be evaluated: P0001 raise exception"


def test_a_missing_column_is_named(database: str, orders: psycopg.Connection[Any]) -> None:
    (check,) = run(database, rows(computed="nonesuch"))
    assert (check.passed, check.evaluated) == (False, False)
    assert check.message == 'could not be evaluated: 42703 column "nonesuch" does not exist'


def test_a_missing_table_fails(database: str) -> None:
    results = run(database, rows(), query("select 1 from nonesuch"))
    assert [(check.passed, check.evaluated) for check in results] == [(False, False)] * 2
    assert all("42P01" in check.message for check in results)


def test_an_empty_table_passes_and_says_so(database: str, orders: psycopg.Connection[Any]) -> None:
    orders.execute("truncate orders")
    (check,) = run(database, rows())
    assert check.passed
    assert check.message == "public.orders is empty: 0 rows compared"


def test_comparing_no_row_of_a_table_that_has_rows_fails(database: str, orders: psycopg.Connection[Any]) -> None:
    (check,) = run(database, rows(where="id > 1000"))
    assert (check.passed, check.evaluated) == (False, True)
    assert check.message == "public.orders has rows, and none of them was compared"


def test_where_keeps_the_expression_from_other_rows(database: str, orders: psycopg.Connection[Any]) -> None:
    orders.execute("update orders set code = 'x', number = null where id = 3")
    orders.execute("update orders set number = 0 where id = 4")
    (check,) = run(database, rows(where="code <> 'x' -- and so on"), values=True)
    assert check.message == "1 of 999 rows compared differ"
    assert check.examples == ("4",)


def test_violations_are_counted_and_named(database: str, orders: psycopg.Connection[Any]) -> None:
    orders.execute("update orders set number = null where id in (5, 6)")
    missing = "select id, code from orders where number is null -- mandatory"
    none, some = run(
        database, query("select id from orders where id is null", "none"), query(missing, "some"), values=True
    )
    assert none.passed
    assert none.message == "no violations"
    assert (some.passed, some.evaluated, some.unexpected) == (False, True, 2)
    assert some.message == "2 violations"
    assert some.examples == ("5", "6")


def test_what_is_wrong_with_the_structure_is_named_in_every_report(
    database: str, orders: psycopg.Connection[Any]
) -> None:
    orders.execute("alter table orders add constraint young check (id > 0) not valid")
    unvalidated = "select conname from pg_constraint where not convalidated"
    (check,) = run(database, query(unvalidated, structural=True))
    assert check.message == "1 violation: young"
    orders.execute("alter table orders validate constraint young")
    (check,) = run(database, query(unvalidated, structural=True))
    assert check.passed


def test_a_gate_without_checks_does_not_pass(database: str) -> None:
    result = evaluate(Gate(name="before_swap", migration="test"), database)
    assert result == GateResult(gate="before_swap", checks=())
    assert not result.passed


def test_row_checks_of_one_source_cost_one_pass(database: str, connection: psycopg.Connection[Any]) -> None:
    connection.execute("create table orders (id int primary key, code text, number int)")
    connection.execute("insert into orders select g, g::text, g from generate_series(1, 200000) g")
    connection.execute("vacuum analyze orders")
    run(database, rows())  # the import of Great Expectations, and a warm cache
    before = _rows_read(connection)
    started = time.perf_counter()
    checks = run(database, *(rows(f"check {n}", computed=f"code::int + {n} - {n}") for n in range(10)))
    seconds = time.perf_counter() - started
    read = _rows_read(connection) - before
    by_hand = ", ".join(
        f"count(*) filter (where row(number)::record *<> row(code::int + {n} - {n})::record)" for n in range(10)
    )
    started = time.perf_counter()
    connection.execute(f"select count(*), {by_hand} from orders")
    print(f"ten checks of 200,000 rows: {seconds:.2f} s; by hand: {time.perf_counter() - started:.2f} s")
    assert all(check.passed for check in checks)
    assert 200_000 <= read <= 200_001, "every row once, and one more to see that there is one"


def _rows_read(connection: psycopg.Connection[Any]) -> int:
    """Return how many rows of the table gates ever read in sequence."""
    gates = "select count(*) from pg_stat_activity where application_name = 'changeover test gate'"
    # A session hands in its statistics at the latest when it ends.
    while connection.execute(gates).fetchone() != (0,):
        time.sleep(0.02)
    row = connection.execute("select seq_tup_read from pg_stat_user_tables where relname = 'orders'").fetchone()
    assert row is not None
    return int(row[0])
