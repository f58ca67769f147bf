"""What an operation may expect of the table before it contributes anything."""

import difflib

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.model.catalogue import Column, Table
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations import DropColumn


def column_of(table: Table, name: str, where: str) -> Column:
    """Return the column of a table, or refuse with the names that are close."""
    column = table.column(name)
    if column is None:
        names = [c.name for c in table.columns]
        close = difflib.get_close_matches(name, names, n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"The table has: {', '.join(names)}."
        raise SpecError(f"{table.full_name} has no column {name}", where=where, hint=hint)
    return column


def existing_column(draft: TableDraft, name: str, where: str) -> Column:
    """Return the column, or refuse one that is not there or that another operation gives other values."""
    column = column_of(draft.table, name, where)
    if name in draft.altered:
        raise SpecError(
            f"another operation of this spec already gives {name} other values",
            where=where,
            hint="Put one of the two into a migration of its own.",
        )
    return column


def fillable(op: DropColumn, column: Column, where: str) -> None:
    """Refuse a column that nobody would fill once applications no longer write it, and one that fills itself."""
    if not op.down and not column.nullable and column.default is None and not column.identity:
        raise SpecError(
            f"{op.column} is NOT NULL without a default: applications that no longer write it would fail",
            where=where,
            hint="Give `down`, an expression that fills it for rows written by the new application.",
        )
    if op.down and (column.identity or column.generated is not None):
        raise SpecError(
            f"{op.column} is {'an identity' if column.identity else 'a generated'} column, which fills itself",
            where=f"{where}.down",
            hint="Leave out `down`.",
        )


def new_column(draft: TableDraft, name: str, where: str) -> None:
    """Refuse a name that no column has, neither of the table nor among those that the spec adds before."""
    row = draft.rehearsal.conn.execute(
        "select array_agg(attname::text order by attnum) from pg_catalog.pg_attribute"
        " where attrelid = %s::regclass and attnum > 0 and not attisdropped",
        (draft.rehearsal.new,),
    ).fetchone()
    names = row[0] if row else []
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"The table has: {', '.join(names)}."
        raise SpecError(f"{draft.full_name} has no column {name}", where=where, hint=hint)


def free_column(draft: TableDraft, name: str, where: str) -> None:
    """Refuse a name that the table already uses."""
    if draft.table.column(name) is not None:
        raise SpecError(f"{draft.full_name} already has a column {name}", where=where, hint="Choose another name.")


def free_relation(draft: TableDraft, name: str, where: str) -> None:
    """Refuse the name of an index or table that the schema already uses."""
    row = draft.rehearsal.conn.execute(
        "select coalesce(i.indisvalid, true) from pg_catalog.pg_class c"
        " left join pg_catalog.pg_index i on i.indexrelid = c.oid where c.relname = %s"
        " and c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = %s)",
        (name, draft.table.schema_name),
    ).fetchone()
    if row is not None:
        taken = f"the schema {draft.table.schema_name} already has a relation {name}"
        if row[0]:
            raise SpecError(taken, where=where, hint="Choose another name.")
        raise SpecError(
            f"{taken}, an index that is invalid: what an interrupted build leaves",
            where=where,
            hint=f"Drop it, `drop index concurrently {quote(name)}`, or choose another name.",
        )


def free_constraint(draft: TableDraft, name: str, where: str) -> None:
    """Refuse the name of a constraint that the table already uses."""
    if _constraint(draft, name) is not None:
        raise SpecError(f"{draft.full_name} already has a constraint {name}", where=where, hint="Choose another name.")


def existing_constraint(draft: TableDraft, name: str, where: str) -> tuple[str, tuple[str, ...]]:
    """Return letter (`pg_constraint.contype`) and columns of a constraint, or refuse with the names that are close."""
    found = _constraint(draft, name)
    if found is None:
        rows = draft.rehearsal.conn.execute(
            "select conname from pg_catalog.pg_constraint where conrelid = %s::regclass order by 1", (draft.real,)
        ).fetchall()
        close = difflib.get_close_matches(name, [row[0] for row in rows], n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else "Look at the table: \\d in psql lists them."
        raise SpecError(f"{draft.full_name} has no constraint {name}", where=where, hint=hint)
    return found


def _constraint(draft: TableDraft, name: str) -> tuple[str, tuple[str, ...]] | None:
    row = draft.rehearsal.conn.execute(
        """
        select k.contype::text, array(
          select a.attname::text from unnest(k.conkey) with ordinality as key (attnum, position)
          join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = key.attnum
          order by key.position)
        from pg_catalog.pg_constraint k where k.conrelid = %s::regclass and k.conname = %s
        """,
        (draft.real, name),
    ).fetchone()
    return (row[0], tuple(row[1])) if row else None
