"""What an operation may expect of the table before it contributes anything."""

import difflib

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.model.catalogue import Column
from tasks.model.errors import SpecError


def existing_column(draft: TableDraft, name: str, where: str) -> Column:
    """Return the column, or refuse with the names that are close."""
    column = draft.table.column(name)
    if column is None:
        names = [c.name for c in draft.table.columns]
        close = difflib.get_close_matches(name, names, n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"The table has: {', '.join(names)}."
        raise SpecError(f"{draft.full_name} has no column {name}", where=where, hint=hint)
    return column


def free_column(draft: TableDraft, name: str, where: str) -> None:
    """Refuse a name that the table already uses."""
    if draft.table.column(name) is not None:
        raise SpecError(f"{draft.full_name} already has a column {name}", where=where, hint="Choose another name.")


def free_relation(draft: TableDraft, name: str, where: str) -> None:
    """Refuse the name of an index or table that the schema already uses."""
    row = draft.rehearsal.conn.execute(
        "select exists (select from pg_catalog.pg_class c where c.relname = %s"
        " and c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = %s))",
        (name, draft.table.schema_name),
    ).fetchone()
    if row and row[0]:
        raise SpecError(
            f"the schema {draft.table.schema_name} already has a relation {name}",
            where=where,
            hint="Choose another name.",
        )
