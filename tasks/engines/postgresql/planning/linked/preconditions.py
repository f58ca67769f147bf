"""What two tables must be like to be kept in step; refused, with the remedy, before anything is done."""

from collections.abc import Mapping, Sequence

from tasks.engines.postgresql.planning.checks.obstacles import visible
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.keys import key_columns
from tasks.model.catalogue import Column
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import quote

_SAME = ("text", "character", "smallint", "integer", "bigint", "uuid", "date", "boolean", "timestamp")
"""How the names of types begin of which equal values are the same value; an enum is one, too."""


def check(draft: TableDraft, triggers: str, where: str, *, rows: bool = False) -> None:
    """Refuse triggers that what is carried would fire, and policies that would hide rows from it.

    `rows`: whole rows are made and removed, not only updated.
    """
    firing = [
        t.name for t in draft.table.triggers
        if t.enabled in ("origin", "always", "replica")
        and (("update" in t.events and not t.update_columns) or (rows and {*t.events} & {"insert", "delete"}))
    ]  # fmt: skip
    if firing and triggers != "fire":
        raise PreflightError(
            f"what is carried from table to table would fire the triggers {', '.join(firing)} of {draft.full_name}",
            where=where,
            hint="Write `backfill: {user_triggers: fire}` if they may run; what they write is not carried further.",
        )
    visible(draft, draft.real, where)


def movable(draft: TableDraft, column: Column, where: str, *, but: str = "") -> None:
    """Refuse a column with rules that what is carried back could break, or wait for, and one that is never NULL.

    `but`: a constraint that whoever carries knows.
    """
    if column.identity or column.generated is not None:
        kind = "an identity" if column.identity else "a generated"
        raise SpecError(f"{column.name} is {kind} column, which fills itself", where=where, hint="Add a new column.")
    draft.rehearsal.try_on_new(
        f"select null::{column.type}", where, "Give it the type beneath the domain first: alter_column."
    )
    # What the catalogue calls "not null" is restored by name.
    rules = [c.name for c in draft.table.constraints
             if column.name in c.columns and c.kind != "not null" and c.name != but]  # fmt: skip
    rules += [i.name for i in draft.table.indexes if i.unique and column.name in i.referenced]
    rules += [key.name for key in draft.table.inbound if column.name in key.referenced_columns]
    if rules:
        raise PreflightError(
            f"{column.name} of {draft.full_name} is held by {', '.join(sorted({*rules}))}",
            where=where,
            hint="Drop it in a migration of its own first, and give the other table one of its own afterwards.",
        )


def comparable(draft: TableDraft, column: str, where: str) -> None:
    """Refuse a type with values that are equal and not the same: where equal ones share a row, some would be lost.

    Of an array, its elements count.
    """
    row = draft.rehearsal.conn.execute(
        "select e.typtype = 'e', coalesce(c.collisdeterministic, true), pg_catalog.format_type(e.oid, null)"
        " from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid"
        " join pg_catalog.pg_type e on e.oid = case when t.typcategory = 'A' then t.typelem else t.oid end"
        " left join pg_catalog.pg_collation c on c.oid = a.attcollation"
        " where a.attrelid = %s::regclass and a.attname = %s",
        (draft.real, column),
    ).fetchone()
    enum, deterministic, type_name = row if row is not None else (False, True, "unknown")
    if not deterministic or not (enum or type_name.startswith(_SAME)):
        raise SpecError(
            f"{column} is of the type {type_name}, of which two values can be equal and not the same"
            if deterministic
            else f"the collation of {column} takes different texts for equal",
            where=where,
            hint="Give the column another type first, such as text: alter_column.",
        )


def no_policies(draft: TableDraft, where: str, hint: str) -> None:
    """Refuse a table whose policies would not hold in the table that is made beside it."""
    if draft.table.row_security:
        raise PreflightError(
            f"{draft.full_name} has row security, which would not hold in the new table",
            where=where,
            hint=hint,
        )


def primary_key(
    draft: TableDraft,
    names: Mapping[str, str],
    columns: Sequence[str],
    where: str,
    *,
    beside: Sequence[str] | None = None,
) -> list[Column]:
    """Return the columns of the primary key, to which a new table can refer that gets some `columns`.

    `names`: what some of the key are called there. `beside`: what the others are called there, if not as here.
    """
    primary = next((index for index in draft.table.indexes if index.primary), None)
    if primary is None or not primary.immediate or primary.without_overlaps:
        raise PreflightError(
            f"{draft.full_name} has no primary key that a foreign key could refer to",
            where=where,
            hint="Give it one first, not deferrable: create_constraint.",
        )
    listed = key_columns(draft.table, primary)
    key = [column for name in listed for column in draft.table.columns if column.name == name]
    if unknown := sorted(names.keys() - {*listed}):
        raise SpecError(
            f"{', '.join(unknown)} does not belong to the primary key of {draft.full_name}",
            where=f"{where}.key",
            hint=f"The key has: {', '.join(listed)}.",
        )
    if moved := sorted({*listed} & {*columns}):
        raise SpecError(
            f"{', '.join(moved)} belongs to the primary key, which both tables have",
            where=where,
            hint="Leave it out.",
        )
    if taken := sorted({names.get(name, name) for name in listed} & {*(columns if beside is None else beside)}):
        raise SpecError(
            f"the new table has two columns {', '.join(taken)}", where=f"{where}.key", hint="Choose another name."
        )
    draft.rehearsal.try_on_new(
        f"select pg_catalog.hash_record(row({', '.join(quote(name) for name in listed)})) from {{table}}",
        where,
        "Give the table a key of another type first.",
    )
    return key


def collation(column: Column) -> str:
    """Return the clause that gives another column the collation of a column."""
    return f" collate {column.collation}" if column.collation else ""
