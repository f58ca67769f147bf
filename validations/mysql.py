"""Evaluate gates on MariaDB, with Great Expectations, over read-only sessions."""

from collections.abc import Sequence

from tasks.engines.mysql.address import SCHEMES
from tasks.model.status import CheckResult
from validations.checks import Check, QueryCheck
from validations.context import context
from validations.evaluation import evaluate_scans, not_evaluated, why_not
from validations.mysql_source import MariaSource
from validations.scans import Scan


def is_mysql(url: str) -> bool:
    """Tell whether a URL is one of MariaDB or MySQL."""
    return url.startswith(SCHEMES)


def evaluate_on_mysql(
    checks: Sequence[Check], source: MariaSource, *, values_in_reports: bool
) -> tuple[CheckResult, ...]:
    """Return a result for every check of a plan."""
    if not checks:
        return ()
    try:
        with context() as current, source.datasource(current, []) as added:
            asset = added.add_query_asset("nothing", "select 1 as nothing")
            batch = asset.add_batch_definition_whole_table("whole").get_batch()
            scans = [_scan(check) for check in checks if isinstance(check, QueryCheck)]
            results = evaluate_scans(batch, scans, values_in_reports)
    except Exception as error:  # noqa: BLE001 - whatever it is, a gate that cannot be evaluated has failed
        return tuple(not_evaluated(check, why_not(error)) for check in checks)
    return tuple(results.get(check) or not_evaluated(check, "MariaDB has no such check") for check in checks)


def _scan(check: QueryCheck) -> Scan:
    statement = f"select count(*) as c0\nfrom (\n{check.violations}\n) as violation"
    return Scan(statement=statement, columns={"c0": check})
