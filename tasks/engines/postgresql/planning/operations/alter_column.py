"""alter_column: in place where that is only a restriction or a default; otherwise through a new column."""

from collections.abc import Mapping

from tasks.engines.postgresql.planning.checks.domains import beneath, end_silence, silent
from tasks.engines.postgresql.planning.checks.require import existing_column
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.operations.identity import draft_drop_identity, draft_identity
from tasks.engines.postgresql.planning.restrictions.constraints import add_check, add_unique, require_not_null
from tasks.engines.postgresql.planning.restrictions.foreign_keys import add_references
from tasks.engines.postgresql.planning.shape import Retired, Target
from tasks.model.catalogue import Column
from tasks.model.errors import SpecError
from tasks.model.names import own_name, quote
from tasks.model.operations import AlterColumn


def draft_alter_column(op: AlterColumn, draft: TableDraft, where: str) -> None:
    """Choose the way, then add the restrictions that the operation names."""
    column = existing_column(draft, op.column, where)
    if op.computes is not None or (op.drops_identity and column.generated is not None):
        raise SpecError(
            "PostgreSQL would rewrite the table to compute a column, or to make it computed again for a rollback",
            where=f"{where}.generated",
            hint="Write `strategy: shadow_table`.",
        )
    if op.references is not None and op.orphans == "set_null":
        reference = op.references
        set_orphans_null(draft, {op.column: reference.column}, reference.table, where, alteration=op)
    elif op.converts:
        through_new_column(op, column, draft, where)
    else:
        _in_place(op, column, draft, where)
    if op.check:
        add_check(draft, op.check, f"{where}.check")
    if op.unique:
        add_unique(draft, op.unique.name, (op.column,), f"{where}.unique")
    if op.references:
        add_references(draft, op.column, op.references, f"{where}.references")


def set_orphans_null(
    draft: TableDraft,
    pairs: Mapping[str, str],
    parent: str,
    where: str,
    *,
    full: bool = False,
    alteration: AlterColumn | None = None,
) -> None:
    """Let a row that refers to nothing have NULL; a rollback finds the values that such rows had.

    `pairs` maps column to referenced. Of several columns those become NULL that may; `full`: they all have to.
    """
    columns = [existing_column(draft, name, where) for name in pairs]
    going = [column for column in columns if column.nullable]
    if not going or (full and len(going) < len(columns)):
        raise SpecError(
            f"{', '.join(c.name for c in columns if not c.nullable)} is NOT NULL: orphans could not become NULL",
            where=f"{where}.orphans",
            hint="Correct or delete those rows; or let alter_column make the column nullable first.",
        )
    names = {column: f"{quote(draft.table.name)}.{quote(column)}" for column in pairs}
    same = " and ".join(f"changeover_parent.{quote(pairs[column])} = {name}" for column, name in names.items())
    # The alias keeps the table apart from its parent, where a row refers to another of the same table.
    found = f"exists (select from {draft.spec.resolve_table(parent, where)} as changeover_parent where {same})"
    absent = (" and " if full else " or ").join(f"{name} is null" for name in names.values())
    refers = f"(({absent}) or {found})"
    for column in going:
        op = alteration or AlterColumn(table=draft.full_name, column=column.name, up=quote(column.name))
        up = f"case when {refers} then {names[column.name]} end"
        through_new_column(
            op.model_copy(update={"up": up, "down": quote(column.name)}), column, draft, where, held=refers
        )


def _in_place(op: AlterColumn, column: Column, draft: TableDraft, where: str) -> None:
    name = quote(op.column)
    if op.nullable is True and not column.nullable:
        raise SpecError(
            f"once {op.column} may be NULL, a rollback could not make it NOT NULL again",
            where=where,
            hint="Give `down`, an expression that turns a NULL into a value the old applications accept.",
        )
    if op.nullable is False and column.nullable:
        draft.rehearsal.try_on_new(f"alter table {{table}} alter column {name} set not null", where)
        require_not_null(draft, op.column, op.column)
    filled = op.generated is not None and op.generated.identity is not None
    if op.drops_default and not filled and (not column.nullable or op.nullable is False):
        # An old application leaves the column out, which a new one never does: it would fail from the swap on.
        if column.identity or column.generated is not None:
            kind, hint = ("an identity", "Write generated: null.") if column.identity else ("a generated", "Drop it.")
            raise SpecError(f"{op.column} is {kind} column", where=f"{where}.default", hint=hint)
        draft.contract.append(f"alter column {name} drop default")
    elif op.sets_default or op.drops_default:
        change = f"set default {op.default}" if op.default is not None else "drop default"
        draft.rehearsal.try_on_new(f"alter table {{table}} alter column {name} {change}", f"{where}.default")
        back = f"set default {column.default}" if column.default is not None else "drop default"
        draft.swap(
            forward=[draft.alter(f"alter column {name} {change}")],
            inverse=[draft.alter(f"alter column {name} {back}")],
        )
    if op.sets_comment:
        _comment(op, column, draft)
    if op.generated is not None and op.generated.identity is not None:
        draft_identity(op.generated.identity, column, draft, where, becomes_not_null=op.nullable is False)
    elif op.drops_identity:
        draft_drop_identity(column, draft, where)


