"""rename_table: for a while both names exist, each readable and writable.

One of them is a view that shows every column of the table as it is. It has the new name first; at the swap the two
exchange names, so that whatever others have built on either follows it. `contract` drops the view.

Beside other operations on the table it is done by `rename_last`.
"""

from collections.abc import Iterable, Iterator, Mapping

from tasks.engines.postgresql.planning.attached.belongings import privileges
from tasks.engines.postgresql.planning.checks.require import free_relation
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.lock_order import alone
from tasks.engines.postgresql.planning.spec_draft import SpecDraft
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import own_name, quote
from tasks.model.operations import RenameTable
from tasks.model.plan import Finding, Requirement
from tasks.model.steps import Phase, ShortTransaction, Step

ALL_WRITES = 4 | 8 | 16
"""UPDATE, INSERT and DELETE, as pg_relation_is_updatable tells them."""
_PRIVILEGES = {
    "r": "select",
    "a": "insert",
    "w": "update",
    "d": "delete",
    "D": "truncate",
    "x": "references",
    "t": "trigger",
    "m": "maintain",
}


def draft_rename_table(op: RenameTable, draft: TableDraft, where: str) -> None:
    """Show the table under its new name; exchange the names at the swap; drop the view when contracted."""
    refuse_rename(op, draft, where)
    draft.renamed_to = op.to
    schema, old = draft.table.schema_name, draft.table.name
    view = f"{quote(schema)}.{quote(op.to)}"
    defaults = {column.name: column.default for column in draft.table.columns if column.default is not None}
    create = tuple(create_view(draft, view, {column.name: column.name for column in draft.table.columns}, defaults))
    try_view(draft, create, view, where)
    spare = own_name("swap", old)
    draft.swap(
        forward=_exchange(schema, view=op.to, table=old, spare=spare),
        inverse=_exchange(schema, view=old, table=op.to, spare=spare),
    )
    draft.spec.steps += [
        Step(
            key=f"expand/{draft.full_name}/view {schema}.{op.to}",
            phase=Phase.EXPAND,
            title=f"show {draft.full_name} as {schema}.{op.to}, an updatable view",
            undo="drop the view",
            action=ShortTransaction(forward=create, inverse=(f"drop view if exists {view}",)),
        ),
        Step(
            key=f"contract/{schema}.{op.to}/view {draft.full_name}",
            phase=Phase.CONTRACT,
            title=f"drop the view {draft.full_name}: only the new name is left",
            undo="nothing: this is the point of no return",
            action=ShortTransaction(
                locks=(alone(draft.real, schema),),
                forward=(f"drop view if exists {draft.real}",),
            ),
        ),
    ]
    draft.requirements += [view_stands_alone(draft, "after_swap"), view_stands_alone(draft, "before_rollback")]
    draft.findings += findings(draft)


def refuse_rename(op: RenameTable, draft: TableDraft, where: str) -> None:
    """Refuse a name that something else has, and a table for which no view can stand."""
    _refuse_name(op, draft, where)
    _refuse(draft, where)


def _refuse_name(op: RenameTable, draft: TableDraft, where: str) -> None:
    free_relation(draft, op.to, f"{where}.to")
    row = draft.rehearsal.conn.execute(
        "select exists (select from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace"
        " where n.nspname = %s and t.typname = %s)",
        (draft.table.schema_name, op.to),
    ).fetchone()
    if row and row[0]:
        raise SpecError(
            f"the schema {draft.table.schema_name} already has a type {op.to}; a table brings one of its name",
            where=f"{where}.to",
            hint="Choose another name.",
        )
    row = draft.rehearsal.conn.execute(
        "select pg_catalog.to_regclass(%s)::text where %s = any (pg_catalog.current_schemas(true))",
        (quote(op.to), draft.table.schema_name),
    ).fetchone()
    if row and row[0]:
        raise SpecError(
            f"along the search path, {op.to} already means another relation",
            where=f"{where}.to",
            hint="Choose another name: applications that write no schema would meet the wrong one of the two.",
        )


