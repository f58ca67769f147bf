"""Columns that take on other values for the sake of a constraint: each goes the way of alter_column."""

from collections.abc import Iterable, Mapping

from tasks.engines.postgresql.planning.checks.require import existing_column
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.operations.alter_column import through_new_column
from tasks.model.operations import AlterColumn

Expressions = Mapping[str, str]
Places = dict[tuple[str, str], str]
"""Where in the spec an expression stands, by direction and column."""


def convert(
    draft: TableDraft,
    columns: Iterable[str],
    expressions: tuple[Expressions, Expressions],
    where: str,
    *,
    lossy: bool,
    held: str | None = None,
    never_null: bool = False,
) -> Places:
    """Give each column a new one that takes its place at the swap; return where `up` and `down` stand.

    Without an expression the values go over as they are. `held` is a condition over the old values, as in `Retired`.
    """
    up, down = expressions
    places: Places = {}
    for name in columns:
        column = existing_column(draft, name, where)
        alteration = AlterColumn(
            table=draft.full_name,
            column=name,
            up=up.get(name, None if name in down else name),
            down=down.get(name),
            nullable=False if never_null else None,
            lossy=lossy,
        )
        through_new_column(alteration, column, draft, where, held=held)
        places |= {("up", name): f"{where}.up.{name}", ("down", name): f"{where}.down.{name}"}
    return places
