"""create_constraint: the rule meets applications only after approval; what breaks it can be converted by `up`."""

import psycopg

from tasks.engines.postgresql.planning.checks.require import new_column
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.operations.alter_column import set_orphans_null
from tasks.engines.postgresql.planning.restrictions.archive import archive_duplicates, archive_orphans
from tasks.engines.postgresql.planning.restrictions.constraints import add_condition, add_primary_key, add_unique
from tasks.engines.postgresql.planning.restrictions.conversions import Places, convert
from tasks.engines.postgresql.planning.restrictions.foreign_keys import add_foreign_key, orphaned
from tasks.engines.postgresql.planning.restrictions.late import deferral
from tasks.engines.postgresql.transient import is_transient
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations import CreateConstraint
from tasks.model.spec import BackfillOptions


def draft_create_constraint(op: CreateConstraint, draft: TableDraft, backfill: BackfillOptions, where: str) -> Places:
    """Convert the columns that get other values, then add the constraint over the new shape."""
    if op.exclude is not None:
        raise SpecError(
            "an exclusion constraint cannot be built on a table without blocking those who write to it",
            where=f"{where}.type",
            hint="Write `strategy: shadow_table`: there it is built on a new table, before that has rows.",
        )
    for column in dict.fromkeys((*(op.columns or ()), *(op.up or {}), *(op.down or {}))):
        new_column(draft, column, where)
    places = convert(
        draft,
        op.converted,
        (op.up or {}, op.down or {}),
        where,
        lossy=op.lossy,
        held=_held(op, draft) if op.converted else None,
        never_null=op.type == "primary_key",
    )
    if op.orphans == "set_null" and op.references is not None and op.columns is not None:
        pairs = dict(zip(op.columns, op.references.columns, strict=True))
        set_orphans_null(draft, pairs, op.references.table, where, full=op.references.match_type == "FULL")
    drain = archive_duplicates(op, draft, backfill, where) if op.duplicates == "archive" else ""
    _add(op, op.columns or (), draft, where, drain)
    if op.orphans == "archive":
        archive_orphans(op, draft, backfill, where)
    return places


def _add(op: CreateConstraint, columns: tuple[str, ...], draft: TableDraft, where: str, drain: str) -> None:
    when = deferral(op.deferrable, op.initially_deferred)
    if op.check is not None:
        add_condition(draft, op.name, op.check, f"{where}.check", no_inherit=op.no_inherit)
    elif op.references is not None:
        add_foreign_key(
            draft, op.name, columns, op.references, f"{where}.references", when=when, archives=op.orphans == "archive"
        )
    elif op.type == "unique":
        add_unique(draft, op.name, columns, where, when=when, drain=drain)
    elif op.deferrable:
        raise SpecError(
            "a primary key that is deferrable could not be so until the swap",
            where=f"{where}.deferrable",
            hint="Leave out deferrable; or write type: unique, which can be deferrable from the start.",
        )
    else:
        add_primary_key(draft, op.name, columns, where)


def _held(op: CreateConstraint, draft: TableDraft) -> str | None:
    """Which old values meet the constraint already: only those have to come back through `down`."""
    alias = quote(draft.table.name)
    if op.check is not None:
        condition = f"({op.check}\n) is not false"
    elif op.references is not None and op.columns is not None:
        parent = draft.spec.resolve_table(op.references.table, op.references.table)
        columns = ", ".join(f"{alias}.{quote(column)}" for column in op.columns)
        pairs = dict(zip(op.columns, op.references.columns, strict=True))
        broken = orphaned(parent, pairs, full=op.references.match_type == "FULL")
        condition = (
            f"not exists (select from (select {columns}) as child"
            f" ({', '.join(quote(column) for column in op.columns)}) where {broken})"
        )
    else:
        return None
    return condition if _makes_sense(condition, draft) else None


def _makes_sense(condition: str, draft: TableDraft) -> bool:
    """Tell whether it can be asked of the old shape: it may name columns, or mean types, of the new one."""
    try:
        with draft.rehearsal.conn.transaction(force_rollback=True):
            twin = f"{draft.rehearsal.old} as {quote(draft.table.name)}"
            draft.rehearsal.conn.execute(f"explain select from {twin} where {condition}")
    except psycopg.Error as error:
        if is_transient(error):
            raise
        return False
    return True