def _refuse(draft: TableDraft, where: str) -> None:
    for dependent in draft.table.dependents:
        if dependent.kind == "subscription":
            raise PreflightError(
                f"the subscription {dependent.name} writes into {draft.full_name}, by this name",
                where=where,
                hint="Rename the table where it is published first, or take it out of the subscription.",
            )
    if draft.table.row_security and _reads_by_column(draft):
        raise PreflightError(
            f"{draft.full_name} has row security and privileges to SELECT single columns: no view can honour both",
            where=where,
            hint="Grant SELECT on the table, or disable row security, for the time of the migration.",
        )


def refuse_same_names(drafts: Iterable[TableDraft], whole: SpecDraft) -> None:
    """Refuse a name that the spec gives twice, once with its schema written and once without."""
    given = [(quoted, "a new table") for quoted in set(whole.created.values())]
    for draft in drafts:
        schema = quote(draft.table.schema_name)
        given += [(f"{schema}.{quote(op.name)}", "an index") for op, _ in draft.late_indexes]
        given += [(f"{schema}.{quote(draft.last_name)}", "a renamed table")] if _renamed(draft) else []
    for draft in drafts:
        same = [kind for name, kind in given if name == f"{quote(draft.table.schema_name)}.{quote(draft.last_name)}"]
        if _renamed(draft) and len(same) > 1:
            raise SpecError(
                f"the name {draft.last_name} of {draft.full_name} is given twice: to {' and to '.join(same)}",
                where=draft.full_name,
                hint="Choose another name.",
            )


def _renamed(draft: TableDraft) -> bool:
    return draft.last_name != draft.table.name


def create_view(draft: TableDraft, view: str, columns: Mapping[str, str], defaults: Mapping[str, str]) -> Iterator[str]:
    """Yield what makes a view of a table, with its rights; `columns` maps names to physical columns.

    Where users may read only some columns, those rights count that the view has: it reads all of the table.
    """
    shown = ", ".join(f"{quote(physical)} as {quote(name)}" for name, physical in columns.items())
    invoker = "false" if _reads_by_column(draft) else "true"
    yield f"create view {view} with (security_invoker = {invoker}) as select {shown} from {draft.real}"
    yield f"alter view {view} owner to {quote(draft.table.owner)}"
    for name, default in defaults.items():
        # INSERT would find that of the table by itself; UPDATE ... SET column = DEFAULT would write NULL.
        yield f"alter view {view} alter column {quote(name)} set default {default}"
    yield _revoke(view)
    for grantee, letter, option in privileges(draft.table.grants):
        yield f"grant {_PRIVILEGES[letter]} on {view} to {grantee}{option}"
    for column in draft.table.columns:
        for grantee, letter, option in privileges(column.grants):
            yield f"grant {_PRIVILEGES[letter]} ({quote(column.name)}) on {view} to {grantee}{option}"


def _reads_by_column(draft: TableDraft) -> bool:
    return any(letter == "r" for column in draft.table.columns for _, letter, _ in privileges(column.grants))


def _revoke(view: str) -> str:
    """Take away what default privileges gave to the view."""
    return f"""\
do $rights$
declare
  given record;
begin
  for given in
    select distinct case when a.grantee = 0 then 'public' else a.grantee::pg_catalog.regrole::text end as role
    from pg_catalog.pg_class c
    cross join pg_catalog.aclexplode(coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))) a
    where c.oid = {literal(view)}::pg_catalog.regclass
  loop
    execute format('revoke all on %s from %s', {literal(view)}::pg_catalog.regclass, given.role);
  end loop;
end
$rights$"""


