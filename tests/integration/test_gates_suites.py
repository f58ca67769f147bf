"""The user's own Great Expectations suites, evaluated against a real server."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tasks.model.status import CheckResult
from validations.checks import Gate
from validations.gates import evaluate

MODULE = """
import great_expectations as gx
import great_expectations.expectations as gxe


def positive():
    return gx.ExpectationSuite(
        "orders",
        expectations=[
            gxe.ExpectColumnValuesToBeBetween(column="number", min_value=1),
            gxe.ExpectColumnValuesToBeUnique(column="id"),
        ],
    )


def missing_column():
    return gx.ExpectationSuite(
        "orders",
        expectations=[
            gxe.ExpectColumnValuesToNotBeNull(column="nonesuch"),
            gxe.ExpectColumnValuesToNotBeNull(column="id"),
        ],
    )


def casting():
    query = "select * from {batch} where code::int < 0"
    return gx.ExpectationSuite("orders", expectations=[gxe.UnexpectedRowsExpectation(unexpected_rows_query=query)])


def doubled():
    query = "select * from {batch} where number % 10 = 0"
    return gx.ExpectationSuite("orders", expectations=[gxe.UnexpectedRowsExpectation(unexpected_rows_query=query)])


def writing():
    query = "select * from {batch} where erase() > 0"
    return gx.ExpectationSuite("orders", expectations=[gxe.UnexpectedRowsExpectation(unexpected_rows_query=query)])


def maximum():
    return gx.ExpectationSuite("orders", expectations=[gxe.ExpectColumnMaxToBeBetween(column="number", max_value=9)])


def needs_parameter():
    return gx.ExpectationSuite(
        "orders",
        expectations=[gxe.ExpectColumnMaxToBeBetween(column="number", max_value={"$PARAMETER": "most"})],
    )


def lenient():
    return gx.ExpectationSuite(
        "orders", expectations=[gxe.ExpectColumnMaxToBeBetween(column="number", max_value=9, severity="info")]
    )


def empty():
    return gx.ExpectationSuite("orders")


def wrong():
    return {"name": "orders"}


def dropping():
    kept = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}}
    return gx.ExpectationSuite("orders", expectations=[kept, {"type": "expect_miracles", "kwargs": {}}])


def failing():
    raise RuntimeError("password=classified")


