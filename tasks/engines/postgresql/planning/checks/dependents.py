"""What others have built on the columns that a rollback drops: asked before anything is undone."""

from collections.abc import Iterator, Sequence

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.model.names import OWN_TRIGGERS, own_name, quote
from tasks.model.plan import Requirement


def nothing_built_on(draft: TableDraft) -> Requirement:
    """Name the objects without which the new columns cannot go: views, policies, triggers, foreign keys."""
    before = [*draft.shape.plain_new, *(target.before for target in draft.shape.targets)]
    ours = ", ".join(literal(name) for name in ["", *_foreign_keys(draft)])
    table = f"{literal(draft.real)}::pg_catalog.regclass"
    # Those of both versions follow the columns by themselves.
    versions = ", ".join(literal(name) for name in sorted({"", *draft.spec.versions, draft.spec.version or ""}))
    triggers = ", ".join(literal(name) for name in draft.dual.trigger_names)
    shown = f"{quote(draft.table.schema_name)}.{quote(draft.last_name)}"
    return Requirement(
        name=f"nothing else depends on the new columns of {draft.full_name}",
        table=draft.full_name,
        kind="structure",
        gate="before_rollback",
        violations=f"""\
with going as (
  select attnum from pg_catalog.pg_attribute
  where attrelid = {table} and attname = any (case
    when exists (select from changeover.steps
                 where migration = {literal(draft.migration)} and key = 'swap/all' and state = 'done')
    then {_array(_after(draft))} else {_array(before)} end))
select pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) as problem
from pg_catalog.pg_depend d join going on going.attnum = d.refobjsubid
where d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = {table} and d.deptype = 'n'
  and d.classid <> 'pg_catalog.pg_constraint'::pg_catalog.regclass
  and not exists (select from pg_catalog.pg_rewrite r
                  join pg_catalog.pg_class v on v.oid = r.ev_class
                  join pg_catalog.pg_namespace n on n.oid = v.relnamespace
                  where d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and r.oid = d.objid
                    and (n.nspname in ({versions}) or v.oid = pg_catalog.to_regclass({literal(shown)})))
  and not exists (select from pg_catalog.pg_trigger t
                  where d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass and t.oid = d.objid
                    and (t.tgname in ({triggers}) or starts_with(t.tgname::text, {literal(OWN_TRIGGERS)})))
union
select pg_catalog.pg_describe_object('pg_catalog.pg_constraint'::pg_catalog.regclass, c.oid, 0)
from pg_catalog.pg_constraint c join going on going.attnum = any (c.confkey)
where c.confrelid = {table} and c.conrelid <> c.confrelid and c.conname not in ({ours})""",
    )


def nothing_else_draws(draft: TableDraft) -> Iterator[Requirement]:
    """Name what others let draw from a sequence that a rollback drops; the new column, and versions, are its own."""
    versions = ", ".join(literal(name) for name in sorted({"", *draft.spec.versions, draft.spec.version or ""}))
    for column, sequence in draft.drawn.items():
        yield Requirement(
            name=f"nothing but {column} of {draft.full_name} draws from {sequence}",
            table=draft.full_name,
            kind="structure",
            gate="before_rollback",
            violations=f"""\
select pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) as problem
from pg_catalog.pg_depend d
where d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.deptype = 'n'
  and d.refobjid = pg_catalog.to_regclass({literal(sequence)})
  and not exists (select from pg_catalog.pg_attrdef f
                  join pg_catalog.pg_class c on c.oid = f.adrelid
                  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = f.adnum
                  where d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and f.oid = d.objid
                    and (n.nspname in ({versions}) or c.oid = {draft.regclass} and a.attname = {literal(column)}))""",
        )


def _after(draft: TableDraft) -> list[str]:
    """The same columns by their names after the swap: the copy of a renamed column then has the old name."""
    back = {new: old for old, new in draft.renamed.items()}
    return [*draft.shape.plain_new, *(back.get(target.name, target.after) for target in draft.shape.targets)]


def _foreign_keys(draft: TableDraft) -> list[str]:
    moved = [key.name for key in draft.table.inbound if set(key.referenced_columns) & draft.altered.keys()]
    return [*moved, *(own_name("new", name) for name in moved)]


def _array(names: list[str]) -> str:
    return f"array[{', '.join(literal(name) for name in names)}]::text[]"


def nothing_refers_to(
    created: Sequence[str], drafts: Sequence[TableDraft], version: str | None
) -> Iterator[Requirement]:
    """Name what others have built on tables that the migration makes, and a rollback drops.

    `created` are quoted and qualified. Foreign keys among them, or made by the migration itself, do not count, nor do
    the views of its own version.
    """
    ours = ", ".join(literal(name) for name in ["", *(r.name for draft in drafts for r in draft.restrictions)])
    tables = ", ".join(f"pg_catalog.to_regclass({literal(name)})" for name in created)
    for name in created:
        table = f"pg_catalog.to_regclass({literal(name)})"
        yield Requirement(
            name=f"nothing else depends on the new table {name}",
            table=name.replace('"', ""),
            kind="structure",
            gate="before_rollback",
            violations=f"""\
select pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) as problem
from pg_catalog.pg_depend d
join pg_catalog.pg_rewrite r on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and r.oid = d.objid
join pg_catalog.pg_class v on v.oid = r.ev_class
join pg_catalog.pg_namespace n on n.oid = v.relnamespace
where d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = {table} and d.deptype = 'n'
  and v.oid <> {table} and n.nspname <> {literal(version or "")}
union
select pg_catalog.pg_describe_object('pg_catalog.pg_constraint'::pg_catalog.regclass, c.oid, 0)
from pg_catalog.pg_constraint c
where c.confrelid = {table} and c.conrelid not in ({tables}) and c.conname not in ({ours})""",
        )
