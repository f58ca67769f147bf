"""add_column: public from the start, filled by `up`, restricted only after approval."""

from dataclasses import dataclass

from tasks.engines.postgresql.planning.attached.belongings import TYPE_MAXIMUM
from tasks.engines.postgresql.planning.checks.domains import Beneath, beneath, end_silence, silent
from tasks.engines.postgresql.planning.checks.require import free_column, free_relation
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.operations.add_identity import add_identity, enough_numbers
from tasks.engines.postgresql.planning.restrictions.constraints import add_check, add_unique, require_not_null
from tasks.engines.postgresql.planning.restrictions.foreign_keys import add_references
from tasks.engines.postgresql.planning.shape import Target
from tasks.model.errors import SpecError
from tasks.model.names import own_name, quote
from tasks.model.operations import AddColumn
from tasks.model.operations.column import ColumnDefinition
from tasks.model.operations.text import drawn_type, is_serial
from tasks.model.steps import Phase, ShortTransaction, Step

_RIGHTS = "Give who migrates, and the owner of the table, the right to create in its schema."


@dataclass(frozen=True, kw_only=True)
class _Sequence:
    """The sequence that a `serial` draws from."""

    name: str
    quoted: str


def draft_add_column(op: AddColumn, draft: TableDraft, where: str) -> None:
    """Add the column without a rewrite, whatever its default."""
    free_column(draft, op.column.name, where)
    if op.column.generated is not None:
        if op.column.generated.identity is None:
            raise SpecError(
                "PostgreSQL would rewrite the table to compute a column",
                where=f"{where}.column.generated",
                hint="Write `strategy: shadow_table`.",
            )
        sequence = _sequence(draft, op.column.name)
        free_relation(draft, sequence.name, f"{where}.column.generated")
        add_identity(op, op.column.generated.identity, sequence.quoted, draft, where)
        _restrict(op.column, draft, where)
        return
    if is_serial(op.column.type):
        op = _drawing(op, draft, where)
    new = op.column
    name = quote(new.name)
    default = f" default {new.default}" if new.default is not None else ""
    draft.rehearsal.try_on_new(f"alter table {{table}} add column {name} {new.type}{default}", f"{where}.column")
    type_name, _ = draft.rehearsal.new_column(new.name)
    found = beneath(draft, new.name, f"{where}.column.type")
    constant = (new.default or found.default) is None or draft.rehearsal.default_is_constant(new.name)
    if op.up is None and constant:
        _add_at_once(op, draft, type_name)
    else:
        _add_and_fill(op, draft, type_name, found)
    if not new.nullable:
        draft.rehearsal.try_on_new(f"alter table {{table}} alter column {name} set not null", where)
    _restrict(new, draft, where)


def _restrict(new: ColumnDefinition, draft: TableDraft, where: str) -> None:
    if new.comment is not None:
        draft.comment(new.name, new.comment)
    if new.check:
        add_check(draft, new.check, f"{where}.column.check")
    if new.unique:
        add_unique(draft, own_unique_name(draft, new.name), (new.name,), f"{where}.column.unique")
    if new.references:
        add_references(draft, new.name, new.references, f"{where}.column.references")


