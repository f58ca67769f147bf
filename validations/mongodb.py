"""Evaluate the checks of a plan on MongoDB: counts of documents, over a session of their own."""

import time
from collections.abc import Iterator

from tasks.engines.mongodb.address import SCHEMES
from tasks.model.errors import ChangeoverError
from tasks.model.status import CheckResult
from validations.checks import Gate, QueryCheck
from validations.evaluation import not_evaluated


def is_mongodb(url: str) -> bool:
    """Tell whether a URL is one of MongoDB."""
    return url.startswith(SCHEMES)


def evaluate_on_mongodb(gate: Gate, url: str, *, values_in_reports: bool) -> tuple[CheckResult, ...]:
    """Return a result for every check; one that cannot be evaluated has failed."""
    return tuple(_evaluated(gate, url, values_in_reports))


def _evaluated(gate: Gate, url: str, values_in_reports: bool) -> Iterator[CheckResult]:
    for check in gate.checks:
        started = time.monotonic()
        try:
            assert isinstance(check, QueryCheck), "MongoDB has no such check"
            result = _counted(check, gate.migration, url, values_in_reports)
        except Exception as error:  # noqa: BLE001 - whatever it is, a check that cannot be evaluated has failed
            # The kind alone: what the driver says quotes documents.
            why = error.what if isinstance(error, ChangeoverError) else type(error).__name__
            result = not_evaluated(check, why)
        yield result.model_copy(update={"seconds": time.monotonic() - started})


def _counted(check: QueryCheck, migration: str, url: str, values_in_reports: bool) -> CheckResult:
    import pymongo  # noqa: PLC0415 - loads the driver

    from tasks.engines.mongodb.connect import connected, in_our_words  # noqa: PLC0415
    from tasks.engines.mongodb.shadow.examine import examined  # noqa: PLC0415

    called = f"changeover {migration[:47]} gate"
    with in_our_words(url), connected(url, name=called) as database, pymongo.timeout(0):
        found = examined(database, check.violations)
    moving = f"; {found.unsettled:,} were being written" if found.unsettled else ""
    return CheckResult(
        name=check.name,
        passed=not found.documents,
        evaluated=True,
        unexpected=found.documents,
        message=(f"{found.documents:,} documents are not so" if found.documents else "no violations") + moving,
        examples=found.examples if values_in_reports else (),
    )
