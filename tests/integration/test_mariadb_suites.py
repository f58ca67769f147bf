"""Suites and ready-made rules of an author's on a real MariaDB."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.model.spec import BoundSuite
from tasks.model.status import CheckResult
from tests.servers.mariadb import connected
from validations.checks import Gate

RULES = "validations.suites.rules"
BEYOND = 2**53
MODULE = f"""
import great_expectations as gx
import great_expectations.expectations as gxe


def entries(engine):
    assert engine == "mariadb"
    between = gxe.ExpectColumnValuesToBeBetween
    return gx.ExpectationSuite(
        "entries",
        expectations=[
            gxe.ExpectColumnValuesToNotBeNull(column="id"),
            gxe.ExpectColumnValuesToBeUnique(column="id"),
            between(column="debit", min_value=0, max_value=10),
            between(column="big", max_value={BEYOND}),
            gxe.ExpectColumnValueLengthsToBeBetween(column="Cur", min_value=3, max_value=3),
            gxe.ExpectColumnValuesToMatchRegex(column="Cur", regex="^[A-Z]+$"),
            gxe.ExpectColumnMaxToBeBetween(column="id", max_value=100),
        ],
    )


def missing():
    return gx.ExpectationSuite("entries", expectations=[gxe.ExpectColumnValuesToNotBeNull(column="nonesuch")])


def rows(query):
    return gx.ExpectationSuite("entries", expectations=[gxe.UnexpectedRowsExpectation(unexpected_rows_query=query)])


def empty():
    return gx.ExpectationSuite("entries")
