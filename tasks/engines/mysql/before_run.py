"""Ask the rows of today what the new shape demands, before anything is done. Changes nothing; locks: none."""

import time
from typing import Any

from tasks.engines.before_run import GATE, MOST_EXAMPLES, broken, named
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.transient import code_of, is_transient
from tasks.model.errors import StepError
from tasks.model.plan import Plan, Requirement
from tasks.model.status import CheckResult, GateResult


def examine(conn: MariaSession, plan: Plan, *, values_in_reports: bool) -> GateResult:
    """Return a result for every requirement; raises only what another try may cure.

    Keys of rows are in it only with `values_in_reports`.
    """
    asked = [one for one in plan.requirements if one.gate == GATE]
    return GateResult(gate=GATE, checks=tuple(_asked(conn, one, values_in_reports) for one in asked))


def _asked(conn: MariaSession, one: Requirement, values_in_reports: bool) -> CheckResult:
    started = time.monotonic()
    examples: tuple[str, ...] = ()
    try:
        found = int(_told(conn, f"select count(*) from ({one.violations}) as violations")[0][0])
        if found and values_in_reports:
            examples = named(_told(conn, f"{one.rows or one.violations} limit {MOST_EXAMPLES}"))
    except StepError as error:
        return CheckResult(name=one.name, passed=False, evaluated=False, message=error.what)
    except Exception as error:
        code = code_of(error)
        if code is None or is_transient(error):
            raise
        return CheckResult(name=one.name, passed=False, evaluated=False, message=f"the server said {code}")
    return CheckResult(
        name=one.name,
        passed=not found,
        evaluated=True,
        unexpected=found,
        message=broken(found, one.kind),
        examples=examples,
        seconds=time.monotonic() - started,
        fix=one.fix if found else "",
    )


def _told(conn: MariaSession, query: str) -> tuple[tuple[Any, ...], ...]:
    """Return the rows of a query; what the server warns of is good where it is what is asked for."""
    try:
        found: tuple[tuple[Any, ...], ...] = tuple(conn.execute(query).fetchall())
    except StepError:
        with conn.raw.cursor() as cursor:
            cursor.execute(conn.dialect.spoken(query))
            found = tuple(cursor.fetchall())
        if found in ((), ((0,),)):
            raise
    return found