def _drawing(op: AddColumn, draft: TableDraft, where: str) -> AddColumn:
    """Make the sequence of a `serial`, and say the column in plain words: so no table has to be rewritten."""
    sequence, place = _sequence(draft, op.column.name), f"{where}.column.type"
    free_relation(draft, sequence.name, place)
    kind = drawn_type(op.column.type)
    made = (
        f"create sequence {sequence.quoted} as {kind}",
        f"alter sequence {sequence.quoted} owner to {quote(draft.table.owner)}",
        *(f"grant usage on sequence {sequence.quoted} to {role}" for role in _inserting(draft)),
    )
    for statement in made:
        draft.spec.keep(statement, place, _RIGHTS)
    draft.drawn[op.column.name] = sequence.quoted
    draft.requirements += enough_numbers(draft, op.column.type, TYPE_MAXIMUM[kind])
    draft.spec.steps.append(
        Step(
            key=f"expand/{draft.full_name}/sequence of {op.column.name}",
            phase=Phase.EXPAND,
            title=f"make the sequence {sequence.name}",
            undo="drop it",
            action=ShortTransaction(
                forward=made,
                inverse=(f"drop sequence if exists {sequence.quoted}",),
            ),
        )
    )
    draft.swap(
        forward=[f"alter sequence {sequence.quoted} owned by {draft.real}.{quote(op.column.name)}"],
        inverse=[f"alter sequence if exists {sequence.quoted} owned by none"],
    )
    default = f"pg_catalog.nextval({literal(sequence.quoted)}::pg_catalog.regclass)"
    return op.model_copy(update={"column": op.column.model_copy(update={"type": kind, "default": default})})


def _inserting(draft: TableDraft) -> list[str]:
    """Name the roles whose statements would fail if they could not draw a number: those that may insert rows.

    Also by a view or a rule: with the rights of its owner a row comes into the table, but who asks draws the number.
    """
    rows = draft.rehearsal.conn.execute(
        """
        with recursive through (oid) as (
          select %s::pg_catalog.regclass::oid
          union
          select r.ev_class from through
          join pg_catalog.pg_depend d on d.refobjid = through.oid
            and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
            and d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
          join pg_catalog.pg_rewrite r on r.oid = d.objid
        ), items (acl) as (
          select coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))
          from pg_catalog.pg_class c join through using (oid)
          union all
          select a.attacl from pg_catalog.pg_attribute a join through on a.attrelid = through.oid
          where not a.attisdropped
        )
        select distinct case when one.grantee <> 0 then pg_catalog.pg_get_userbyid(one.grantee)::text end
        from items, pg_catalog.aclexplode(items.acl) as one where one.privilege_type = 'INSERT'
        """,
        (draft.real,),
    ).fetchall()
    return sorted("public" if role is None else quote(role) for (role,) in rows)


def _sequence(draft: TableDraft, column: str) -> _Sequence:
    """Name it as PostgreSQL itself would."""
    name = f"{draft.table.name}_{column}_seq"
    name = name if len(name.encode()) <= 63 else own_name("seq", name).lstrip("_")
    return _Sequence(name=name, quoted=f"{quote(draft.table.schema_name)}.{quote(name)}")


def own_unique_name(draft: TableDraft, column: str) -> str:
    """Return the name that PostgreSQL itself would give to the constraint."""
    name = f"{draft.table.name}_{column}_key"
    return name if len(name.encode()) <= 63 else own_name("key", name).lstrip("_")


def _add_at_once(op: AddColumn, draft: TableDraft, type_name: str) -> None:
    """Every row, old or new, has the default at once: nothing to fill."""
    new = op.column
    default = f" default {new.default}" if new.default is not None else ""
    not_null = "" if new.nullable else " not null"
    draft.add_column(new.name, f"{new.type}{default}{not_null}")
    draft.shape.plain_new[new.name] = type_name


def _add_and_fill(op: AddColumn, draft: TableDraft, type_name: str, found: Beneath) -> None:
    new = op.column
    up = op.up or new.default or found.default
    assert up is not None
    draft.add_column(new.name, f"{type_name}{silent(found, draft.full_name)}")
    end_silence(draft, new.name, found, has_default=new.default is not None)
    draft.shape.targets.append(
        Target(
            name=new.name,
            before=new.name,
            after=new.name,
            type=type_name,
            up=up,
            sources=(),
            not_null=not new.nullable,
        )
    )
    if not new.nullable:
        require_not_null(draft, new.name, new.name)
    if new.default is not None:
        name = quote(new.name)
        draft.swap(
            forward=[draft.alter(f"alter column {name} set default {new.default}")],
            inverse=[draft.alter(f"alter column {name} drop default")],
        )
