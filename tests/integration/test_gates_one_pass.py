"""A suite reads its table in one pass, the rows counted beside all else, and says the same as in many."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tasks.model.status import CheckResult
from validations.postgresql_source import PostgresSource
from validations.user_suites import evaluate_suite

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

BEYOND = 2**53


def bounds() -> "ExpectationSuite":
    import great_expectations as gx
    import great_expectations.expectations as gxe

    between = gxe.ExpectColumnValuesToBeBetween
    return gx.ExpectationSuite(
        "bounds",
        expectations=[
            gxe.ExpectColumnValuesToNotBeNull(column="id"),
            between(column="exact", max_value=1_000_000),
            between(column="exact", max_value=2_000_000),
            between(column="big", min_value=-(2**62), max_value=BEYOND),
            between(column="part", min_value=0.5),
            gxe.ExpectColumnValueLengthsToBeBetween(column="name", min_value=1, max_value=4),
            gxe.ExpectColumnValueLengthsToEqual(column="name", value=4, mostly=0.5),
            gxe.ExpectColumnMaxToBeBetween(column="id", max_value=100),
        ],
    )


def none() -> "ExpectationSuite":
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    two = gxe.ExpectColumnValuesToBeBetween(column="part", min_value=2, row_condition=Column("id") > 999)
    return gx.ExpectationSuite("none", expectations=[two])


def faulty() -> "ExpectationSuite":
    import great_expectations as gx
    import great_expectations.expectations as gxe

    return gx.ExpectationSuite(
        "faulty",
        expectations=[
            gxe.ExpectColumnValuesToBeBetween(column="name", min_value=1),
            gxe.ExpectColumnValuesToNotBeNull(column="id"),
            gxe.ExpectColumnValueLengthsToEqual(column="name", value=4),
        ],
    )


def sparse() -> "ExpectationSuite":
    import great_expectations as gx
    import great_expectations.expectations as gxe

    return gx.ExpectationSuite(
        "sparse",
        expectations=[
            gxe.ExpectColumnValuesToBeBetween(column="part", min_value=1000, max_value=2000),
            gxe.ExpectColumnValuesToBeInSet(column="name", value_set=["other"]),
            gxe.ExpectColumnValuesToBeInSet(column="exact", value_set=[1, 2.5]),
            gxe.ExpectColumnValuesToNotBeInSet(column="name", value_set=["name"]),
            gxe.ExpectColumnValuesToMatchRegex(column="name", regex="^o"),
            gxe.ExpectColumnValueLengthsToBeBetween(column="name", min_value=5),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="part", column_B="id", ignore_row_if="either_value_is_missing"
            ),
            gxe.ExpectColumnProportionOfUniqueValuesToBeBetween(column="name", max_value=0.001),
        ],
    )


def rows_alone() -> "ExpectationSuite":
    import great_expectations as gx
    import great_expectations.expectations as gxe

    return gx.ExpectationSuite("rows", expectations=[gxe.ExpectTableRowCountToEqual(value=100)])


def far_off() -> "ExpectationSuite":
    import great_expectations as gx
    import great_expectations.expectations as gxe

    far = gxe.ExpectColumnValueZScoresToBeLessThan(column="id", threshold=1.2, double_sided=True)
    return gx.ExpectationSuite("far off", expectations=[far])


@pytest.fixture
def values(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("create table v (id int, exact numeric, big bigint, part double precision, name text)")
        conn.execute("insert into v select g, g, g, g / 2.0, 'name' from generate_series(1, 100) g")
        yield conn


def evaluated(database: str, suite: str) -> dict[str, CheckResult]:
    session = PostgresSource(url=database, migration="test", search_path="public")
    found = evaluate_suite(f"{__name__}:{suite}@v", session, values_in_reports=False)
    return {f"{number} {one.name}": one for number, one in enumerate(found)}


def test_all_is_counted_in_one_pass(database: str, values: psycopg.Connection[Any]) -> None:
    before = _read(values)
    found = evaluated(database, "bounds")
    assert [name for name, one in found.items() if not one.passed] == []
    assert {one.message for one in found.values()} == {"holds in a table of 100 rows"}
    deadline = time.monotonic() + 10
    while (read := _read(values) - before) < 101 and time.monotonic() < deadline:
        time.sleep(0.05)
    # Everything, the rows too; and one to see that the table can be read.
    assert read == 101


def _read(conn: psycopg.Connection[Any]) -> int:
    row = conn.execute("select seq_tup_read from pg_stat_user_tables where relname = 'v'").fetchone()
    assert row is not None
    return int(row[0])


def test_bounds_that_are_whole_numbers_are_compared_exactly(database: str, values: psycopg.Connection[Any]) -> None:
    values.execute("update v set exact = 1000000.00000000000000000001 where id = 7")
    values.execute(f"update v set big = {BEYOND + 1} where id = 8")
    failed = {name: one.message for name, one in evaluated(database, "bounds").items() if not one.passed}
    # From 2^53 on a double stands for several: what the author wrote is not known any more, and neither is a violation.
    assert len(failed) == 1
    assert set(failed.values()) == {"1 of 100 values are unexpected"}


def test_whole_numbers_within_arithmetic_stay_doubles(database: str, values: psycopg.Connection[Any]) -> None:
    """Mean 0 and deviation 2: of whole numbers, 3 / 2 would be 1, and nothing far off."""
    values.execute("truncate v")
    values.execute("insert into v (id) values (3), (-3), (1), (-1), (0), (0)")
    (found,) = evaluated(database, "far_off").values()
    assert (found.passed, found.message) == (False, "2 of 6 values are unexpected")


def test_no_rows_and_nulls_are_no_violations(database: str, values: psycopg.Connection[Any]) -> None:
    values.execute("update v set exact = null, big = null, part = null, name = null")
    assert all(one.passed for one in evaluated(database, "bounds").values())
    assert all(one.passed for one in evaluated(database, "none").values())


def test_a_count_that_fails_takes_no_other_with_it(database: str, values: psycopg.Connection[Any]) -> None:
    found = list(evaluated(database, "faulty").values())
    assert sorted((one.passed, one.evaluated) for one in found) == [(False, False), (True, True), (True, True)]


def test_a_value_that_is_not_there_breaks_nothing(database: str, values: psycopg.Connection[Any]) -> None:
    """Every other one is NULL: half of them break each expectation, and none of those that are not there."""
    values.execute("update v set exact = null, part = null, name = null where id % 2 = 0")
    values.execute("update v set exact = 7 where exact is not null")
    found = evaluated(database, "sparse").values()
    assert all(one.evaluated and not one.passed for one in found)
    assert sorted(one.unexpected for one in found) == [0] + [50] * 7


def test_the_rows_alone_are_counted(database: str, values: psycopg.Connection[Any]) -> None:
    (found,) = evaluated(database, "rows_alone").values()
    assert (found.passed, found.message) == (True, "holds in a table of 100 rows")
    values.execute("delete from v where id = 1")
    (found,) = evaluated(database, "rows_alone").values()
    assert not found.passed