def try_view(draft: TableDraft, create: tuple[str, ...], view: str, where: str) -> None:
    """Make the view once, within the transaction of the planning, which is rolled back."""
    conn = draft.rehearsal.conn
    hint = "Give the role CREATE on the schema, and membership in the role that owns the table."
    with draft.rehearsal.blaming(where, hint), conn.transaction(force_rollback=True):
        for statement in create:
            conn.execute(statement)
        row = conn.execute("select pg_relation_is_updatable(%s::regclass, false)", (view,)).fetchone()
    if row is None or row[0] & ALL_WRITES != ALL_WRITES:
        raise PreflightError(
            f"a view of {draft.full_name} could not be written to",
            where=where,
            hint="A table without columns has no updatable view: give it one.",
        )


def _exchange(schema: str, *, view: str, table: str, spare: str) -> tuple[str, ...]:
    """The view first: whoever uses it has it locked before the table below it."""
    return (
        f"alter view {quote(schema)}.{quote(view)} rename to {quote(spare)}",
        f"alter table {quote(schema)}.{quote(table)} rename to {quote(view)}",
        f"alter view {quote(schema)}.{quote(spare)} rename to {quote(table)}",
    )


def view_stands_alone(draft: TableDraft, gate: str) -> Requirement:
    """Name what others have built on the view, which goes, and its being gone."""
    names = f"{literal(draft.table.name)}, {literal(draft.last_name)}"
    view = f"""select c.oid, c.reltype from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname = {literal(draft.table.schema_name)} and c.relname in ({names}) and c.relkind = 'v'"""
    return Requirement(
        name=f"both names of {draft.full_name} stand, and nothing is built on the view",
        table=draft.full_name,
        kind="structure",
        gate="after_swap" if gate == "after_swap" else "before_rollback",
        violations=f"""\
with shown as ({view})
select distinct pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) as problem
from shown join pg_catalog.pg_depend d
  on (d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = shown.oid)
  or (d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass and d.refobjid in (
    select shown.reltype union all select t.typarray from pg_catalog.pg_type t where t.oid = shown.reltype))
where d.deptype = 'n'"""
        + (
            ""
            if gate == "before_rollback"
            else "\nunion all select 'the view of the other name is gone' where not exists (select from shown)"
        ),
    )


def findings(draft: TableDraft) -> Iterator[Finding]:
    """Say what a view cannot do, and what does not follow the name of the table."""
    where = draft.full_name
    old, new = draft.table.name, draft.last_name
    last = draft.renamed_last is not None
    shown = new if last else f"one of {old} and {new}"
    before17 = ", MERGE" if draft.rehearsal.conn.info.server_version < 170000 else ""
    yield Finding(
        rule="TAB-01",
        severity="note",
        message=f"until contracted {shown} is a view: SELECT, INSERT, UPDATE, DELETE, row locks and"
        f" INSERT ... ON CONFLICT with columns work through it; COPY, TRUNCATE{before17}, ON CONFLICT ON CONSTRAINT,"
        " WHERE CURRENT OF, TABLESAMPLE, GROUP BY that relies on the primary key, SET of an identity column ="
        " DEFAULT, pg_get_serial_sequence, system columns such as ctid, and DDL do not",
        where=where,
        hint=f"Use {old} for those." if last else f"Before the swap use {old} for those, afterwards {new}.",
    )
    moment = "contract" if last else "swap"
    kept = [*(s.name.rpartition(".")[2] for s in draft.table.sequences)]
    kept += [*(i.name for i in draft.table.indexes), *(c.name for c in draft.table.constraints if c.kind != "not null")]
    if kept:
        yield Finding(
            rule="TAB-02",
            severity="note",
            message=f"sequences, indexes and constraints keep their names: {', '.join(dict.fromkeys(kept))}",
            where=where,
        )
    for dependent in draft.table.dependents:
        if dependent.kind == "publication":
            yield Finding(
                rule="TAB-03",
                severity="warning",
                message=f"the publication {dependent.name} sends rows under the new name from the {moment} on",
                where=where,
                hint=f"Have a table {new} ready at every subscriber, and refresh the subscription.",
            )
