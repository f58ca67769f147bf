"""Evaluate the checks that a plan brings, with Great Expectations, in as few passes as possible."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import psycopg

from tasks.engines.before_run import named
from tasks.model.errors import ChangeoverError
from tasks.model.status import CheckResult
from validations.checks import Check, QueryCheck, RowCheck
from validations.context import context
from validations.expectation import scan_expectation
from validations.failures import describe, trouble
from validations.postgresql_source import PostgresSource
from validations.scans import Scan, examples, scans
from validations.suite_findings import configuration

if TYPE_CHECKING:
    from great_expectations.datasource.fluent.interfaces import Batch


def evaluate_checks(
    checks: Sequence[Check], source: PostgresSource, *, values_in_reports: bool
) -> tuple[CheckResult, ...]:
    """Evaluate checks, and return a result for each, in order.

    Checks that share a pass and could not be evaluated are evaluated again one by one, so that one faulty
    expression does not hide what the others have to say.
    """
    if not checks:
        return ()
    try:
        with context() as current, source.datasource(current, []) as added:
            asset = added.add_query_asset("nothing", "select 1 as nothing")
            batch = asset.add_batch_definition_whole_table("whole").get_batch()
            results = evaluate_scans(batch, scans(checks), values_in_reports)
            again = [check for check in checks if _shared(check, checks) and not results[check].evaluated]
            results |= evaluate_scans(batch, [scan for check in again for scan in scans([check])], values_in_reports)
    except Exception as error:  # noqa: BLE001 - whatever it is, a gate that cannot be evaluated has failed
        return tuple(not_evaluated(check, why_not(error)) for check in checks)
    if values_in_reports:
        results = _with_examples(results, source)
    return tuple(results[check] for check in checks)


def why_not(error: Exception) -> str:
    """Say, without a detail that could hold a secret, why nothing at all could be evaluated."""
    if known := trouble(error):
        return describe(known, own="", values_in_reports=False)
    return f"Great Expectations failed with {type(error).__name__}"


def _shared(check: Check, checks: Iterable[Check]) -> bool:
    return (
        isinstance(check, RowCheck)
        and sum(
            isinstance(other, RowCheck) and (other.source, other.where) == (check.source, check.where)
            for other in checks
        )
        > 1
    )


def evaluate_scans(batch: "Batch", todo: Sequence[Scan], values_in_reports: bool) -> dict[Check, CheckResult]:
    """Run statements as one suite, and return a result for each of their checks."""
    from great_expectations import ExpectationSuite  # noqa: PLC0415 - takes seconds

    places = [(scan, column, check) for scan in todo for column, check in scan.columns.items()]
    if not places:
        return {}
    expectation = scan_expectation()
    suite = ExpectationSuite(
        name="checks",
        expectations=[
            expectation(statement=scan.statement, column=column, check=number, values_in_reports=values_in_reports)
            for number, (scan, column, _) in enumerate(places)
        ],
    )
    validated = batch.validate(suite)
    by_number = {configuration(result).kwargs["check"]: result for result in validated.results}
    return {
        check: _result(check, by_number.get(number), sharing=len(scan.columns))
        for number, (scan, _, check) in enumerate(places)
    }


def _result(check: Check, validated: Any, *, sharing: int) -> CheckResult:
    if validated is None or not validated.result:
        return not_evaluated(check, "Great Expectations returned no result for it")
    outcome = validated.result
    seconds = outcome["seconds"] / sharing
    if "failure" in outcome:
        return not_evaluated(check, outcome["failure"], seconds)
    unexpected = outcome["observed_value"]
    return CheckResult(
        name=check.name,
        passed=validated.success,
        evaluated=True,
        unexpected=unexpected,
        message=_message(check, unexpected, outcome["row"]),
        seconds=seconds,
    )


def not_evaluated(check: Check, reason: str, seconds: float = 0.0) -> CheckResult:
    """Return the result of a check that nobody could evaluate: it has failed."""
    message = f"could not be evaluated: {reason}"
    return CheckResult(name=check.name, passed=False, evaluated=False, message=message, seconds=seconds)


def _message(check: Check, unexpected: int, row: Mapping[str, Any]) -> str:
    if isinstance(check, QueryCheck):
        return _violations(unexpected, row.get("named") or [])
    compared = row["compared"]
    if unexpected:
        return f"{unexpected:,} of {compared:,} rows compared differ"
    if compared:
        return f"{compared:,} rows compared"
    if row["populated"]:
        return f"{check.table} has rows, and none of them was compared"
    return f"{check.table} is empty: 0 rows compared"


def _violations(unexpected: int, named: Sequence[object]) -> str:
    if not unexpected:
        return "no violations"
    counted = f"{unexpected:,} violation{'' if unexpected == 1 else 's'}"
    more = ", ..." if unexpected > len(named) else ""
    return f"{counted}: {', '.join(map(str, named))}{more}" if named else counted


def _with_examples(results: dict[Check, CheckResult], source: PostgresSource) -> dict[Check, CheckResult]:
    failed = [c for c, result in results.items() if result.unexpected and not _is_structural(c)]
    if not failed:
        return results
    try:
        with source.connect() as connection:
            return results | {c: _keyed(c, results[c], connection) for c in failed}
    except (psycopg.Error, ChangeoverError):
        # The verdict stands without examples.
        return results


def _is_structural(check: Check) -> bool:
    return isinstance(check, QueryCheck) and check.structural


def _keyed(check: Check, result: CheckResult, connection: psycopg.Connection[Any]) -> CheckResult:
    try:
        rows = connection.execute(examples(check).encode()).fetchall()
    except (psycopg.Error, UnicodeError):
        return result
    return result.model_copy(update={"examples": named(rows)})
