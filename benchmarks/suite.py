"""A suite of ten expectations, as a gate evaluates it, against one statement that counts the same by hand.

A gate counts all in one pass (validations/one_pass.py). What is left of the difference is the client of Great
Expectations, which takes a tenth of a second, and that it counts the NULLs of each column apart.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg

from benchmarks.parity import cpu, taken, told
from benchmarks.result import Result, Sizes, ratio
from benchmarks.server import Usage, template
from benchmarks.surroundings import Surroundings
from validations.postgresql_source import PostgresSource
from validations.user_suites import evaluate_suite

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

NAMES = ("suite_of_ten",)
_CURRENCIES = ("EUR", "USD", "GBP", "JPY")
_BY_HAND = f"""
select count(*),
  count(*) filter (where id is null),
  count(*) filter (where currency is null),
  count(*) filter (where created_at is null),
  count(*) filter (where amount is null),
  count(*) filter (where not (amount >= 0)),
  count(*) filter (where not (quantity between 0 and 1000000)),
  count(*) filter (where currency not in {_CURRENCIES}),
  count(*) filter (where not (char_length(currency) = 3)),
  count(*) filter (where not (char_length(status) between 1 and 40)),
  count(*) filter (where not (created_at >= '1970-01-01 00:00+00'))
from orders
"""


def ten() -> "ExpectationSuite":
    """Return a suite of ten expectations, each of which holds."""
    import great_expectations as gx  # noqa: PLC0415 - takes seconds
    from great_expectations.expectations.core.expect_column_value_lengths_to_be_between import (  # noqa: PLC0415
        ExpectColumnValueLengthsToBeBetween,
    )
    from great_expectations.expectations.core.expect_column_value_lengths_to_equal import (  # noqa: PLC0415
        ExpectColumnValueLengthsToEqual,
    )
    from great_expectations.expectations.core.expect_column_values_to_be_between import (  # noqa: PLC0415
        ExpectColumnValuesToBeBetween,
    )
    from great_expectations.expectations.core.expect_column_values_to_be_in_set import (  # noqa: PLC0415
        ExpectColumnValuesToBeInSet,
    )
    from great_expectations.expectations.core.expect_column_values_to_not_be_null import (  # noqa: PLC0415
        ExpectColumnValuesToNotBeNull,
    )

    return gx.ExpectationSuite(
        "ten",
        expectations=[
            ExpectColumnValuesToNotBeNull(column="id"),
            ExpectColumnValuesToNotBeNull(column="currency"),
            ExpectColumnValuesToNotBeNull(column="created_at"),
            ExpectColumnValuesToNotBeNull(column="amount"),
            ExpectColumnValuesToBeBetween(column="amount", min_value=0),
            ExpectColumnValuesToBeBetween(column="quantity", min_value=0, max_value=1_000_000),
            ExpectColumnValuesToBeInSet(column="currency", value_set=list(_CURRENCIES)),
            ExpectColumnValueLengthsToEqual(column="currency", value=3),
            ExpectColumnValueLengthsToBeBetween(column="status", min_value=1, max_value=40),
            ExpectColumnValuesToBeBetween(column="created_at", min_value=datetime(1970, 1, 1, tzinfo=UTC)),
        ],
    )


def measure(place: Surroundings, sizes: Sizes) -> list[Result]:
    """Evaluate the suite and the statement in turns."""
    suite: list[Usage] = []
    hand: list[Usage] = []
    with template(place.postgres, sizes.rows, indexed=False) as name:
        url = place.postgres.url_of(name)
        # Once to import, and to have the table in memory.
        _suite(url)
        _by_hand(url)
        for _ in range(sizes.rounds):
            hand.append(taken(place, lambda: _by_hand(url)))
            suite.append(taken(place, lambda: _suite(url)))
    return [
        Result(
            name="suite_of_ten",
            measured=ratio(cpu(suite), cpu(hand)),
            goal=1.6,
            unit="x",
            detail=f"a table of {sizes.rows:,} rows; processor time of server and client: {told(suite)}; one statement "
            f"with ten counts: {told(hand)}",
        )
    ]


def _suite(url: str) -> None:
    session = PostgresSource(url=url, migration="benchmark", search_path="public")
    found = evaluate_suite("benchmarks.suite:ten@public.orders", session, values_in_reports=False)
    if len(found) != 10 or not all(one.passed for one in found):
        raise RuntimeError(f"the suite did not pass: {[one.message for one in found if not one.passed]}")


def _by_hand(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        row = conn.execute(_BY_HAND.encode()).fetchone()
    if row is None or any(row[1:]):
        raise RuntimeError("the rows break what is expected of them")
