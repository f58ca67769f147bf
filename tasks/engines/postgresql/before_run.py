"""Ask the rows of today what the new shape demands, before anything is done.

Every question is one transaction of its own, read-only and rolled back, so that no lock outlives it. Nothing is
written: a conversion that fails is looked at row by row by a function that exists for this session only.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg

from tasks.engines.before_run import GATE, MOST_EXAMPLES, broken, named
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.texts import warnings
from tasks.engines.postgresql.transient import is_transient
from tasks.model.conversion import Conversion
from tasks.model.names import quote
from tasks.model.plan import Plan, Requirement
from tasks.model.status import CheckResult, GateResult

# Types that an explicit cast cuts to size, where an assignment refuses.
_CUT = re.compile(r"\b(char|character|varchar|bit|varying)\b.*\(", re.IGNORECASE)


def examine(conn: Connection, plan: Plan, *, values_in_reports: bool) -> GateResult:
    """Return a result for every conversion and requirement; raises only what another try may cure.

    Keys of rows are in it only with `values_in_reports`. Locks: ACCESS SHARE, for the length of each statement.
    """
    checks: list[CheckResult] = []
    unfit: set[str] = set()
    for conversion in plan.conversions:
        found = _converted(conn, plan, conversion, values_in_reports)
        if not found.passed:
            unfit.add(conversion.table)
        checks.append(found)
    for requirement in plan.requirements:
        if requirement.gate == GATE:
            checks.append(_required(conn, plan, requirement, values_in_reports, unfit))
    return GateResult(gate=GATE, checks=(*checks, *_texts(conn, plan)))


def _texts(conn: Connection, plan: Plan) -> tuple[CheckResult, ...]:
    started = time.monotonic()
    try:
        with _asking(conn, plan):
            return tuple(warnings(conn, plan))
    except psycopg.Error as error:
        if is_transient(error):
            raise
        unknown = _not_evaluated("the texts of the database are sound", _reason(error), started)
        return (unknown.model_copy(update={"severity": "warning"}),)


@contextmanager
def _asking(conn: Connection, plan: Plan, *prepare: str) -> Iterator[None]:
    """Read what is there, all of it or nothing: a policy that hides rows is an error."""
    with conn.transaction(force_rollback=True):
        conn.execute("select set_config('search_path', %s, true)", (plan.search_path,))
        for statement in prepare:
            conn.execute(statement)
        conn.execute("set transaction read only; set local row_security = off; set local statement_timeout = 0")
        yield


def _required(conn: Connection, plan: Plan, one: Requirement, values_in_reports: bool, unfit: set[str]) -> CheckResult:
    started = time.monotonic()
    examples: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    try:
        with _asking(conn, plan):
            row = conn.execute(f"select count(*) from (\n{one.violations}\n) as violation").fetchone()
            count = int(row[0]) if row else 0
            if count and one.kind == "standing":
                # Names of the catalogue, and no keys of rows.
                objects = _keys(conn, one.violations)
            elif count and values_in_reports:
                examples = _keys(conn, one.rows or one.violations)
    except psycopg.Error as error:
        if is_transient(error):
            raise
        why = "values of the table do not fit: see above" if one.table in unfit else _reason(error)
        return _not_evaluated(one.name, why, started).model_copy(update={"severity": one.severity})
    return CheckResult(
        name=one.name,
        passed=count == 0,
        evaluated=True,
        unexpected=count,
        message="; ".join(objects) or broken(count, one.kind),
        examples=examples,
        seconds=time.monotonic() - started,
        severity=one.severity,
        fix=one.fix if count else "",
    )


def _converted(conn: Connection, plan: Plan, one: Conversion, values_in_reports: bool) -> CheckResult:
    started = time.monotonic()
    try:
        if _all_fit(conn, plan, one):
            return CheckResult(
                name=one.name,
                passed=True,
                evaluated=True,
                message="every value fits",
                seconds=time.monotonic() - started,
            )
        with _asking(conn, plan, _refusal(one)):
            counts = conn.execute(
                f"select why, count(*) from (select {_call(one)} as why from {one.relation} as {quote(one.alias)})"
                " as tried where why is not null group by why order by 2 desc, 1"
            ).fetchall()
            total = sum(int(row[1]) for row in counts)
            examples: tuple[str, ...] = ()
            if total and values_in_reports and one.key:
                keys = ", ".join(f"{quote(column)}" for column in one.key)
                examples = _keys(
                    conn, f"select {keys} from {one.relation} as {quote(one.alias)} where {_call(one)} is not null"
                )
    except psycopg.Error as error:
        if is_transient(error):
            raise
        return _not_evaluated(one.name, _reason(error), started)
    reasons = ", ".join(f"{int(count):,} × {_condition(why)} ({why})" for why, count in counts)
    return CheckResult(
        name=one.name,
        passed=total == 0,
        evaluated=True,
        unexpected=total,
        message=f"{total:,} row{'s' if total != 1 else ''}: {reasons}" if total else "every value fits",
        examples=examples,
        seconds=time.monotonic() - started,
        fix=_mend(one) if total else "",
    )


def _all_fit(conn: Connection, plan: Plan, one: Conversion) -> bool:
    """Try all rows at the speed of the server; False is only a suspicion."""
    value = f"({one.expression}\n)"
    cut = f", bool_or({value}::pg_catalog.text is distinct from ({value}::{one.type})::pg_catalog.text)"
    try:
        with _asking(conn, plan):
            asked = f"count({value}::{one.type}){cut if _cuts(conn, one.type) else ', false'}"
            row = conn.execute(f"select {asked} from {one.relation} as {quote(one.alias)}").fetchone()
    except psycopg.Error as error:
        if is_transient(error) or isinstance(error, psycopg.errors.QueryCanceled):
            raise
        return False
    return row is not None and not row[1]


def _cuts(conn: Connection, type_name: str) -> bool:
    """Tell whether a cast to the type, or to what a domain is made of, cuts a value to size."""
    beneath = conn.execute(
        """
        with recursive beneath (oid, name) as (
          select to_regtype(%s)::oid, %s::text
          union all
          select found.oid, format_type(found.oid, found.modifier)
          from beneath join pg_catalog.pg_type t on t.oid = beneath.oid
          cross join lateral (
            select t.typbasetype, t.typtypmod where t.typtype = 'd'
            union all select t.typelem, -1 where t.typcategory = 'A' and t.typtype <> 'd'
          ) as found (oid, modifier)
        )
        select name from beneath
        """,
        (type_name, type_name),
    ).fetchall()
    return any(_CUT.search(row[0]) for row in beneath)


def _refusal(one: Conversion) -> str:
    """Define the function that assigns a value as dual write does, and gives the SQLSTATE of what went wrong."""
    read = ", ".join(f"($1).{quote(column)} as {quote(column)}" for column in one.sources)
    body = f"""
