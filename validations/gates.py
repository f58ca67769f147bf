"""Gates: what must hold before a migration may go on.

Building a gate is pure; only `evaluate` meets a database. A check that cannot be evaluated has failed, and so
has a gate without checks.
"""

import importlib
import threading
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from profiles.model import Probes
from tasks.model.plan import Comparison, Plan, Requirement
from tasks.model.probe import Reading
from tasks.model.spec import BoundSuite
from tasks.model.status import GateResult
from validations.checks import Gate, QueryCheck, RowCheck
from validations.evaluation import evaluate_checks
from validations.mongodb import evaluate_on_mongodb, is_mongodb
from validations.mysql import evaluate_on_mysql, is_mysql
from validations.mysql_source import MariaSource
from validations.outcome import evaluate_outcome
from validations.postgresql_source import PostgresSource
from validations.probing import evaluate_probes
from validations.suite_sources import names_table
from validations.user_suites import evaluate_suite


def before_swap(plan: Plan) -> Gate:
    """Return the gate that the new shape must pass before it becomes the truth."""
    return _gate("before_swap", plan)


def after_swap(plan: Plan) -> Gate:
    """Return the gate that the new shape must pass once it is the truth, with the probes of the spec."""
    after = {"probes": plan.probes, "outcome": plan.outcome, "catalogue": plan.catalogue}
    return _gate("after_swap", plan).model_copy(update=after)


def before_contract(plan: Plan) -> Gate:
    """Return the gate after the swap as it is asked again before the old shape goes.

    Without probes, sequences, statistics and the catalogue: by then, weeks later, they say how applications have used
    the new shape, and nothing about the change.
    """
    return _gate("after_swap", plan, standing=False)


def _gate(name: Literal["before_swap", "after_swap"], plan: Plan, *, standing: bool = True) -> Gate:
    rows = [_row_check(comparison) for comparison in plan.comparisons if comparison.gate == name]
    asked = (name,) if standing else (name, "before_contract")
    wanted = [item for item in plan.requirements if item.gate in asked and (standing or item.kind != "standing")]
    queries = [_query_check(item, plan) for item in wanted]
    return Gate(name=name, migration=plan.migration, checks=(*rows, *queries), suites=_suites(name, plan))


def bound(name: str, plan: Plan) -> tuple[Gate, ...]:
    """Return the gate of a transition that has none but what the spec binds to it; nothing where it binds nothing."""
    suites = _suites(name, plan)
    return (Gate(name=name, migration=plan.migration, suites=suites),) if suites else ()


def _suites(gate: str, plan: Plan) -> tuple[str | BoundSuite, ...]:
    """Return the suites that the spec binds to a gate, each with its table if there can be but one."""
    gates = plan.spec.get("gates")
    named = gates.get(gate) if isinstance(gates, Mapping) else None
    return tuple(_suite(one, plan) for one in named) if isinstance(named, list | tuple) else ()


def _suite(one: object, plan: Plan) -> str | BoundSuite:
    if isinstance(one, Mapping):
        found = BoundSuite.model_validate(one)
        return found.model_copy(update={"suite": _of_table(found.suite, plan)})
    return _of_table(str(one), plan)


def _of_table(suite: str, plan: Plan) -> str:
    return suite if names_table(suite) or len(plan.tables) != 1 else f"{suite}@{plan.tables[0]}"


def _row_check(comparison: Comparison) -> RowCheck:
    return RowCheck(
        name=comparison.name,
        table=comparison.table,
        key=comparison.key,
        stored=comparison.stored,
        computed=comparison.computed,
        source=comparison.source,
        where=comparison.where,
        exact=comparison.exact,
    )


def _query_check(requirement: Requirement, plan: Plan) -> QueryCheck:
    table = plan.catalogue.table(requirement.table)
    primary = [index for index in table.indexes if index.primary] if table else []
    return QueryCheck(
        name=requirement.name,
        table=requirement.table,
        violations=requirement.violations,
        key_width=max((len(index.columns) for index in primary), default=1),
        structural=requirement.kind in ("structure", "standing"),
    )


def import_early() -> None:
    """Begin to import Great Expectations, which takes seconds, beside whatever is done until the first gate."""
    name = "great_expectations"
    # On the way it imports what Python is about to drop. Here, because in the thread it would not be undone safely.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"great_expectations(\.|\Z)")
    threading.Thread(target=importlib.import_module, args=(name,), name=f"import {name}", daemon=True).start()


def evaluate(
    gate: Gate,
    url: str,
    *,
    values_in_reports: bool = False,
    search_path: str = "public",
    before: Mapping[str, Reading] = MappingProxyType({}),
    probes: Probes | None = None,
) -> GateResult:
    """Evaluate a gate with Great Expectations, and return a result for every check and expectation.

    Sessions are read-only and named `changeover <migration> gate`. Each statement is one snapshot; a gate of
    several is not one. Locks: ACCESS SHARE. Nothing that goes wrong is raised: it is a failed check. Neither
    the result nor the log holds a secret, or, without `values_in_reports`, a value of a row. The time of a
    statement is shared out evenly among the checks that it served. One gate at a time in a process. `before` is
    what the probes cost before the first change, by name, and `probes` what they may cost now.
    """
    if is_mongodb(url):
        return GateResult(gate=gate.name, checks=evaluate_on_mongodb(gate, url, values_in_reports=values_in_reports))
    source: PostgresSource | MariaSource
    if is_mysql(url):
        source = MariaSource(url=url)
        results = list(evaluate_on_mysql(gate.checks, source, values_in_reports=values_in_reports))
    else:
        source = PostgresSource(url=url, migration=gate.migration, search_path=search_path)
        results = list(evaluate_checks(gate.checks, source, values_in_reports=values_in_reports))
        results += evaluate_outcome(gate, source)
    for reference in gate.suites:
        results += evaluate_suite(reference, source, values_in_reports=values_in_reports)
    results += evaluate_probes(gate.probes, source, before, probes or Probes(), values_in_reports=values_in_reports)
    return GateResult(gate=gate.name, checks=tuple(results))