"""


@pytest.fixture
def books(maria_database: str) -> Iterator[Any]:
    with connected(maria_database) as conn, conn.cursor() as cursor:
        for statement in (
            "create table entries (id int primary key, `Cur` varchar(3), debit decimal(12,2), credit decimal(12,2),"
            f" rate double, big bigint not null default {BEYOND})",
            "insert into entries (id, `Cur`, debit, credit, rate) select seq, if(seq % 2 = 0, 'EUR', null), seq / 10,"
            " seq / 10, seq / 10 from seq_1_to_100",
            "create table ledger (currency varchar(3), amount decimal(20,9))",
            "insert into ledger select `Cur`, debit from entries",
            "create table balances (currency varchar(3), opening decimal(12,2), closing decimal(12,2))",
            "insert into balances select `Cur`, 10, 10 + sum(debit) from entries group by 1",
        ):
            cursor.execute(statement)
        yield cursor


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "maria_house.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("maria_house", None)


def run(url: str, suite: str, *, values: bool = False, **arguments: Any) -> tuple[CheckResult, ...]:
    bound = BoundSuite(suite=suite, arguments=arguments)
    return Gate(name="before_swap", migration="m", suites=(bound,)).evaluate(url, values_in_reports=values).checks


def ruled(url: str, rule: str, table: str = "entries", **arguments: Any) -> CheckResult:
    (check,) = run(url, f"{RULES}:{rule}@{table}", **arguments)
    return check


def test_a_suite_is_evaluated(maria_database: str, books: Any) -> None:
    """What holds passes; what does not is counted, whole numbers exactly, and shown only where that is allowed."""
    checks = run(maria_database, "maria_house:entries@entries")
    assert [check.message for check in checks] == ["holds in a table of 100 rows"] * 7
    books.execute(f"update entries set `Cur` = '7', debit = -7.5, big = {BEYOND + 1} where id in (4, 6)")
    failed = {
        check.name: (check.unexpected, check.message)
        for check in run(maria_database, "maria_house:entries@entries", values=True)
        if not check.passed
    }
    assert {name.split()[1]: count for name, (count, _) in failed.items()} == {
        "expect_column_values_to_be_between": 2,
        "expect_column_value_lengths_to_be_between": 2,
        "expect_column_values_to_match_regex": 2,
    }
    assert sorted(name for name in failed if "between" in name) == [
        "entries: expect_column_value_lengths_to_be_between (Cur)",
        "entries: expect_column_values_to_be_between (big)",
        "entries: expect_column_values_to_be_between (debit)",
    ]
    assert "-7.5" in failed["entries: expect_column_values_to_be_between (debit)"][1]
    hidden = [check.message for check in run(maria_database, "maria_house:entries@entries") if not check.passed]
    assert hidden
    assert not any("7.5" in message for message in hidden)


@pytest.mark.parametrize(
    ("suite", "query", "message"),
    [
        ("missing@entries", None, 'the column "nonesuch" does not exist'),
        ("empty@entries", None, "the suite is empty: it has no expectation"),
        ("missing@nonesuch", None, "the table does not exist"),
        ("missing@nonesuch.entries", None, "the table does not exist"),
        ("missing@nothing_in_it", None, "the table is empty, so the suite proves nothing"),
        # Strict: what a conversion cuts off is no number, and no verdict.
        ("rows@entries", "select * from {batch} where cast(`Cur` as decimal) < 0", "the server said 1292"),
        ("rows@entries", "select * from {batch} where erase() > 0", "the server said 1792"),
        ("rows@entries", "select nonesuch from {batch}", "the server said 1054"),
    ],
)
def test_what_cannot_be_evaluated_fails_with_its_reason(
    maria_database: str, books: Any, suite: str, query: str | None, message: str
) -> None:
    books.execute("create table nothing_in_it (id int)")
    books.execute(
        "create function erase() returns int deterministic modifies sql data begin delete from entries; return 1; end"
    )
    (check,) = run(maria_database, f"maria_house:{suite}", **({"query": query} if query else {}))
    assert (check.passed, check.evaluated) == (False, False)
    assert message in check.message
    assert counted(books, "entries") == 100


def counted(cursor: Any, table: str) -> int:
    cursor.execute(f"select count(*) from {table}")
    (count,) = cursor.fetchone()
    return int(count)


def test_a_suite_reads_the_table_of_its_database(maria_database: str, books: Any) -> None:
    mine = maria_database.rpartition("/")[2]
    assert all(check.passed for check in run(maria_database, f"maria_house:entries@{mine}.entries"))
    (check,) = run(maria_database, "maria_house:empty@mysql.user")
    assert "the suite is empty" in check.message
    books.execute("delete from entries")
    (check,) = run(maria_database, f"maria_house:entries@{mine}.entries")
    assert check.message == "could not be evaluated: the table is empty, so the suite proves nothing"


def test_control_totals(maria_database: str, books: Any) -> None:
    """Count and sum by group, groups without a name included; in cents, and in what is missing on one side."""
    arguments = {"amount": "debit", "by": ["Cur"], "other": "ledger", "other_amount": "amount",
                 "other_by": ["currency"]}  # fmt: skip
    assert ruled(maria_database, "control_totals", **arguments).verdict == "passed"
    for change, groups in (
        ("update ledger set amount = amount + 0.0000001 limit 1", 1),
        ("insert into ledger values ('USD', 0)", 2),
        ("update ledger set amount = amount - 1 where currency = 'EUR' limit 1", 3),
    ):
        books.execute(change)
        check = ruled(maria_database, "control_totals", **arguments)
        assert (check.verdict, check.unexpected) == ("FAILED", groups), change
    assert ruled(maria_database, "control_totals", amount="debit", by=[], other_amount="rate").verdict == "passed"
    books.execute("update entries set credit = null where id = 7")
    totals = {"amount": "debit", "by": ["Cur"], "other_amount": "credit"}
    assert ruled(maria_database, "control_totals", **totals).unexpected == 1
    assert ruled(maria_database, "control_totals", **totals, where="id <> 7").verdict == "passed"


def test_no_digit_of_a_floating_point_number_is_dropped(maria_database: str, books: Any) -> None:
    """The server writes six digits of a FLOAT, which has seven and more; and a sum that does not fit is no sum."""
    books.execute("create table rounded (a float, b float, big double)")
    books.execute("insert into rounded values (16777216, 16777214, 1e40), (0.1, 0.1, 1)")
    assert ruled(maria_database, "balanced", "rounded", debit="a", credit="b").unexpected == 1
    too_big = ruled(maria_database, "balanced", "rounded", debit="big", credit="big")
    assert too_big.message == "could not be evaluated: the server said 1264"
    books.execute("create table fine (a decimal(38,38), b decimal(38,38))")
    books.execute("insert into fine values (0.12345678901234567890123456789012345678, 0.12345678901234567890223456789)")
    assert ruled(maria_database, "balanced", "fine", debit="a", credit="b").unexpected == 1
    books.execute("update rounded set b = a")
    assert ruled(maria_database, "balanced", "rounded", debit="a", credit="b").verdict == "passed"


def test_books_balance_and_reconcile(maria_database: str, books: Any) -> None:
    assert ruled(maria_database, "balanced", debit="debit", credit="credit", by=["Cur"]).verdict == "passed"
    arguments = {"opening": "opening", "closing": "closing", "by": ["currency"], "movements": "entries",
                 "amount": "debit", "movements_by": ["Cur"]}  # fmt: skip
    assert ruled(maria_database, "reconciles", "balances", **arguments).verdict == "passed"
    books.execute("update entries set credit = credit + 0.01 where id = 7")
    assert ruled(maria_database, "balanced", debit="debit", credit="credit", by=["Cur"]).unexpected == 1
    books.execute("delete from entries where id = 8")
    assert ruled(maria_database, "reconciles", "balances", **arguments).unexpected == 1
    books.execute("insert into balances values ('USD', 1, 1), ('CHF', 1, null)")
    assert ruled(maria_database, "reconciles", "balances", **arguments).unexpected == 2
    books.execute("insert into entries (id, `Cur`, debit) values (201, 'GBP', 5), (202, 'GBP', -5)")
    assert ruled(maria_database, "reconciles", "balances", **arguments).unexpected == 3