#variable_conflict use_column
declare "_changeover_value" {one.type};
begin
  "_changeover_value" := (select ({one.expression}
) from (select {read}) as {quote(one.alias)});
  return null;
exception when others then
  return sqlstate;
end
"""
    mark = "$changeover$"
    while mark in body:
        mark = mark[:-1] + "_$"
    return (
        f"create function pg_temp.changeover_refusal({one.relation}) returns pg_catalog.text"
        f" language plpgsql as {mark}{body}{mark}"
    )


def _call(one: Conversion) -> str:
    return f"pg_temp.changeover_refusal({quote(one.alias)})"


def _mend(one: Conversion) -> str:
    column = quote(one.sources[0]) if one.sources else "<column>"
    key = f"({', '.join(map(quote, one.key))})" if one.key else "<key>"
    return f"update {one.relation} set {column} = <value> where {key} in (<keys of those rows>)"


def _keys(conn: Connection, query: str) -> tuple[str, ...]:
    rows: Sequence[Sequence[object]] = conn.execute(
        f"select * from (\n{query}\n) as violation limit {MOST_EXAMPLES}"
    ).fetchall()
    return named(rows)


def _not_evaluated(name: str, why: str, started: float) -> CheckResult:
    return CheckResult(
        name=name,
        passed=False,
        evaluated=False,
        message=f"could not be evaluated: {why}",
        seconds=time.monotonic() - started,
    )


def _reason(error: psycopg.Error) -> str:
    """Name an error without what it quotes."""
    return f"{_condition(error.sqlstate or '')} ({error.sqlstate})" if error.sqlstate else type(error).__name__


def _condition(sqlstate: str) -> str:
    try:
        name = psycopg.errors.lookup(sqlstate).__name__
    except KeyError:
        return "error"
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()