constant = 42
"""


@pytest.fixture
def orders(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create table orders (id int primary key, code text, number int)")
        connection.execute("insert into orders select g, g::text, g from generate_series(1, 100) g")
        yield connection


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "house_suites.py").write_text(MODULE)
    (tmp_path / "broken_suites.py").write_text("1 / 0")
    (tmp_path / "lacking_suites.py").write_text("import nonesuch_library")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("house_suites", "broken_suites", "lacking_suites"):
        sys.modules.pop(name, None)


def run(database: str, *suites: str, values: bool = False, search_path: str = "public") -> tuple[CheckResult, ...]:
    gate = Gate(name="before_swap", migration="test", suites=suites)
    result = evaluate(gate, database, values_in_reports=values, search_path=search_path)
    assert result.checks
    assert result.passed == all(check.passed for check in result.checks)
    return result.checks


def refused(database: str, suite: str) -> str:
    (check,) = run(database, suite)
    assert check.name == suite
    assert (check.passed, check.evaluated) == (False, False)
    prefix = "could not be evaluated: "
    assert check.message.startswith(prefix)
    return check.message.removeprefix(prefix)


def test_a_suite_that_holds_passes(database: str, orders: psycopg.Connection[Any]) -> None:
    checks = run(database, "house_suites:positive@public.orders")
    assert {check.name for check in checks} == {
        "orders: expect_column_values_to_be_between (number)",
        "orders: expect_column_values_to_be_unique (id)",
    }
    assert all(check.passed and check.evaluated and check.seconds > 0 for check in checks)
    assert {check.message for check in checks} == {"holds in a table of 100 rows"}


def test_unexpected_values_are_counted_and_shown_only_where_allowed(
    database: str, orders: psycopg.Connection[Any]
) -> None:
    orders.execute("update orders set number = -77 where id in (3, 5)")
    hidden = _by_name(run(database, "house_suites:positive@orders"))["expect_column_values_to_be_between"]
    assert (hidden.passed, hidden.evaluated, hidden.unexpected) == (False, True, 2)
    assert hidden.message == "2 of 100 values are unexpected"
    shown = _by_name(run(database, "house_suites:positive@orders", values=True))
    assert shown["expect_column_values_to_be_between"].message == (
        "2 of 100 values are unexpected, for example -77, -77"
    )
    assert shown["expect_column_values_to_be_unique"].passed


def _by_name(checks: tuple[CheckResult, ...]) -> dict[str, CheckResult]:
    return {check.name.split()[1]: check for check in checks}


def test_unexpected_rows_are_counted(database: str, orders: psycopg.Connection[Any]) -> None:
    (check,) = run(database, "house_suites:doubled@orders")
    assert (check.passed, check.unexpected, check.message) == (False, 10, "10 unexpected rows")


def test_an_aggregate_is_a_value_too(database: str, orders: psycopg.Connection[Any]) -> None:
    (hidden,), (shown,) = (run(database, "house_suites:maximum@orders", values=v) for v in (False, True))
    assert hidden.message == "does not hold"
    assert shown.message == "does not hold: observed 100"


def test_severity_lets_nothing_through(database: str, orders: psycopg.Connection[Any]) -> None:
    (check,) = run(database, "house_suites:lenient@orders")
    assert (check.passed, check.evaluated) == (False, True)


def test_a_missing_column_fails_and_the_others_are_evaluated(database: str, orders: psycopg.Connection[Any]) -> None:
    missing, found = sorted(run(database, "house_suites:missing_column@orders"), key=lambda c: c.passed)
    assert (missing.passed, missing.evaluated) == (False, False)
    assert missing.message == 'could not be evaluated: the column "nonesuch" does not exist'
    assert found.passed


def test_an_error_of_the_database_keeps_its_values(database: str, orders: psycopg.Connection[Any]) -> None:
    orders.execute("update orders set code = 'classified' where id = 9")
    (hidden,), (shown,) = (run(database, "house_suites:casting@orders", values=v) for v in (False, True))
    assert (hidden.passed, hidden.evaluated) == (False, False)
    assert hidden.message == 'could not be evaluated: 22P02 invalid input syntax for type integer: "…"'
    assert "classified" in shown.message


def test_a_suite_cannot_write(database: str, orders: psycopg.Connection[Any]) -> None:
    orders.execute(
        """
        create function erase() returns int language plpgsql as
        $$ begin delete from orders; return 1; end $$
        """
    )
    (check,) = run(database, "house_suites:writing@orders")
    assert (check.passed, check.evaluated) == (False, False)
    assert "25006" in check.message
    row = orders.execute("select count(*) from orders").fetchone()
    assert row == (100,)


def test_a_suite_that_wants_a_parameter_fails(database: str, orders: psycopg.Connection[Any]) -> None:
    checks = run(database, "house_suites:needs_parameter@orders")
    assert not any(check.passed or check.evaluated for check in checks)


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ("house_suites:empty@orders", "the suite is empty: it has no expectation"),
        ("house_suites:wrong@orders", "it gave a dict, not a Great Expectations ExpectationSuite"),
        ("house_suites:failing@orders", "calling house_suites:failing() raised RuntimeError"),
        ("house_suites:constant@orders", "constant of house_suites is an int, not a function"),
        ("house_suites:nothing@orders", "the module house_suites has no nothing"),
        ("nonesuch:suite@orders", "there is no module nonesuch: is its folder on PYTHONPATH?"),
        ("lacking_suites:suite@orders", "there is no module nonesuch_library: is its folder on PYTHONPATH?"),
        ("broken_suites:suite@orders", "importing broken_suites raised ZeroDivisionError"),
        ("house_suites:positive@nonesuch", "the table does not exist"),
        ("house_suites:positive@other.orders", "the table does not exist"),
        ("house_suites:positive@pg_class", "the table has the name of one in pg_catalog, which hides it"),
        ("house_suites:positive@", "it names no table: append schema.table after the @"),
        (
            "house_suites:positive",
            "it names no table, and the migration changes several: append @schema.table",
        ),
        (
            "house_suites@orders",
            "it is neither package.module:function@schema.table nor path/to/suite.json@schema.table",
        ),
        ("nonesuch.json@orders", "the file cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_evaluated_fails_with_its_reason(
    database: str, orders: psycopg.Connection[Any], suite: str, message: str
) -> None:
    assert refused(database, suite) == message


def test_an_empty_table_fails(database: str, orders: psycopg.Connection[Any]) -> None:
    orders.execute("truncate orders")
    suite = "house_suites:positive@orders"
    assert refused(database, suite) == "the table is empty, so the suite proves nothing"


def test_a_suite_reads_the_table_of_its_schema(database: str, orders: psycopg.Connection[Any]) -> None:
    orders.execute('create schema "Other, one"')
    orders.execute('create table "Other, one".orders (id int, number int)')
    orders.execute('insert into "Other, one".orders values (1, 0)')
    checks = _by_name(run(database, "house_suites:positive@Other, one.orders"))
    assert checks["expect_column_values_to_be_between"].unexpected == 1
    through_path = _by_name(run(database, "house_suites:positive@orders", search_path='"Other, one", public'))
    assert through_path["expect_column_values_to_be_between"].unexpected == 1


def _write(folder: Path, expectations: Any) -> str:
    (folder / "suite.json").write_text(json.dumps({"name": "orders", "expectations": expectations}))
    return "suite.json@public.orders"


def test_a_suite_in_json_is_read(database: str, orders: psycopg.Connection[Any], folder: Path) -> None:
    import great_expectations as gx

    not_null = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "code"}}
    suite = gx.ExpectationSuite("exported", [not_null])
    (folder / "exported.json").write_text(json.dumps(suite.to_json_dict()))
    (check,) = run(database, "exported.json@public.orders")
    assert check.passed
    orders.execute("update orders set code = null where id = 4")
    (check,) = run(database, "exported.json@public.orders")
    assert (check.passed, check.unexpected) == (False, 1)


def test_an_expectation_that_great_expectations_would_drop_fails_the_suite(
    database: str, orders: psycopg.Connection[Any], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}}
    assert run(database, _write(folder, [good]))[0].passed
    unknown = {"type": "expect_miracles", "kwargs": {}}
    assert refused(database, _write(folder, [good, unknown])) == "1 of its expectations are not valid"
    suite = "house_suites:dropping@public.orders"
    assert refused(database, suite) == "1 of its expectations are not valid"
    assert caplog.records == [], "Great Expectations says so only in its log, which is ours to keep quiet"


def test_an_expectation_with_a_wrong_field_fails_the_suite(
    database: str, orders: psycopg.Connection[Any], folder: Path
) -> None:
    misspelt = {"type": "expect_column_values_to_not_be_null", "kwargs": {"colum": "id"}}
    reason = refused(database, _write(folder, [misspelt]))
    assert reason == "Great Expectations refused the file with ValidationError"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the file is not JSON"),
        ("[]", "the file holds no JSON object"),
        ("{}", "the file has no list of expectations: is it a suite of Great Expectations 1?"),
        ('{"name": "s", "expectations": []}', "the suite is empty: it has no expectation"),
        ('{"name": "", "expectations": []}', "Great Expectations refused the file with ValueError"),
    ],
)
def test_a_file_that_is_no_suite_fails(
    database: str, orders: psycopg.Connection[Any], folder: Path, text: str, message: str
) -> None:
    (folder / "suite.json").write_text(text)
    assert refused(database, "suite.json@public.orders") == message
