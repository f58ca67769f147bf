"""Whether the catalogue after the swap is what the plan says."""

from time import perf_counter

import psycopg

from tasks.engines.postgresql.inspect import inspect
from tasks.model.errors import ChangeoverError
from tasks.model.outcome import unnamed
from tasks.model.status import CheckResult
from validations.checks import Gate
from validations.failures import describe
from validations.postgresql_source import PostgresSource

THE_CATALOGUE = "the catalogue is what the plan says"
_MOST = 10


def evaluate_outcome(gate: Gate, source: PostgresSource) -> tuple[CheckResult, ...]:
    """Compare the tables of a gate with what its plan says; nothing where it says nothing. Locks: ACCESS SHARE."""
    if gate.outcome is None or gate.catalogue is None or not gate.outcome.tables:
        return ()
    started = perf_counter()
    try:
        with source.connect() as conn:
            names = [table.after for table in gate.outcome.tables]
            differences = unnamed(gate.outcome, gate.catalogue, inspect(conn, names, "pg_catalog"))
    except (psycopg.Error, ChangeoverError) as error:
        why = describe(error, own="", values_in_reports=False)
        return (_result(started, False, f"could not be evaluated: {why}"),)
    more = ", ..." if len(differences) > _MOST else ""
    message = "; ".join(differences[:_MOST]) + more or "nothing differs that it does not name"
    return (_result(started, True, message, len(differences)),)


def _result(started: float, evaluated: bool, message: str, unexpected: int = 0) -> CheckResult:
    return CheckResult(
        name=THE_CATALOGUE,
        passed=evaluated and not unexpected,
        evaluated=evaluated,
        unexpected=unexpected,
        message=message,
        seconds=perf_counter() - started,
    )
