"""A schema of views for each version: applications choose the shape they know by their search_path.

Every view is updatable and runs with the rights of who uses it (`security_invoker`). What an application writes
through one version reaches the columns of the other by dual write, in the same statement, both ways. The views of
a version follow the columns through the swap; `contract` drops those of the version before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.move import Move
from tasks.engines.postgresql.planning.spec_draft import Connection, SpecDraft
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import own_name, quote
from tasks.model.operations.conversions import is_column
from tasks.model.plan import Finding, Requirement
from tasks.model.spec import MigrationSpec
from tasks.model.steps import Lock, LockMode, Phase, ShortTransaction, Step

MARK = "a version, made by Changeover"
"""The comment of each view of ours: what else stands in the schema is somebody else's."""


@dataclass(frozen=True, kw_only=True)
class Versions:
    """The version that a migration makes, and the one before, if there is one."""

    of_schema: str
    new: str
    old: str | None
    migration: str
    name: str
    known: Mapping[str, Sequence[str]]
    """The columns of each view of the one before, in the order in which applications know them."""

    def ordered(self, draft: TableDraft, columns: Mapping[str, str], *, new: bool) -> dict[str, str]:
        """Return the columns of a table as the version before has them; what that does not have comes last.

        The table itself has those that were altered by an earlier migration at its end.
        """
        names = [draft.renamed.get(one, one) if new else one for one in self.known.get(draft.table.name, ())]
        return {name: columns[name] for name in dict.fromkeys((*names, *columns)) if name in columns}


def versions_of(whole: SpecDraft, spec: MigrationSpec, drafts: Sequence[TableDraft]) -> Versions | None:
    """Return what the spec asks for. Raises SpecError and PreflightError, with the place and the remedy."""
    if spec.version_schema is None:
        return None
    schema = _schema(whole, drafts)
    new = f"{schema}_{spec.version_schema}"
    if len(new.encode()) > 63:
        raise SpecError(f"the name {new} has more than 63 bytes", where="version_schema", hint="Choose a shorter one.")
    row = whole.conn.execute("select 1 from pg_catalog.pg_namespace where nspname = %s", (new,)).fetchone()
    if row is not None:
        raise SpecError(f"there is a schema {new} already", where="version_schema", hint="Choose another name.")
    _refuse_unfinished(whole.conn, schema, spec.migration)
    # Nothing is under way: there is the one that applications use now, or none.
    old = next(iter(known(whole.conn, schema)), None)
    if old is not None and not spec.operations:
        raise SpecError(
            f"{schema} has a version already: {old}",
            where="version_schema",
            hint="The next version comes with a change: write operations beside version_schema.",
        )
    if old is None and spec.operations:
        whole.findings.append(
            Finding(
                rule="VER-01",
                severity="note",
                message=f"{schema} has no version yet: applications that use its tables directly, as they do today,"
                " see the new shape from the swap on",
                hint="To show them the present shape for longer, begin with `changeover baseline NAME`.",
            )
        )
    return Versions(
        of_schema=schema,
        new=new,
        old=old,
        migration=spec.migration,
        name=spec.version_schema,
        known=_columns_of(whole.conn, old),
    )


def _columns_of(conn: Connection, version: str | None) -> dict[str, list[str]]:
    rows = conn.execute(
        "select c.relname::text, array_agg(a.attname::text order by a.attnum) from pg_catalog.pg_class c"
        " join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
        " join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
        " where n.nspname = %s and c.relkind = 'v' group by c.oid",
        (version,),
    ).fetchall()
    return dict(rows)


def _schema(whole: SpecDraft, drafts: Sequence[TableDraft]) -> str:
    found = {draft.table.schema_name for draft in drafts}
    found |= {whole.split_name(name)[0] for name in whole.created}
    if len(found) > 1:
        raise SpecError(
            f"the tables are in several schemas: {', '.join(sorted(found))}",
            where="version_schema",
            hint="A version is one of one schema: make a migration for each.",
        )
    return found.pop() if found else whole.split_name("any")[0]


def _refuse_unfinished(conn: Connection, schema: str, migration: str) -> None:
    """A version shows every table of its schema, and none of them may be between two shapes."""
    row = conn.execute("select to_regclass('changeover.migrations') is not null").fetchone()
    if not (row and row[0]):
        return
    found = conn.execute(
        """
        select m.id from changeover.migrations m
        where m.id <> %(migration)s and m.state not in ('planned', 'contracted', 'rolled back')
          and (m.plan ->> 'version' like %(like)s escape '~' or exists (
            select from json_array_elements(m.plan -> 'catalogue' -> 'tables') as t
            where t ->> 'schema_name' = %(schema)s))
        order by 1
        """,
        {"migration": migration, "schema": schema, "like": schema.replace("~", "~~").replace("_", "~_") + "~_%"},
    ).fetchall()
    if found:
        raise PreflightError(
            f"another migration of tables in {schema} is not finished: {', '.join(row[0] for row in found)}",
            where="version_schema",
            hint="Contract that migration, or roll it back, first.",
        )


