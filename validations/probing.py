"""Whether the queries of a spec are as fast after the swap as they were before the first change."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

import psycopg

from profiles.model import Probes
from tasks.engines.mysql.driver import driver_error
from tasks.model.errors import ChangeoverError
from tasks.model.probe import Probe, Reading
from tasks.model.status import CheckResult
from validations.data_source import DataSource, TooSlowError
from validations.failures import describe

SLIGHT = 10.0
"""Units of the planner that never count: a table of a few pages is read in whichever way."""


def evaluate_probes(
    probes: Sequence[Probe],
    source: DataSource,
    before: Mapping[str, Reading],
    limits: Probes,
    *,
    values_in_reports: bool,
) -> tuple[CheckResult, ...]:
    """Measure probes, and return a result for each: passed only if it was measured before, and is not worse now."""
    if not probes:
        return ()
    try:
        with source.probing(limits) as read:
            return tuple(_held(read, one, before, limits, values_in_reports) for one in probes)
    except (psycopg.Error, driver_error(), ChangeoverError) as error:
        why = describe(error, own="", values_in_reports=values_in_reports)
        return tuple(_result(one, f"could not be evaluated: {why}", evaluated=False) for one in probes)


def _held(
    read: Callable[[str], Reading],
    probe: Probe,
    before: Mapping[str, Reading],
    limits: Probes,
    values_in_reports: bool,
) -> CheckResult:
    was = before.get(probe.name)
    if was is None:
        return _result(probe, "could not be evaluated: it was not measured before the first change", evaluated=False)
    query, started = probe.after or probe.query, perf_counter()
    try:
        now = read(query)
    except TooSlowError:
        message = f"takes longer than {limits.timeout:,} ms, and took {was.milliseconds:,.1f} ms"
        return _result(probe, message, seconds=perf_counter() - started)
    except (psycopg.Error, driver_error(), ChangeoverError) as error:
        why = describe(error, own=query, values_in_reports=values_in_reports)
        return _result(probe, f"could not be evaluated: {why}", evaluated=False, seconds=perf_counter() - started)
    return _result(probe, *_compared(was, now, limits), seconds=perf_counter() - started)


def _compared(was: Reading, now: Reading, limits: Probes) -> tuple[str, bool]:
    said = [
        f"cost {was.cost:,.2f} before, {now.cost:,.2f} now",
        f"{was.milliseconds:,.1f} ms before, {now.milliseconds:,.1f} ms now",
    ]
    worse = []
    if now.cost > was.cost * limits.cost and now.cost - was.cost > SLIGHT:
        worse.append(f"the cost is more than {limits.cost:g} times what it was")
    if now.milliseconds > was.milliseconds * limits.latency and now.milliseconds - was.milliseconds > limits.tolerance:
        worse.append(f"it takes more than {limits.latency:g} times as long")
    return "; ".join([*worse, *said]), not worse


def _result(
    probe: Probe, message: str, passed: bool = False, *, evaluated: bool = True, seconds: float = 0.0
) -> CheckResult:
    return CheckResult(
        name=f"probe: {probe.name}", passed=passed, evaluated=evaluated, message=message, seconds=seconds
    )
