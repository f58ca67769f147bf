"""Evaluate the checks of a plan on MariaDB, with Great Expectations, over a read-only session."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tasks.engines.mysql.address import SCHEMES
from tasks.engines.mysql.session import connect
from tasks.model.status import CheckResult
from validations.checks import Check, Gate, QueryCheck
from validations.context import context
from validations.evaluation import evaluate_scans, not_evaluated, why_not
from validations.scans import Scan

if TYPE_CHECKING:
    from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
    from great_expectations.datasource.fluent.sql_datasource import SQLDatasource

_LOCK_TIMEOUT_MS = 600_000


def is_mysql(url: str) -> bool:
    """Tell whether a URL is one of MariaDB or MySQL."""
    return url.startswith(SCHEMES)


def evaluate_on_mysql(gate: Gate, url: str, *, values_in_reports: bool) -> tuple[CheckResult, ...]:
    """Return a result for every check; suites of users, which are not evaluated there yet, have failed."""
    suites = tuple(
        CheckResult(
            name=one if isinstance(one, str) else one.suite,
            passed=False,
            evaluated=False,
            message="could not be evaluated: not on MariaDB yet",
        )
        for one in gate.suites
    )
    return (*_checks(gate.checks, url, values_in_reports=values_in_reports), *suites)


def _checks(checks: Sequence[Check], url: str, *, values_in_reports: bool) -> tuple[CheckResult, ...]:
    if not checks:
        return ()
    try:
        with context() as current, _datasource(current, url) as source:
            asset = source.add_query_asset("nothing", "select 1 as nothing")
            batch = asset.add_batch_definition_whole_table("whole").get_batch()
            scans = [_scan(check) for check in checks if isinstance(check, QueryCheck)]
            results = evaluate_scans(batch, scans, values_in_reports)
    except Exception as error:  # noqa: BLE001 - whatever it is, a gate that cannot be evaluated has failed
        return tuple(not_evaluated(check, why_not(error)) for check in checks)
    return tuple(results.get(check) or not_evaluated(check, "MariaDB has no such check") for check in checks)


def _scan(check: QueryCheck) -> Scan:
    statement = f"select count(*) as c0\nfrom (\n{check.violations}\n) as violation"
    return Scan(statement=statement, columns={"c0": check})


@contextmanager
def _datasource(current: "EphemeralDataContext", url: str) -> Iterator["SQLDatasource"]:
    """Add a data source whose sessions are ours: Great Expectations never gets the URL."""

    def opened() -> Any:
        return connect(url, lock_timeout_ms=_LOCK_TIMEOUT_MS, read_only=True).raw

    source = current.data_sources.add_sql(
        "database",
        connection_string="mysql+pymysql://gate@session/gate",
        kwargs={"creator": opened},  # type: ignore[call-arg] # missing in its stub
    )
    engines = [source.get_engine(), source.get_execution_engine().engine]
    try:
        yield source
    finally:
        for engine in engines:
            engine.dispose()