def known(conn: Connection, schema: str | None = None) -> list[str]:
    """Return the schemas of views that the ledger knows, of one schema or of all, oldest first."""
    row = conn.execute("select to_regclass('changeover.versions') is not null").fetchone()
    if not (row and row[0]):
        return []
    rows = conn.execute(
        "select schema_name from changeover.versions"
        " where of_schema = %(schema)s or %(schema)s::text is null order by created_at",
        {"schema": schema},
    ).fetchall()
    return [row[0] for row in rows]


def follow(draft: TableDraft, versions: Versions) -> None:
    """Let the views of a table that changes its columns follow them through the swap, and back."""
    if not (draft.shape.targets or draft.shape.retired):
        return
    new_view = f"{quote(versions.new)}.{quote(draft.last_name)}"
    forward = [*followed(versions.new, draft, versions.ordered(draft, new_columns(draft, swapped=True), new=True))]
    if versions.old is not None:
        defaults = _old_defaults(draft)
        forward.append(_view_of(versions.old, draft, versions.ordered(draft, _old_columns(draft), new=False)))
        forward += _set_defaults(versions.old, draft, defaults)
        # Undone last first: once the names are back, and before the new columns go.
        columns = versions.ordered(draft, draft.shape.old(swapped=False), new=False)
        back = _view_of(versions.old, draft, columns)
        draft.moves.insert(1, Move(inverse=(back, *_drop_defaults(versions.old, draft, defaults))))
        _keep_keys(draft)
    draft.swap(forward=forward, inverse=[f"drop view if exists {new_view}"])
    draft.view_locks.append(Lock(table=new_view, mode=LockMode.ACCESS_EXCLUSIVE))
    if versions.old is not None:
        old_view = f"{quote(versions.old)}.{quote(draft.table.name)}"
        draft.view_locks.append(Lock(table=old_view, mode=LockMode.ACCESS_EXCLUSIVE))


def followed(schema: str, draft: TableDraft, columns: Mapping[str, str]) -> Iterator[str]:
    """Yield what lets the view of the new shape, in a schema, follow the columns through the swap."""
    yield _view_of(schema, draft, columns, draft.last_name)
    # From now on the column itself has the default; that of the view would hide what becomes of it later.
    yield from _drop_defaults(schema, draft, new_defaults(draft), draft.last_name)


def nothing_built_on(versions: Versions) -> Iterator[Requirement]:
    """Name what others have built on the views that a rollback drops, and on those that contract drops."""
    yield _nothing_built_on(versions.new, "before_rollback")
    if versions.old is not None:
        yield _nothing_built_on(versions.old, "after_swap")


def _nothing_built_on(name: str, gate: Literal["before_rollback", "after_swap"]) -> Requirement:
    schema = literal(name)
    return Requirement(
        name=f"nothing of others is in {name}, or depends on its views",
        table=name,
        kind="structure",
        gate=gate,
        violations=f"""\
select pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) as problem
from pg_catalog.pg_depend d
join pg_catalog.pg_class v on v.oid = d.refobjid
join pg_catalog.pg_namespace n on n.oid = v.relnamespace and n.nspname = {schema}
join pg_catalog.pg_rewrite r on r.oid = d.objid and r.ev_class <> v.oid
where d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.deptype = 'n'
  and d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
union
select pg_catalog.format('relation %I.%I', n.nspname, c.relname)
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = {schema} and c.relkind not in ('i', 'I', 't')
  and pg_catalog.obj_description(c.oid, 'pg_class') is distinct from {literal(MARK)}
union
select pg_catalog.format('function %I.%I', n.nspname, p.proname)
from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
where n.nspname = {schema}
union
select pg_catalog.format('type %I.%I', n.nspname, t.typname)
from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace
where n.nspname = {schema} and t.typrelid = 0 and t.typelem = 0""",
    )


def steps(versions: Versions, drafts: Sequence[TableDraft]) -> Iterator[Step]:
    """Yield the step that makes the version, and the one that drops the version before."""
    yield Step(
        key=f"index/{versions.new}/version",
        phase=Phase.INDEX,
        title=f"show the new shape as {versions.new}",
        undo=f"drop the views of {versions.new}",
        action=ShortTransaction(
            forward=(*_create(versions, drafts),),
            inverse=(*_drop(versions.new),),
        ),
    )
    if versions.old is not None:
        yield Step(
            key=f"contract/{versions.old}/version",
            phase=Phase.CONTRACT,
            title=f"drop the views of {versions.old}",
            undo="nothing: this is the point of no return",
            action=ShortTransaction(forward=tuple(_drop(versions.old))),
        )


