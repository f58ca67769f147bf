"""Which columns a new table gets, whichever database reads the old one, and whichever makes the new."""

from collections.abc import Callable
from typing import Literal

from tasks.model.base import Record
from tasks.model.catalogue import Column, Table
from tasks.model.errors import SpecError
from tasks.model.transfer import TransferSpec
from tasks.model.transfer_columns import ColumnRule
from tasks.model.transfer_steps import Misfit, TransferColumn


class Sent(Record):
    """A type of the target, and what becomes of values on the way to it."""

    type: str
    text: str
    """SQL of the source: what is sent."""
    form: Literal["plain", "text", "bytes"] = "plain"
    misfits: tuple[Misfit, ...] = ()


def chosen(table: Table, wanted: TransferSpec) -> list[tuple[str, ColumnRule, Column | None]]:
    """Return name, rule and column of what a new table gets: columns of the source in their order, then what else.

    An expression has no column. Raises SpecError for a column that there is not.
    """
    _refuse_unknown(table, wanted)
    named = {rule.column or name: name for name, rule in wanted.columns.items() if rule.up is None}
    rules = dict(wanted.columns)
    places: list[tuple[str, ColumnRule, Column | None]] = []
    for column in table.columns:
        name = named.get(column.name, column.name)
        rule = rules.get(name, ColumnRule(column=column.name))
        if column.name in wanted.omit or rule.up is not None or (rule.column or name) != column.name:
            continue
        places.append((name, rule, column))
    done = {name for name, _, _ in places}
    places += [(name, rule, table.column(rule.column or name)) for name, rule in rules.items() if name not in done]
    return [(name, rule, found if rule.up is None else None) for name, rule, found in places]


def _refuse_unknown(table: Table, wanted: TransferSpec) -> None:
    for name, rule in wanted.columns.items():
        if rule.up is None and table.column(rule.column or name) is None:
            raise SpecError(
                f"{table.full_name} has no column {rule.column or name!r}",
                where=f"transfer.columns.{name}",
                hint="Correct the name of the column, or give `up`.",
            )
    for number, name in enumerate(wanted.omit):
        if table.column(name) is None:
            raise SpecError(
                f"{table.full_name} has no column {name!r}",
                where=f"transfer.omit[{number}]",
                hint="Correct the name, or remove it.",
            )


def named_key(
    key: tuple[str, ...], columns: tuple[TransferColumn, ...], table: Table, quote: Callable[[str], str]
) -> tuple[str, ...]:
    """Return what the columns of the key are called in the new table. Raises SpecError where one is not copied."""
    names = []
    for column in key:
        found = next((one for one in columns if one.expression == quote(column)), None)
        if found is None or found.unfit == "null":
            raise SpecError(
                f"{column!r} is part of the primary key of {table.full_name}, by which rows are told apart",
                where="transfer.columns",
                hint="Copy it as it is; under another name, if you like.",
            )
        names.append(found.name)
    return tuple(names)
