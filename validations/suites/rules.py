"""Business rules, ready-made: a spec binds one to a gate by name and arguments.

Sums are exact: every amount is added up as a decimal, those of floating point as they are written out. A NULL is never
equal to a number, and a group that only one side has is a difference. On MariaDB a sum has thirty decimals, a FLOAT
counts as the DOUBLE that it is equal to, and what does not fit is an error; texts are grouped by their collation.

`engine` is for whoever evaluates the suite, and not for a spec to give.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from validations.suites.words import WORDS, Words

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite


def control_totals(
    amount: str,
    by: Sequence[str],
    other: str = "",
    other_amount: str = "",
    other_by: Sequence[str] = (),
    where: str = "true",
    engine: str = "postgresql",
) -> "ExpectationSuite":
    """Expect that count and sum of an amount agree, group by group, between two columns or two tables.

    `other` is `schema.table`; empty: the table itself, with `other_amount` in place of `amount`. `where` is SQL over
    either table.
    """
    if not other and not other_amount:
        raise ValueError("control_totals compares with `other`, a table, or `other_amount`, a column")
    words = WORDS[engine]
    here = _totals(words, "{batch}", amount, by, where)
    table = words.table(other) if other else "{batch}"
    there = _totals(words, table, other_amount or amount, other_by or by, where)
    same = _all(words.same(f"here.g{n}", f"there.g{n}") for n in range(len(by)))
    total = words.same("here.total", "there.total")
    # FULL JOIN takes no `is not distinct from`: what is missing on one side is found by counting instead.
    query = (
        f"select here.* from {here} as here where not exists (select 1 from {there} as there"
        f" where {same} and here.n = there.n and {total})"
        f" union all select there.* from {there} as there where not exists (select 1 from {here} as here where {same})"
    )
    return _suite(f"control totals of {amount} by {', '.join(by) or 'all'}", query)


def balanced(
    debit: str, credit: str, by: Sequence[str] = (), where: str = "true", engine: str = "postgresql"
) -> "ExpectationSuite":
    """Expect that debit and credit of every group add up to the same."""
    words = WORDS[engine]
    groups, grouped = _groups(words, by)
    sums = words.sum(debit), words.sum(credit)
    query = (
        f"select {groups}{sums[0]} as debit, {sums[1]} as credit from {{batch}} where ({where}\n){grouped}"
        f" having not ({words.same(*sums)})"
    )
    return _suite(f"{debit} balances {credit}", query)


def reconciles(
    opening: str,
    closing: str,
    by: Sequence[str],
    movements: str,
    amount: str,
    movements_by: Sequence[str] = (),
    engine: str = "postgresql",
) -> "ExpectationSuite":
    """Expect that opening balance plus movements is the closing balance of every row, and every movement has a row.

    `movements` is `schema.table`, whose `amount` is added up by `movements_by` (`by` unless given).
    """
    words = WORDS[engine]
    pairs = [(words.name(here), words.name(there)) for here, there in zip(by, movements_by or by, strict=True)]
    same = _all(words.same(f"m.{there}", f"b.{here}") for here, there in pairs)
    moved = f"(select coalesce({words.sum(amount, 'm.')}, 0) from {words.table(movements)} as m where {same})"
    closes = words.same(f"{words.number(opening, 'b.')} + {moved}", words.number(closing, "b."))
    query = (
        f"select {words.row([f'b.{here}' for here, _ in pairs])} as unreconciled"
        f" from (select * from {{batch}}) as b where not ({closes})"
        f" union all select distinct {words.row([f'm.{there}' for _, there in pairs])}"
        f" from {words.table(movements)} as m"
        f" where not exists (select 1 from (select * from {{batch}}) as b where {same})"
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


def _totals(words: Words, table: str, amount: str, by: Sequence[str], where: str) -> str:
    groups = "".join(f"{words.name(column)} as g{n}, " for n, column in enumerate(by))
    _, grouped = _groups(words, by)
    return f"(select {groups}count(*) as n, {words.sum(amount)} as total from {table} where ({where}\n){grouped})"


def _groups(words: Words, by: Sequence[str]) -> tuple[str, str]:
    listed = ", ".join(map(words.name, by))
    return (f"{listed}, ", f" group by {listed}") if by else ("", "")


def _all(conditions: Iterable[str]) -> str:
    return " and ".join(conditions) or "true"
