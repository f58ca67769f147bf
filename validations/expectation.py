"""The expectation by which Great Expectations evaluates a check of ours.

Its own UnexpectedRowsExpectation runs every query twice, formats braces, reads colons as parameters, and
repeats a query that fails three times over.
"""

from collections.abc import Callable
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

from validations.failures import describe, trouble

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import BatchExpectation


@cache
def scan_expectation() -> "Callable[..., BatchExpectation]":
    """Define the metric and the expectation, once, and return the expectation.

    Expectations with the same `statement` share one run of it: to Great Expectations they depend on the same
    metric. The expectation fails if its `column` counts a violation, or if the statement compared no row of a
    table that has some, or if the database could not evaluate it: then the result has a `failure`, and the
    message there holds no value of a row unless `values_in_reports`.
    """
    # Here, and not at the top: the import takes seconds.
    from great_expectations.execution_engine.sqlalchemy_execution_engine import (  # noqa: PLC0415
        SqlAlchemyExecutionEngine,
    )
    from great_expectations.expectations.expectation import BatchExpectation  # noqa: PLC0415
    from great_expectations.expectations.metrics.metric_provider import (  # noqa: PLC0415
        MetricProvider,
        metric_value,
    )

    class ChangeoverScan(MetricProvider):
        metric_name = "changeover.scan"
        domain_keys = ("batch_id",)
        value_keys = ("statement", "values_in_reports")

        @metric_value(engine=SqlAlchemyExecutionEngine)
        def _sqlalchemy(
            cls,  # noqa: N805 - Great Expectations makes it a class method
            execution_engine: Any,
            metric_value_kwargs: dict[str, Any],
            **_: Any,
        ) -> dict[str, Any]:
            return _run(execution_engine, **metric_value_kwargs)

    class ExpectChangeoverCheckToHold(BatchExpectation):
        statement: str
        column: str
        check: int
        values_in_reports: bool

        metric_dependencies: ClassVar[tuple[str, ...]] = (ChangeoverScan.metric_name,)
        success_keys: ClassVar[tuple[str, ...]] = ("statement", "column", "check", "values_in_reports")

        def _validate(
            self,
            metrics: dict[str, Any],
            runtime_configuration: Any = None,  # noqa: ARG002 - the signature of the base class
            execution_engine: Any = None,  # noqa: ARG002
        ) -> dict[str, Any]:
            outcome = metrics[ChangeoverScan.metric_name]
            if "failure" in outcome:
                return {"success": False, "result": outcome}
            row = outcome["row"]
            unexpected = row[self.column]
            vacuous = row.get("compared") == 0 and row["populated"]
            return {
                "success": unexpected == 0 and not vacuous,
                "result": {"observed_value": unexpected, **outcome},
            }

    return ExpectChangeoverCheckToHold


def _run(execution_engine: Any, *, statement: str, values_in_reports: bool) -> dict[str, Any]:
    """Run a statement as it stands: no parameters, so that no character in it has a meaning of its own."""
    started = perf_counter()
    try:
        with execution_engine.get_connection() as connection:
            literal = connection.execution_options(no_parameters=True)
            row = dict(literal.exec_driver_sql(statement).mappings().one())
    except Exception as error:
        # A metric that raises is computed three times, and takes with it what others had computed: so an
        # error of the database is an outcome here. Any other goes on its way.
        cause = trouble(error)
        if cause is None:
            raise
        failure = describe(cause, own=statement, values_in_reports=values_in_reports)
        return {"failure": failure, "seconds": perf_counter() - started}
    return {"row": row, "seconds": perf_counter() - started}
