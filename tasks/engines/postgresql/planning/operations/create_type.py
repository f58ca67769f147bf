"""create_type: at once, used by nobody until a column has it."""

from collections.abc import Sequence

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.spec_draft import SpecDraft
from tasks.engines.postgresql.planning.types import Type, new_columns, nothing_uses
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations import AnyOperation, CreateTable, CreateType
from tasks.model.operations.create_type import Domain
from tasks.model.plan import Requirement
from tasks.model.steps import Phase, ShortTransaction, Step


def draft_create_type(op: CreateType, draft: SpecDraft, where: str) -> None:
    """Make the type for as long as the plan is drawn up, so that columns can be tried with it; then plan it."""
    schema, name = draft.split_name(op.name)
    taken = draft.conn.execute(
        "select 1 from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace"
        " where n.nspname = %s and t.typname = %s",
        (schema, name),
    ).fetchone()
    if taken is not None or draft.relation_exists(schema, name):
        raise SpecError(f"{schema}.{name} exists already", where=where, hint="Choose another name.")
    made = Type(schema_name=schema, name=name, kind="domain" if op.domain else "enum", values=op.values or ())
    statement = (
        f"create domain {made.quoted} as {_domain(op.domain)}"
        if op.domain is not None
        else f"create type {made.quoted} as enum ({', '.join(literal(value) for value in op.values or ())})"
    )
    draft.keep(statement, where)
    draft.made_types.append(made.quoted)
    draft.steps.append(
        Step(
            key=f"expand/{made.full_name}/create type",
            phase=Phase.EXPAND,
            title=f"create the {made.kind} {made.full_name}",
            undo="drop it",
            action=ShortTransaction(
                forward=(statement,),
                inverse=(f"drop {'domain' if op.domain else 'type'} if exists {made.quoted}",),
            ),
        )
    )


def _domain(domain: Domain) -> str:
    parts = [domain.type]
    if domain.default is not None:
        parts.append(f"default {domain.default}")
    if not domain.nullable:
        parts.append("not null")
    if domain.check is not None:
        parts.append(f"constraint {quote(domain.check.name)} check ({domain.check.constraint}\n)")
    return " ".join(parts)


def still_unused(
    whole: SpecDraft, drafts: Sequence[TableDraft], operations: Sequence[AnyOperation]
) -> list[Requirement]:
    """Return what a rollback asks first: whether somebody else has begun to use a type that it drops."""
    going = new_columns(drafts) | {
        whole.created[op.name]: tuple(column.name for column in op.columns)
        for op in operations
        if isinstance(op, CreateTable)
    }
    versions = sorted({*whole.versions, whole.version or ""})
    return [nothing_uses(made, "before_rollback", going, versions) for made in _made(whole)]


def _made(whole: SpecDraft) -> list[Type]:
    rows = whole.conn.execute(
        "select n.nspname, t.typname from unnest(%s::text[]) as made join pg_catalog.pg_type t"
        " on t.oid = to_regtype(made) join pg_catalog.pg_namespace n on n.oid = t.typnamespace",
        (whole.made_types,),
    ).fetchall()
    return [Type(schema_name=schema, name=name, kind="type", values=()) for schema, name in rows]