def _comment(op: AlterColumn, column: Column, draft: TableDraft) -> None:
    place = f"comment on column {draft.real}.{quote(op.column)} is"
    texts = [literal(text) if text is not None else "null" for text in (op.comment, column.comment)]
    draft.swap(forward=[f"{place} {texts[0]}"], inverse=[f"{place} {texts[1]}"])


def through_new_column(
    op: AlterColumn, column: Column, draft: TableDraft, where: str, *, held: str | None = None
) -> None:
    """Add a column that takes the place of the old one at the swap.

    `held` is a condition over the old values: rows that break it are being cleansed and need not come back.
    """
    if column.generated is not None:
        raise SpecError(f"{op.column} is a generated column", where=where, hint="Drop it and add another.")
    if not column.nullable and op.nullable is True and op.down is None:
        raise SpecError(
            f"once {op.column} may be NULL, a rollback could not make it NOT NULL again",
            where=where,
            hint="Give `down`, an expression that turns a NULL into a value the old applications accept.",
        )
    type_name = _rehearse(op, column, draft, where)
    before, old = own_name("new", op.column), own_name("old", op.column)
    like = column.model_copy(update={"collation": draft.rehearsal.collation(op.column), "storage": ""})
    if type_name == column.type:
        like = like.model_copy(update={"storage": column.storage})
    found = beneath(draft, op.column, where)
    draft.add_column(before, type_name, like=like, default=silent(found, where))
    end_silence(draft, op.column, found, has_default=draft.rehearsal.new_column(op.column)[1] is not None)
    draft.altered[op.column] = before
    draft.touched.add(op.column)
    draft.shape.dropped.add(op.column)
    if op.sets_comment:
        draft.commented.add(op.column)
        draft.comment(op.column, op.comment)
    nullable = column.nullable if op.nullable is None else op.nullable
    if not nullable:
        require_not_null(draft, op.column, before)
    draft.shape.targets.append(
        Target(
            name=op.column, before=before, after=op.column, type=type_name, up=op.up or "",
            sources=(), not_null=not nullable,
        )
    )  # fmt: skip
    draft.shape.retired.append(
        Retired(
            name=op.column,
            before=op.column,
            after=old,
            type=column.type,
            down=op.down or "",
            sources=(),
            lossy=op.lossy,
            stays_as=op.column,
            held=" and ".join(one for one in (_held(op, column, type_name), held) if one) or None,
        )
    )


def _rehearse(op: AlterColumn, column: Column, draft: TableDraft, where: str) -> str:
    """Make the change on the twin, default included; return the canonical name of the type."""
    name = quote(op.column)
    twin = draft.rehearsal
    if op.sets_default or op.drops_default:
        twin.try_on_new(f"alter table {{table}} alter column {name} drop default", where)
    if op.type is not None:
        twin.try_on_new(
            f"alter table {{table}} alter column {name} type {op.type} using null::{op.type}",
            f"{where}.type",
            ""
            if (op.sets_default or op.drops_default)
            else "Check the type; if the default does not fit it, give `default` too; a constraint or an index that"
            " does not fit it has to be dropped before.",
        )
    if op.default is not None:
        twin.try_on_new(f"alter table {{table}} alter column {name} set default {op.default}", f"{where}.default")
    if op.nullable is not None and op.nullable != column.nullable:
        change = "drop" if op.nullable else "set"
        twin.try_on_new(f"alter table {{table}} alter column {name} {change} not null", f"{where}.nullable")
    return twin.new_column(op.column)[0]


def _held(op: AlterColumn, column: Column, type_name: str) -> str | None:
    """Which old values already meet the new restrictions: only those have to come back through `down`."""
    held = []
    if op.nullable is False and column.nullable:
        held.append(f"{quote(op.column)} is not null")
    if op.check is not None and type_name == column.type:
        held.append(f"({op.check.constraint}\n) is not false")
    return " and ".join(held) or None