def _create(versions: Versions, drafts: Sequence[TableDraft]) -> Iterator[str]:
    schema = quote(versions.new)
    yield _still_alone(versions)
    yield f"create schema {schema}"
    yield f"grant usage on schema {schema} to public"
    for draft in drafts:
        if draft.dropped_at is None:
            columns = versions.ordered(draft, new_columns(draft, swapped=False), new=True)
            yield _view_of(versions.new, draft, columns, draft.last_name)
            yield from _set_defaults(versions.new, draft, new_defaults(draft), draft.last_name)
    yield _other_tables(versions, drafts)
    # The rights that count are those on the tables: the views run with the rights of who uses them.
    yield f"grant select, insert, update, delete on all tables in schema {schema} to public"
    yield _mark(versions.new)
    yield (
        "insert into changeover.versions (schema_name, of_schema, name, migration) values "
        f"({literal(versions.new)}, {literal(versions.of_schema)}, {literal(versions.name)}, "
        f"{literal(versions.migration)})"
    )


def _mark(schema: str) -> str:
    """All the views that stand there now are ours."""
    return f"""\
do $mark$
declare
  shown record;
begin
  for shown in
    select c.relname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = {literal(schema)} and c.relkind = 'v'
  loop
    execute format('comment on view %I.%I is %L', {literal(schema)}, shown.relname, {literal(MARK)});
  end loop;
end
$mark$"""


def _still_alone(versions: Versions) -> str:
    """Two that were planned at the same moment: the second one stops here, and can be rolled back."""
    return f"""\
do $alone$
begin
  lock table changeover.versions in share row exclusive mode;
  if exists (select from changeover.versions where of_schema = {literal(versions.of_schema)}
             and schema_name <> {literal(versions.old or "")}) then
    raise exception 'another version of % was made meanwhile: roll this migration back', {literal(versions.of_schema)};
  end if;
end
$alone$"""


def _view_of(schema: str, draft: TableDraft, columns: Mapping[str, str], name: str | None = None) -> str:
    """Return the statement that shows physical columns of the table, under other names, as a view."""
    shown = ", ".join(f"{quote(physical)} as {quote(name)}" for name, physical in columns.items())
    return (
        f"create or replace view {quote(schema)}.{quote(name or draft.table.name)} with (security_invoker = true) as"
        f" select {shown} from {draft.real}"
    )


def new_columns(draft: TableDraft, *, swapped: bool) -> dict[str, str]:
    """Map the new shape to physical columns, in the order in which people know them."""
    physical = draft.shape.new(swapped=swapped)
    if not swapped:
        physical |= {new: old for old, new in _originals(draft).items()}
    names = [draft.renamed.get(column, column) for column in draft.shape.columns]
    ordered = [name for name in names if name in physical]
    return {name: physical[name] for name in dict.fromkeys((*ordered, *physical))}


def _old_columns(draft: TableDraft) -> dict[str, str]:
    """Map the old shape to physical columns after the swap."""
    return draft.shape.old(swapped=True) | _originals(draft)


def _originals(draft: TableDraft) -> dict[str, str]:
    """Map renamed columns to their new names, where both versions can have the original itself instead of its copy.

    It has the keys that `on conflict` looks for. Not where another column is made of it: a row that a new application
    inserts is known by the copy then.
    """
    alone = {group.targets[0].name for group in draft.shape.groups() if len(group.targets) == len(group.retired) == 1}
    return {old: new for old, new in draft.renamed.items() if new in alone}


def new_defaults(draft: TableDraft) -> dict[str, str]:
    """A default that the new column gets at the swap only, by column: it holds for the new applications at once.

    One that stays as it was, too: who gives a value to another column is known to be a new application, and the old
    column's default does not count then. A sequence does: its number would be drawn twice. A column with another
    name has the default of the original, which the view shows itself unless another column is made of it.
    """
    found = {}
    defaults = {c.name: c.default for c in draft.table.columns}
    before = {new: old for old, new in draft.renamed.items()}
    shown = set(_originals(draft).values())
    for target in draft.shape.targets:
        if target.name in before:
            default = defaults[before[target.name]] if target.name not in shown else None
        else:
            _, default = draft.rehearsal.new_column(target.name)
        if default is not None and not target.drawn:
            found[target.name] = default
    return found


