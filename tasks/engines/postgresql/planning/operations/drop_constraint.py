"""drop_constraint: dropped at the swap, when applications of the new shape may break it; a rollback puts it back."""

from tasks.engines.postgresql.planning.checks.require import existing_constraint
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.restrictions.conversions import Expressions, Places, convert
from tasks.model.catalogue import Constraint
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import quote
from tasks.model.operations import DropConstraint
from tasks.model.operations.conversions import converted
from tasks.model.plan import Finding

_KEPT = {
    "p": (
        "the primary key, without which nothing tells the rows of the table apart",
        "To give the table another one, write rebuild_table with primary_key, and `strategy: shadow_table`.",
    ),
    "x": (
        "an exclusion constraint, which a rollback could not build again without blocking writers",
        "Use `strategy: shadow_table`; or sql, with up and on_complete: true.",
    ),
    "n": (
        "a NOT NULL",
        "Use alter_column with nullable: true, and with down to turn a NULL into a value the old applications accept.",
    ),
    "t": ("a constraint trigger", "Use sql, with drop trigger in up and create constraint trigger in down."),
}
"""Kinds of constraints that cannot be dropped here: what they are, and what to do."""


def draft_drop_constraint(op: DropConstraint, draft: TableDraft, where: str) -> Places:
    """Drop it; with `up` or `down` its only column goes through a new column."""
    found = droppable(draft, op.name, where)
    if op.up is None and op.down is None:
        return drop(draft, found, ({}, {}), where, lossy=False)
    if len(found.columns) != 1:
        raise SpecError(
            f"{op.name} covers {len(found.columns)} columns: {', '.join(found.columns)}",
            where=where,
            hint="Use drop_multicolumn_constraint, with an expression for each column.",
        )
    (column,) = found.columns
    up = {column: op.up} if op.up is not None else {}
    down = {column: op.down} if op.down is not None else {}
    places = drop(draft, found, (up, down), where, lossy=op.lossy)
    return {key: f"{where}.{key[0]}" for key in places}


def drop(
    draft: TableDraft, found: Constraint, expressions: tuple[Expressions, Expressions], where: str, *, lossy: bool
) -> Places:
    """Take the constraint from the new shape, and let `down` keep from the old one what would break it."""
    draft.dropped_constraints[found.name] = where
    if found.kind == "check":
        draft.rehearsal.try_on_new(f"alter table {{table}} drop constraint {quote(found.name)}", where)
    elif found.kind == "unique":
        draft.rehearsal.conn.execute(f"drop index pg_temp.{quote(draft.rehearsal.twin_index(found.name))}")
        draft.findings.append(
            Finding(
                rule="SAF-02",
                severity="warning",
                message=f"from the swap on nothing refuses duplicates for {found.name}, and INSERT ... ON CONFLICT"
                " that relies on it fails",
                where=draft.full_name,
            )
        )
    return convert(draft, converted(*expressions), expressions, where, lossy=lossy)


def droppable(draft: TableDraft, name: str, where: str) -> Constraint:
    """Return the constraint, or refuse what a rollback could not bring back and what others rest on."""
    letter, _ = existing_constraint(draft, name, where)
    if letter in _KEPT:
        what, hint = _KEPT[letter]
        raise SpecError(f"{name} is {what}", where=where, hint=hint)
    found = draft.table.constraint(name)
    assert found is not None
    strange = _strange(found)
    if strange is not None:
        raise PreflightError(
            f"{name} {strange}: a rollback could not bring that back", where=where, hint="Use sql, with up and down."
        )
    if found.kind == "unique":
        _free_of_others(draft, name, where)
    return found


def _strange(found: Constraint) -> str | None:
    if found.kind == "foreign key" and ", PERIOD " in found.definition:
        return "compares periods of time"
    if not found.enabled:
        return "has triggers that are disabled"
    return None


def _free_of_others(draft: TableDraft, name: str, where: str) -> None:
    index = draft.table.index(name)
    if index is not None and index.replica_identity:
        raise PreflightError(
            f"{name} is the replica identity",
            where=where,
            hint="Set REPLICA IDENTITY to DEFAULT, FULL or another index first.",
        )
    resting = draft.rehearsal.conn.execute(
        "select k.conname || ' of ' || k.conrelid::regclass from pg_catalog.pg_constraint k"
        " where k.contype = 'f' and k.confrelid = %s::regclass and k.conindid = ("
        "select u.conindid from pg_catalog.pg_constraint u where u.conrelid = %s::regclass and u.conname = %s)"
        " order by 1",
        (draft.real, draft.real, name),
    ).fetchall()
    if resting:
        raise PreflightError(
            f"foreign keys rest on {name}: {', '.join(row[0] for row in resting)}",
            where=where,
            hint="Drop those foreign keys first, in a migration of their own.",
        )
