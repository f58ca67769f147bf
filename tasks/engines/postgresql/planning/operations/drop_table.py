"""drop_table: the table stays as it is until `contract`, which copies it to a file and drops it."""

from collections.abc import Iterable, Iterator, Mapping

from tasks.engines.postgresql.planning.attached.belongings import quote_qualified
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.spec_draft import SpecDraft
from tasks.model.catalogue import Dependent, Table
from tasks.model.errors import PreflightError
from tasks.model.plan import DumpTarget, Requirement
from tasks.model.steps import Lock, LockMode, Phase, ShortTransaction, Step

_ITS_OWN = ("statistics", "generated column")
"""Dependents that go with the table."""


def draft_drop_table(draft: TableDraft, where: str) -> None:
    """Note it; foreign keys between tables that are dropped together are looked at once all are known."""
    for dependent in draft.table.dependents:
        _refuse(draft, dependent, where)
    draft.dropped_at = where


def _refuse(draft: TableDraft, dependent: Dependent, where: str) -> None:
    name, kind = dependent.name, dependent.kind
    if kind in _ITS_OWN or (kind == "rule" and name.startswith(f"{draft.full_name}.")):
        return
    if kind in ("publication", "subscription"):
        if kind == "subscription" or "for table " in dependent.definition:
            raise PreflightError(
                f"the {kind} {name} names {draft.full_name}",
                where=where,
                hint=f'alter publication "{name}" drop table {draft.real}; then plan again.'
                if kind == "publication"
                else "Take the table out of the publication that it follows, and refresh the subscription.",
            )
        return
    schema = name.rpartition(".")[0]
    if kind == "view" and schema in draft.spec.versions:
        if draft.spec.makes_version:
            return
        raise PreflightError(
            f"applications see {draft.full_name} through the version {schema}",
            where=where,
            hint="Give the migration a version_schema: the version that it makes does not show the table.",
        )
    through = f", through {dependent.through}," if dependent.through else ""
    raise PreflightError(
        f"the {kind} {name}{through} depends on {draft.full_name}",
        where=where,
        hint=f"Drop the {kind} first.",
    )


def finish_drops(drafts: Mapping[str, TableDraft], whole: SpecDraft) -> None:
    """Plan a step for each table, or for tables that refer to each other: children before their parents."""
    dropped = {name: draft for name, draft in drafts.items() if draft.dropped_at is not None}
    for draft in dropped.values():
        _refuse_inbound(draft, dropped)
        draft.requirements.append(nothing_depends(draft, dropped))
    for family in _families(dropped):
        tables = [dropped[name].table for name in family]
        parents = {key.referenced_table for table in tables for key in table.constraints if key.referenced_table}
        locked = sorted(quote_qualified(name) for name in {*family, *parents})
        names = ", ".join(family)
        whole.steps.append(
            Step(
                key=f"contract/{family[0]}/drop table",
                phase=Phase.CONTRACT,
                title=f"drop table {names}",
                undo="nothing: this is the point of no return; a copy of the rows is in the evidence folder",
                action=ShortTransaction(
                    locks=tuple(Lock(table=table, mode=LockMode.ACCESS_EXCLUSIVE) for table in locked),
                    # One statement: also tables that refer to each other in a circle.
                    forward=(f"drop table {', '.join(quote_qualified(name) for name in family)}",),
                ),
            )
        )


def _refuse_inbound(draft: TableDraft, dropped: Iterable[str]) -> None:
    for key in draft.table.inbound:
        if key.table not in {draft.full_name, *dropped}:
            raise PreflightError(
                f"the foreign key {key.name} of {key.table} refers to {draft.full_name}",
                where=draft.dropped_at or draft.full_name,
                hint="Drop the foreign key first, or drop that table in the same spec.",
            )


def _families(dropped: Mapping[str, TableDraft]) -> Iterator[list[str]]:
    """Yield tables that are tied by foreign keys, children first as far as there is no circle."""
    left = dict.fromkeys(dropped)
    while left:
        family, pending = [], [next(iter(left))]
        while pending:
            name = pending.pop()
            if name in left:
                del left[name]
                family.append(name)
                pending += [one for one in _tied(dropped[name].table) if one in left]
        yield _children_first(family, dropped)


def _tied(table: Table) -> set[str]:
    return {key.table for key in table.inbound} | {c.referenced_table for c in table.constraints if c.referenced_table}


def _children_first(family: list[str], dropped: Mapping[str, TableDraft]) -> list[str]:
    ordered: list[str] = []
    left = sorted(family)
    while left:
        free = [name for name in left if not {key.table for key in dropped[name].table.inbound} & ({*left} - {name})]
        ordered += free or left
        left = [name for name in left if name not in ordered]
    return ordered


def nothing_depends(draft: TableDraft, dropped: Iterable[str]) -> Requirement:
    """Name what others have built on the table since the plan was made: DROP TABLE would fail."""
    table = f"{literal(draft.real)}::pg_catalog.regclass"
    versions = ", ".join(literal(schema) for schema in sorted({"", *draft.spec.versions}))
    going = ", ".join(f"pg_catalog.to_regclass({literal(quote_qualified(name))})" for name in dropped)
    return Requirement(
        name=f"nothing else depends on {draft.full_name}",
        table=draft.full_name,
        kind="structure",
        gate="after_swap",
        violations=f"""\
select distinct pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) as problem
from pg_catalog.pg_depend d
where d.deptype = 'n'
  and ((d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = {table})
    or (d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass and d.refobjid in (
      select t.oid from pg_catalog.pg_type t where t.typrelid = {table}
      union all select t.typarray from pg_catalog.pg_type t where t.typrelid = {table})))
  and not exists (select from pg_catalog.pg_constraint k
                  where d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass and k.oid = d.objid
                    and k.conrelid in ({going}))
  and not exists (select from pg_catalog.pg_rewrite r
                  join pg_catalog.pg_class v on v.oid = r.ev_class
                  join pg_catalog.pg_namespace n on n.oid = v.relnamespace
                  where d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and r.oid = d.objid
                    and (v.oid = {table} or n.nspname in ({versions})))
  and not exists (select from pg_catalog.pg_policy p
                  where d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass and p.oid = d.objid
                    and p.polrelid = {table})
  and not exists (select from pg_catalog.pg_trigger g
                  where d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass and g.oid = d.objid
                    and g.tgrelid = {table})
  and not exists (select from pg_catalog.pg_attrdef f
                  where d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and f.oid = d.objid
                    and f.adrelid = {table})""",
    )


def whole_table(draft: TableDraft) -> Iterator[DumpTarget]:
    """Ask for a copy of every row."""
    if draft.dropped_at is not None:
        yield DumpTarget(table=draft.full_name, key=(), columns=())
