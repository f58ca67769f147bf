"""What two tables must be like to be kept in step; refused, with the remedy, before anything is done."""

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.model.catalogue import Column
from tasks.model.errors import PreflightError, SpecError


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
    if draft.table.force_row_security:
        raise PreflightError(
            f"{draft.full_name} forces row security on its owner: rows could be hidden from what is carried",
            where=where,
            hint="alter table ... no force row level security, for the time of the migration.",
        )


def movable(draft: TableDraft, column: Column, where: str) -> None:
    """Refuse a column with rules that what is carried back could break, or wait for, and one that is never NULL."""
    if column.identity or column.generated is not None:
        kind = "an identity" if column.identity else "a generated"
        raise SpecError(f"{column.name} is {kind} column, which fills itself", where=where, hint="Add a new column.")
    draft.rehearsal.try_on_new(
        f"select null::{column.type}", where, "Give it the type beneath the domain first: alter_column."
    )
    # What the catalogue calls "not null" is restored by name.
    rules = [c.name for c in draft.table.constraints if column.name in c.columns and c.kind != "not null"]
    rules += [i.name for i in draft.table.indexes if i.unique and column.name in i.referenced]
    rules += [key.name for key in draft.table.inbound if column.name in key.referenced_columns]
    if rules:
        raise PreflightError(
            f"{column.name} of {draft.full_name} is held by {', '.join(sorted({*rules}))}",
            where=where,
            hint="Drop it in a migration of its own first, and give the other table one of its own afterwards.",
        )
