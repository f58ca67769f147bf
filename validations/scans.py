"""The statements that evaluate checks: as few passes over a table as possible, one snapshot each.

Row checks of one source share a pass; each query check is a statement of its own. Every statement returns
one row, whatever the number of violations.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks.engines.before_run import MOST_EXAMPLES
from tasks.model.names import quote
from validations.checks import Check, QueryCheck, RowCheck


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A statement, and the checks that it evaluates by the name of their column.

    Columns: one a check, the number of its violations; `compared`, the rows read, and `populated`, whether
    the table holds any, for row checks; `named`, the first few objects, for a structural check.
    """

    statement: str
    columns: dict[str, Check]


def scans(checks: Iterable[Check]) -> tuple[Scan, ...]:
    """Return the statements that evaluate all checks, row checks of one source and condition together."""
    passes: dict[tuple[str, str, str], list[RowCheck]] = {}
    queries: list[QueryCheck] = []
    for check in checks:
        if isinstance(check, RowCheck):
            passes.setdefault((check.source, check.where, check.relation), []).append(check)
        else:
            queries.append(check)
    return (*map(_pass, passes.values()), *map(_query, queries))


def _pass(checks: Sequence[RowCheck]) -> Scan:
    columns: dict[str, Check] = {f"c{number}": check for number, check in enumerate(checks)}
    counts = "".join(
        f",\n  pg_catalog.count(*) filter (where {check.differs}) as c{number}" for number, check in enumerate(checks)
    )
    first = checks[0]
    # Line breaks around everything that an author wrote: it may end in a comment.
    statement = (
        f"select pg_catalog.count(*) as compared,\n  exists (select from {first.relation}) as populated"
        f"{counts}\nfrom {first.source}\nwhere (\n{first.where}\n)"
    )
    return Scan(statement=statement, columns=columns)


def _query(check: QueryCheck) -> Scan:
    if check.structural:
        listed = f"(pg_catalog.array_agg(what::pg_catalog.text))[1:{MOST_EXAMPLES}]"
        statement = (
            f"select pg_catalog.count(*) as c0, {listed} as named\nfrom (\n{check.violations}\n) as violation(what)"
        )
    else:
        statement = f"select pg_catalog.count(*) as c0\nfrom (\n{check.violations}\n) as violation"
    return Scan(statement=statement, columns={"c0": check})


def examples(check: Check) -> str:
    """Return a query for the keys, as text, of the first few rows that break a check."""
    if isinstance(check, RowCheck):
        keys = ", ".join(f"{quote(column)}::pg_catalog.text" for column in check.key)
        # CASE, and not AND: `where` decides which rows the expressions may be evaluated for.
        return (
            f"select {keys}\nfrom {check.source}\nwhere case when (\n{check.where}\n)"
            f" then {check.differs} else false end\nlimit {MOST_EXAMPLES}"
        )
    names = [f"k{number}" for number in range(check.key_width)]
    keys = ", ".join(f"{name}::pg_catalog.text" for name in names)
    return f"select {keys}\nfrom (\n{check.violations}\n) as violation({', '.join(names)})\nlimit {MOST_EXAMPLES}"
