"""Let Great Expectations count all that a suite asks of a table in one statement, and compare numbers exactly.

By itself it asks as soon as it can: for most counts once the columns are known, for those of lengths later still, each
time with a pass over the table. It adds up ones and zeros where the database can count, and turns every bound into a
double, to which the database then has to turn each value.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

if TYPE_CHECKING:
    from great_expectations.datasource.fluent.postgres_datasource import PostgresDatasource
    from great_expectations.expectations.expectation import BatchExpectation

ROWS: Final = "expect_changeover_rows"
"""The type that Great Expectations gives the expectation of `rows_expectation`."""
_EXACT: Final = 2**53
"""Doubles below are the whole numbers that the author wrote."""


@cache
def one_pass_datasource() -> "type[PostgresDatasource]":
    """Define a data source whose engine puts off counts until all of them can be asked at once, and return it.

    Great Expectations then knows it as `changeover_postgres`. What is counted, and what follows from it, stays its own
    affair. A count that fails is tried alone, as ever, so that it takes no other with it.
    """
    # Here, and not at the top: the import takes seconds.
    from great_expectations.datasource.fluent.postgres_datasource import PostgresDatasource  # noqa: PLC0415
    from great_expectations.execution_engine.sqlalchemy_execution_engine import (  # noqa: PLC0415
        SqlAlchemyExecutionEngine,
    )
    from great_expectations.expectations.registry import get_metric_provider  # noqa: PLC0415

    class OnePassEngine(SqlAlchemyExecutionEngine):
        def resolve_metrics(
            self, metrics_to_resolve: Iterable[Any], metrics: Any = None, runtime_configuration: Any = None
        ) -> Any:
            # What has a function of its own sends a statement of its own, or none; the rest waits for the one
            # statement. The graph asks again for what it was not given.
            asked = list(metrics_to_resolve)
            alone = [one for one in asked if get_metric_provider(one.metric_name, self)[1] is not None]
            return super().resolve_metrics(alone or asked, metrics, runtime_configuration)

        def resolve_metric_bundle(self, metric_fn_bundle: Iterable[Any]) -> Any:
            return super().resolve_metric_bundle(
                [replace(one, metric_fn=_whole_numbers(_counting(one.metric_fn))) for one in metric_fn_bundle]
            )

    class ChangeoverPostgresDatasource(PostgresDatasource):
        """A PostgreSQL database of which one session reads, each table once for a suite."""

        type: Literal["changeover_postgres"] = "changeover_postgres"  # type: ignore[assignment]
        execution_engine_override: ClassVar[Any] = OnePassEngine

        def get_engine(self) -> Any:
            return self.get_execution_engine().engine

    return ChangeoverPostgresDatasource


@cache
def rows_expectation() -> "Callable[..., BatchExpectation]":
    """Define the expectation that a table holds rows, which says how many in every result format, and return it."""
    from great_expectations.expectations.core.expect_table_row_count_to_be_between import (  # noqa: PLC0415
        ExpectTableRowCountToBeBetween,
    )

    class ExpectChangeoverRows(ExpectTableRowCountToBeBetween):
        def metrics_validate(self, metrics: Any, runtime_configuration: Any = None, *args: Any, **kwargs: Any) -> Any:
            return super().metrics_validate(
                metrics, (runtime_configuration or {}) | {"result_format": "BASIC"}, *args, **kwargs
            )

    return ExpectChangeoverRows


def _counting(aggregate: Any) -> Any:
    """Turn `sum(case when … then 1 else 0 end)` into a count that is NULL over no rows, as the sum is."""
    import sqlalchemy as sa  # noqa: PLC0415 - with Great Expectations, which takes seconds

    if not isinstance(aggregate, sa.sql.functions.sum):
        return aggregate
    (case,) = aggregate.clauses
    if not isinstance(case, sa.Case) or case.value is not None or len(case.whens) != 1:
        return aggregate
    ((condition, one),) = case.whens
    if (getattr(one, "value", None), getattr(case.else_, "value", None)) != (1, 0):
        return aggregate
    return sa.case((sa.func.count() > 0, sa.func.count().filter(condition)))


def _whole_numbers(expression: Any) -> Any:
    """Compare with a whole number where Great Expectations has made a double of one.

    Only a bound that stands alone on its side: within arithmetic, two whole numbers would divide without a rest.
    """
    import sqlalchemy as sa  # noqa: PLC0415
    from sqlalchemy.sql.operators import eq, ge, gt, le, lt, ne  # noqa: PLC0415
    from sqlalchemy.sql.visitors import replacement_traverse  # noqa: PLC0415

    def whole(element: Any, **_: Any) -> Any:
        compares = isinstance(element, sa.BinaryExpression) and element.operator in (eq, ge, gt, le, lt, ne)
        value = getattr(element.right, "value", None) if compares else None
        if type(value) is not float or not value.is_integer() or abs(value) >= _EXACT:
            return None
        return sa.BinaryExpression(element.left, sa.literal(int(value), sa.BigInteger()), element.operator)

    return replacement_traverse(expression, {}, whole)