def _old_defaults(draft: TableDraft) -> dict[str, str]:
    """At the swap the old columns lose their defaults; applications of the old version keep them, by their view.

    So does the copy of a column with another name, if they see that one: what is made of it follows. It draws nothing.
    """
    alone = {*_originals(draft), *(draft.renamed.keys() & {sequence.column for sequence in draft.table.sequences})}
    retired = {r.name for r in draft.shape.retired} - alone
    return {c.name: c.default for c in draft.table.columns if c.name in retired and c.default is not None}


def _set_defaults(schema: str, draft: TableDraft, defaults: Mapping[str, str], name: str | None = None) -> list[str]:
    view = f"{quote(schema)}.{quote(name or draft.table.name)}"
    return [f"alter view {view} alter column {quote(one)} set default {value}" for one, value in defaults.items()]


def _drop_defaults(schema: str, draft: TableDraft, defaults: Mapping[str, str], name: str | None = None) -> list[str]:
    view = f"{quote(schema)}.{quote(name or draft.table.name)}"
    return [f"alter view {view} alter column {quote(one)} drop default" for one in defaults]


def _keep_keys(draft: TableDraft) -> None:
    """Let `on conflict` of the old version find its keys after the swap, where `down` cannot make two of one."""
    types = {target.name: target.type for target in draft.shape.targets}
    same = {
        r.name for r in draft.shape.retired if is_column(r.down, r.name) and _keeps_apart(types.get(r.name, ""), r.type)
    }
    for index in draft.table.indexes:
        fed = set(index.referenced) & draft.fed_by_down
        # One that is deferred would be checked at once, and one that knows only one NULL would reject rejections.
        usable = index.unique and index.immediate and "NULLS NOT DISTINCT" not in index.definition
        if usable and fed and fed <= same:
            name = own_name("keep", index.name)
            create = draft.rehearsal.old_index_definition(index, name, {})
            title = f"keep {index.name} on the old columns for applications of the old version"
            draft.unique_indexes.append(draft.index_step(name, create, unique=True, title=title, consumed=True))
            # Undone first, or a foreign key that comes back would choose to rest on it.
            draft.swap(inverse=[f"drop index if exists {quote(draft.table.schema_name)}.{quote(name)}"])


def _keeps_apart(new: str, old: str) -> bool:
    """Tell whether values that differ in the new type differ in the old one, or do not fit into it."""
    kinds = [("smallint", "integer", "bigint"), ("text", "character varying")]
    return any(new.startswith(kind) and old.startswith(kind) for kind in kinds)


def _other_tables(versions: Versions, drafts: Sequence[TableDraft]) -> str:
    """Show every other table of the schema as it is, with its columns as the version before has them."""
    # Without one: the new version has none of them yet.
    before = literal(versions.old or versions.new)
    listed = ", ".join(literal(draft.table.name) for draft in drafts) or "''"
    return f"""\
do $version$
declare
  shown record;
begin
  for shown in
    select c.relname, string_agg(quote_ident(a.attname), ', ' order by b.attnum, a.attnum) as columns
    from pg_catalog.pg_class c
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_catalog.pg_attribute b on b.attname = a.attname
      and b.attrelid = pg_catalog.to_regclass(pg_catalog.format('%I.%I', {before}, c.relname))
    where c.relnamespace = {literal(quote(versions.of_schema))}::pg_catalog.regnamespace
      and c.relkind in ('r', 'p') and not c.relispartition and c.relname not in ({listed})
    group by c.relname
  loop
    execute format('create view %I.%I with (security_invoker = true) as select %s from %I.%I',
      {literal(versions.new)}, shown.relname, shown.columns, {literal(versions.of_schema)}, shown.relname);
  end loop;
end
$version$"""


def _drop(schema: str) -> Iterator[str]:
    """Drop our views one by one, all within one lock budget: whoever waits for the first waits for the last, too."""
    yield f"""\
do $version$
declare
  shown record;
  budget constant interval := current_setting('lock_timeout')::interval;
  started constant timestamptz := clock_timestamp();
begin
  for shown in
    select c.relname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = {literal(schema)} and c.relkind = 'v'
      and pg_catalog.obj_description(c.oid, 'pg_class') = {literal(MARK)}
  loop
    perform pg_catalog.set_config('lock_timeout', greatest(1, (1000 * extract(
      epoch from budget - (clock_timestamp() - started)))::int)::text, true);
    execute format('drop view %I.%I', {literal(schema)}, shown.relname);
  end loop;
end
$version$"""
    yield f"drop schema if exists {quote(schema)}"
    yield f"delete from changeover.versions where schema_name = {literal(schema)}"
