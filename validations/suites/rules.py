"""Business rules, ready-made: a spec binds one to a gate by name and arguments.

Sums are exact: every amount is added up as a decimal, those of floating point as they are written out. A NULL is never
equal to a number, and a group that only one side has is a difference.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.model.names import quote

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite


def control_totals(
    amount: str,
    by: Sequence[str],
    other: str = "",
    other_amount: str = "",
    other_by: Sequence[str] = (),
    where: str = "true",
) -> "ExpectationSuite":
    """Expect that count and sum of an amount agree, group by group, between two columns or two tables.

    `other` is `schema.table`; empty: the table itself, with `other_amount` in place of `amount`. `where` is SQL over
    either table.
    """
    if not other and not other_amount:
        raise ValueError("control_totals compares with `other`, a table, or `other_amount`, a column")
    here = _totals("{batch}", amount, by, where)
    table = _table(other) if other else "{batch}"
    there = _totals(table, other_amount or amount, other_by or by, where)
    groups = range(len(by))
    same = " and ".join(f"here.g{n} is not distinct from there.g{n}" for n in groups) or "true"
    # FULL JOIN takes no `is not distinct from`: what is missing on one side is found by counting instead.
    query = (
        f"select here.* from {here} as here where not exists (select from {there} as there"
        f" where {same} and here.n = there.n and here.total is not distinct from there.total)"
        f" union all select there.* from {there} as there where not exists (select from {here} as here where {same})"
    )
    return _suite(f"control totals of {amount} by {', '.join(by) or 'all'}", query)


def balanced(debit: str, credit: str, by: Sequence[str] = (), where: str = "true") -> "ExpectationSuite":
    """Expect that debit and credit of every group add up to the same."""
    groups, grouped = _groups(by)
    query = (
        f"select {groups}{_sum(debit)} as debit, {_sum(credit)} as credit from {{batch}} where ({where}\n){grouped}"
        f" having {_sum(debit)} is distinct from {_sum(credit)}"
    )
    return _suite(f"{debit} balances {credit}", query)


def reconciles(
    opening: str, closing: str, by: Sequence[str], movements: str, amount: str, movements_by: Sequence[str] = ()
) -> "ExpectationSuite":
    """Expect that opening balance plus movements is the closing balance of every row, and every movement has a row.

    `movements` is `schema.table`, whose `amount` is added up by `movements_by` (`by` unless given).
    """
    pairs = list(zip(by, movements_by or by, strict=True))
    same = " and ".join(f"m.{_name(there)} is not distinct from b.{_name(here)}" for here, there in pairs) or "true"
    of_groups = ", ".join(f"m.{_name(there)}::text" for _, there in pairs) or "'all'"
    moved = f"(select coalesce({_sum(amount, 'm.')}, 0) from {_table(movements)} as m where {same})"
    query = (
        f"select row(b.*)::text as unreconciled from (select * from {{batch}}) as b"
        f" where {_number(opening, 'b.')} + {moved} is distinct from {_number(closing, 'b.')}"
        f" union all select distinct row({of_groups})::text from {_table(movements)} as m"
        f" where not exists (select from (select * from {{batch}}) as b where {same})"
    )
    return _suite(f"{opening} and {movements} reconcile with {closing}", query)


def no_rows(query: str, name: str = "no rows") -> "ExpectationSuite":
    """Expect that a query of your own returns nothing; `{batch}` in it is the table of the gate."""
    return _suite(name, query)


def _suite(name: str, query: str) -> "ExpectationSuite":
    from great_expectations import ExpectationSuite  # noqa: PLC0415 - takes seconds
    from great_expectations.expectations.core.unexpected_rows_expectation import (  # noqa: PLC0415
        UnexpectedRowsExpectation,
    )

    rule = UnexpectedRowsExpectation(unexpected_rows_query=query, description=name)
    return ExpectationSuite(name=name, expectations=[rule])


def _totals(table: str, amount: str, by: Sequence[str], where: str) -> str:
    groups = "".join(f"{_name(column)} as g{n}, " for n, column in enumerate(by))
    _, grouped = _groups(by)
    return f"(select {groups}count(*) as n, {_sum(amount)} as total from {table} where ({where}\n){grouped})"


def _groups(by: Sequence[str]) -> tuple[str, str]:
    listed = ", ".join(map(_name, by))
    return (f"{listed}, ", f" group by {listed}") if by else ("", "")


def _sum(column: str, of: str = "") -> str:
    return f"sum({_number(column, of)})"


def _number(column: str, of: str = "") -> str:
    """Return a column as a decimal. A cast would leave six digits of a `real`, its text has them all."""
    name = f"{of}{_name(column)}"
    floating = "('real'::regtype, 'double precision'::regtype)"
    return f"case when pg_typeof({name}) in {floating} then {name}::text::numeric else {name}::numeric end"


def _table(name: str) -> str:
    schema, _, table = name.rpartition(".")
    return f"{_name(schema)}.{_name(table)}" if schema else _name(table)


def _name(name: str) -> str:
    """Quote a name. Great Expectations reads braces and colons in a query as places for values."""
    if not isinstance(name, str) or not name or any(mark in name for mark in "{}:%\0"):
        raise ValueError("a name of a column or table is a text without braces, colons and per cent signs")
    return quote(name)
