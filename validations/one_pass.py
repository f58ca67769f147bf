"""Let Great Expectations count all that a suite asks of a table in one statement, and compare numbers exactly.

By itself it asks as soon as it can: for the rows before it makes a condition, for most counts once the columns are
known, for those of lengths later still, each time with a pass over the table. It adds up ones and zeros where the
database can count, asks of each value once more whether it is there, and turns every bound into a double, to which the
database then has to turn each value.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

if TYPE_CHECKING:
    from great_expectations.datasource.fluent.sql_datasource import SQLDatasource
    from great_expectations.expectations.expectation import BatchExpectation

ROWS: Final = "expect_changeover_rows"
"""The type that Great Expectations gives the expectation of `rows_expectation`."""
_EXACT: Final = 2**53
"""Doubles below are the whole numbers that the author wrote."""
_ROW_COUNT: Final = "table.row_count"


@dataclass(frozen=True)
class _Owed:
    """Stands for the number of rows until it is counted, beside everything else; nothing can be compared with it."""

    metric: Any


@cache
def one_pass_datasource() -> "type[SQLDatasource]":
    """Define a data source whose engine puts off counts until all of them can be asked at once, and return it.

    Great Expectations then knows it as `changeover`. What is counted, and what follows from it, stays its own
    affair. A count that fails is tried alone, as ever, so that it takes no other with it.
    """
    # Here, and not at the top: the import takes seconds.
    from great_expectations.datasource.fluent.sql_datasource import SQLDatasource  # noqa: PLC0415
    from great_expectations.execution_engine.sqlalchemy_execution_engine import (  # noqa: PLC0415
        SqlAlchemyExecutionEngine,
    )
    from great_expectations.expectations.registry import get_metric_provider  # noqa: PLC0415

    class OnePassEngine(SqlAlchemyExecutionEngine):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._at_once: set[Any] = set()

        def resolve_metrics(
            self, metrics_to_resolve: Iterable[Any], metrics: Any = None, runtime_configuration: Any = None
        ) -> Any:
            # What has a function of its own sends a statement of its own, or none; the rest waits for the one
            # statement. The graph asks again for what it was not given, and once with nothing before it ends.
            asked, known = list(metrics_to_resolve), {} if metrics is None else metrics
            owed = [one.metric for one in known.values() if isinstance(one, _Owed)]
            alone = [one for one in asked if get_metric_provider(one.metric_name, self)[1] is not None]
            rest = [one for one in asked if one not in alone]
            rows = [one for one in rest if one.metric_name == _ROW_COUNT and one.id not in self._at_once]
            counts = {one.id: _Owed(one) for one in rows}
            try:
                if alone and not any(_looks(one, owed) for one in alone):
                    return super().resolve_metrics(alone, known, runtime_configuration) | counts
                if rows and len(rows) == len(rest):
                    return counts
                return super().resolve_metrics([*rest, *owed], known, runtime_configuration)
            except Exception:
                # Whether the rows can be counted is found out by itself from now on, and takes nothing with it.
                self._at_once.update(one.id for one in owed)
                for one in owed:
                    del known[one.id]
                raise

        def resolve_metric_bundle(self, metric_fn_bundle: Iterable[Any]) -> Any:
            # Only PostgreSQL has FILTER.
            counting = _counting if self.dialect_name == "postgresql" else _as_it_is
            return super().resolve_metric_bundle(
                [replace(one, metric_fn=_whole_numbers(counting(one.metric_fn))) for one in metric_fn_bundle]
            )

    class ChangeoverDatasource(SQLDatasource):
        """A database of which one session reads, each table once for a suite."""

        type: Literal["changeover"] = "changeover"  # type: ignore[assignment]
        execution_engine_override: ClassVar[Any] = OnePassEngine

        def get_engine(self) -> Any:
            return self.get_execution_engine().engine

    return ChangeoverDatasource


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


def _looks(metric: Any, owed: Iterable[Any]) -> bool:
    """Tell whether a metric looks at a number that is owed; what becomes part of a statement only says that it does."""
    from great_expectations.core.metric_function_types import MetricPartialFunctionTypeSuffixes  # noqa: PLC0415

    needed = {one.id for one in (metric.metric_dependencies or {}).values()}
    blind = metric.metric_name.endswith(tuple(f".{suffix.value}" for suffix in MetricPartialFunctionTypeSuffixes))
    return not blind and any(one.id in needed for one in owed)


def _as_it_is(aggregate: Any) -> Any:
    return aggregate


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
    return sa.case((sa.func.count() > 0, sa.func.count().filter(_once(condition))))


def _once(condition: Any) -> Any:
    """Leave out that a value is there where nothing could be true of one that is not: only what is true is counted."""
    import sqlalchemy as sa  # noqa: PLC0415
    from sqlalchemy.sql.operators import and_, is_not  # noqa: PLC0415

    whole = condition.element if isinstance(condition, sa.sql.elements.Grouping) else condition
    if (
        not isinstance(whole, sa.sql.elements.BooleanClauseList)
        or whole.operator is not and_
        or len(whole.clauses) != 2
    ):
        return condition
    there, more = whole.clauses
    asks = isinstance(there, sa.BinaryExpression) and there.operator is is_not
    return more if asks and _unknown_with(more, there.left) else condition


def _unknown_with(expression: Any, column: Any) -> bool:
    """Tell whether an expression is NULL wherever a column is, as far as that is certain."""
    import sqlalchemy as sa  # noqa: PLC0415
    from sqlalchemy.sql.operators import eq, ge, gt, in_op, inv, le, lt, ne, not_in_op  # noqa: PLC0415

    asked: tuple[Any, ...] = ()
    match expression:
        case sa.sql.elements.ColumnClause():
            return bool(expression.compare(column))
        case sa.sql.elements.Grouping():
            asked = (expression.element,)
        case sa.sql.elements.UnaryExpression() if expression.operator is inv:
            asked = (expression.element,)
        case sa.sql.elements.BooleanClauseList():
            asked = tuple(expression.clauses)
        case sa.BinaryExpression() if expression.operator in (eq, ge, gt, le, lt, ne):
            asked = (expression.left,)
        case sa.BinaryExpression() if expression.operator in (in_op, not_in_op):
            # Nothing, be it NULL, is in an empty list.
            asked = (expression.left,) if getattr(expression.right, "value", None) else ()
        case sa.sql.functions.Function() if expression.name == "length":
            asked = tuple(expression.clauses)
    return bool(asked) and all(_unknown_with(one, column) for one in asked)


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
