"""Ready-made business rules, bound with arguments, on a real server."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tasks.model.spec import BoundSuite
from tasks.model.status import CheckResult
from validations.checks import Gate
from validations.gates import evaluate

RULES = "validations.suites.rules"


@pytest.fixture
def books(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            """
            create table entries (id int primary key, "Cur" text, debit numeric, credit numeric, rate double precision);
            insert into entries select g, case when g % 2 = 0 then 'EUR' end, g / 10.0, g / 10.0, g / 10.0
              from generate_series(1, 100) g;
            create table ledger (currency text, amount numeric);
            insert into ledger select "Cur", debit from entries;
            create table balances (currency text, opening numeric, closing numeric);
            insert into balances select "Cur", 10, 10 + sum(debit) from entries group by 1;
            """
        )
        yield connection


def ruled(database: str, rule: str, table: str = "entries", **arguments: Any) -> CheckResult:
    suite = BoundSuite(suite=f"{RULES}:{rule}@public.{table}", arguments=arguments)
    (check,) = evaluate(Gate(name="before_swap", migration="m", suites=(suite,)), database).checks
    return check


def test_control_totals_of_two_tables(database: str, books: psycopg.Connection[Any]) -> None:
    """Count and sum by group, groups without a name included; in cents, and in what is missing on one side."""
    arguments = {"amount": "debit", "by": ["Cur"], "other": "public.ledger", "other_amount": "amount",
                 "other_by": ["currency"]}  # fmt: skip
    assert ruled(database, "control_totals", **arguments).verdict == "passed"
    for change, groups in (
        ("update ledger set amount = amount + 0.0000001 where ctid = (select min(ctid) from ledger)", 1),
        ("insert into ledger values ('USD', 0)", 2),
        ("insert into ledger values ('EUR', 0)", 3),
    ):
        books.execute(change.encode())
        check = ruled(database, "control_totals", **arguments)
        assert (check.verdict, check.unexpected) == ("FAILED", groups), change


def test_control_totals_of_two_columns(database: str, books: psycopg.Connection[Any]) -> None:
    assert ruled(database, "control_totals", amount="debit", by=[], other_amount="credit").verdict == "passed"
    assert ruled(database, "control_totals", amount="debit", by=["Cur"], other_amount="rate").verdict == "passed"
    books.execute("update entries set credit = null where id = 7")
    assert ruled(database, "control_totals", amount="debit", by=["Cur"], other_amount="credit").unexpected == 1
    only = ruled(database, "control_totals", amount="debit", by=["Cur"], other_amount="credit", where="id <> 7")
    assert only.verdict == "passed"


def test_no_digit_of_a_floating_point_number_is_dropped(database: str, books: psycopg.Connection[Any]) -> None:
    """A `real` keeps seven digits and more; its cast to a decimal six."""
    books.execute("create table rounded (a real, b real); insert into rounded values (1234567, 1234568), (0.1, 0.1)")
    assert ruled(database, "balanced", "rounded", debit="a", credit="b").unexpected == 1
    books.execute("update rounded set b = a")
    assert ruled(database, "balanced", "rounded", debit="a", credit="b").verdict == "passed"


def test_debit_balances_credit(database: str, books: psycopg.Connection[Any]) -> None:
    assert ruled(database, "balanced", debit="debit", credit="credit", by=["Cur"]).verdict == "passed"
    assert ruled(database, "balanced", debit="debit", credit="credit").verdict == "passed"
    books.execute("update entries set credit = credit + 0.01 where id = 7")
    assert ruled(database, "balanced", debit="debit", credit="credit", by=["Cur"]).unexpected == 1
    assert ruled(database, "balanced", debit="debit", credit="credit").unexpected == 1


def test_opening_and_movements_reconcile_with_closing(database: str, books: psycopg.Connection[Any]) -> None:
    arguments = {"opening": "opening", "closing": "closing", "by": ["currency"], "movements": "public.entries",
                 "amount": "debit", "movements_by": ["Cur"]}  # fmt: skip
    assert ruled(database, "reconciles", "balances", **arguments).verdict == "passed"
    books.execute("delete from entries where id = 8")
    assert ruled(database, "reconciles", "balances", **arguments).unexpected == 1
    books.execute("insert into balances values ('USD', 1, 1), ('CHF', 1, null)")
    assert ruled(database, "reconciles", "balances", **arguments).unexpected == 2
    books.execute("insert into entries values (201, 'GBP', 5), (202, 'GBP', -5)")
    assert ruled(database, "reconciles", "balances", **arguments).unexpected == 3


def test_a_query_that_must_return_no_rows(database: str, books: psycopg.Connection[Any]) -> None:
    query = "select id from {batch} where debit > 9.95"
    assert ruled(database, "no_rows", query=query, name="small").unexpected == 1
    books.execute("delete from entries where id = 100")
    assert ruled(database, "no_rows", query=query).verdict == "passed"


@pytest.mark.parametrize(
    ("rule", "arguments", "message"),
    [
        ("balanced", {"debit": "nonesuch", "credit": "credit"}, "42703 column"),
        ("balanced", {"debit": "debit"}, "calling validations.suites.rules:balanced(debit) raised TypeError"),
        ("balanced", {"debit": "a:b", "credit": "credit"}, "raised ValueError"),
        ("control_totals", {"amount": "debit", "by": []}, "raised ValueError"),
        ("control_totals", {"amount": "debit", "by": [], "other": "public.nonesuch"}, "42P01 relation"),
        ("nonesuch", {}, "the module validations.suites.rules has no nonesuch"),
        ("no_rows", {"query": "select"}, "could not be evaluated"),
        ("no_rows", {"query": "delete from entries returning 1"}, "could not be evaluated"),
    ],
)
def test_a_rule_that_cannot_be_asked_has_failed(
    database: str, books: psycopg.Connection[Any], rule: str, arguments: dict[str, Any], message: str
) -> None:
    check = ruled(database, rule, **arguments)
    assert check.verdict == "NOT EVALUATED" or (rule == "no_rows" and not check.stands)
    assert message in check.message or rule == "no_rows"
    assert books.execute("select count(*) from entries").fetchone() == (100,)


def test_an_empty_table_proves_nothing(database: str, books: psycopg.Connection[Any]) -> None:
    books.execute("delete from entries")
    check = ruled(database, "balanced", debit="debit", credit="credit")
    assert (check.verdict, check.message) == (
        "NOT EVALUATED", "could not be evaluated: the table is empty, so the suite proves nothing",
    )  # fmt: skip
