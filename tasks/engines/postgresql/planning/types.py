"""Types that a spec makes, changes or drops: how their names are resolved, and what depends on them."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.spec_draft import SpecDraft, as_written
from tasks.engines.postgresql.planning.versions import MARK
from tasks.model.errors import SpecError
from tasks.model.names import own_name, quote
from tasks.model.plan import Requirement

_WORDS = {"e": "enum", "d": "domain", "c": "row type", "b": "base type", "r": "range type", "m": "multirange type"}


@dataclass(frozen=True, kw_only=True)
class Type:
    """An enum or a domain as it is."""

    schema_name: str
    name: str
    kind: str
    """`enum`, `domain`, or what else it may be."""
    values: tuple[str, ...]
    """Of an enum, in their order."""

    @property
    def quoted(self) -> str:
        """Quoted and qualified."""
        return f"{quote(self.schema_name)}.{quote(self.name)}"

    @property
    def full_name(self) -> str:
        """`schema.name`, unquoted."""
        return f"{self.schema_name}.{self.name}"


def find_type(whole: SpecDraft, name: str, where: str) -> Type:
    """Return a type by its name, as written. Raises SpecError with names that are close."""
    row = whole.conn.execute(
        """
        select n.nspname, t.typname, t.typtype::text, array(
          select e.enumlabel::text from pg_catalog.pg_enum e where e.enumtypid = t.oid order by e.enumsortorder)
        from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace
        where t.oid = to_regtype(%s)
        """,
        (as_written(name),),
    ).fetchone()
    if row is None:
        known = whole.conn.execute(
            "select typname::text from pg_catalog.pg_type where typtype in ('e', 'd') and pg_type_is_visible(oid)"
            " and typnamespace <> 'information_schema'::regnamespace"
        ).fetchall()
        close = difflib.get_close_matches(name.rpartition(".")[2], [one[0] for one in known], n=3)
        raise SpecError(
            f"there is no type {name}",
            where=where,
            hint=f"Did you mean {' or '.join(close)}?" if close else "Check the name and the search_path.",
        )
    return Type(schema_name=row[0], name=row[1], kind=_WORDS.get(row[2], "type"), values=tuple(row[3]))


def of_kind(found: Type, where: str, *kinds: str) -> None:
    """Refuse a type of another kind."""
    if found.kind not in kinds:
        raise SpecError(
            f"{found.full_name} is a {found.kind}, not {' or '.join(f'a {kind}' for kind in kinds)}".replace(
                "a enum", "an enum"
            ),
            where=where,
            hint="Only enums and domains can be changed or dropped.",
        )


Going = dict[str, tuple[str, ...]]
"""Columns that are on their way out, by quoted and qualified table."""


def dependents(quoted: str, going: Going, versions: Sequence[str]) -> str:
    """Return a query that names what depends on a type, its array included; never what goes with its columns.

    `versions` are schemas of views that follow their tables. The type may be gone already: then there is nothing.
    """
    pairs = [f"({literal(table)}, {literal(column)})" for table, columns in going.items() for column in columns]
    listed = ", ".join(pairs) or "(null, null)"
    schemas = ", ".join(literal(schema) for schema in ["", *versions])
    return f"""\
with going as (
  select a.attrelid, a.attnum
  from (values {listed}) as named (of_table, name)
  join pg_catalog.pg_attribute a
    on a.attrelid = pg_catalog.to_regclass(named.of_table) and a.attname = named.name and not a.attisdropped
)
select distinct pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) as problem
from pg_catalog.pg_type t
join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass
  and d.refobjid in (t.oid, t.typarray) and d.deptype in ('n', 'a')
where t.oid = pg_catalog.to_regtype({literal(quoted)})
  and not (d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
    and exists (select from pg_catalog.pg_constraint k where k.oid = d.objid and k.contypid = t.oid))
  and not exists (select from going g where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    and d.objid = g.attrelid and d.objsubid = g.attnum)
  and not exists (select from going g join pg_catalog.pg_depend e
      on e.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
      and e.refobjid = g.attrelid and e.refobjsubid = g.attnum
    where e.classid = d.classid and e.objid = d.objid)
  and not exists (select from pg_catalog.pg_class v
      join pg_catalog.pg_namespace n on n.oid = v.relnamespace and n.nspname in ({schemas})
      left join pg_catalog.pg_rewrite r on r.ev_class = v.oid
      left join pg_catalog.pg_attrdef f on f.adrelid = v.oid
    where v.relkind = 'v' and pg_catalog.obj_description(v.oid, 'pg_class') = {literal(MARK)}
      and (d.classid, d.objid) in (
      ('pg_catalog.pg_class'::pg_catalog.regclass, v.oid), ('pg_catalog.pg_rewrite'::pg_catalog.regclass, r.oid),
      ('pg_catalog.pg_attrdef'::pg_catalog.regclass, f.oid)))"""


def nothing_uses(found: Type, gate: str, going: Going, versions: Sequence[str]) -> Requirement:
    """Name what would keep the type from being dropped, at a gate."""
    return Requirement(
        name=f"nothing else uses the type {found.full_name}",
        table=found.full_name,
        kind="structure",
        gate="after_swap" if gate == "after_swap" else "before_rollback",
        violations=dependents(found.quoted, going, versions),
    )


def old_columns(drafts: Sequence[TableDraft], *, swapped: bool) -> Going:
    """Return the columns that `contract` drops, by their names on one side of the swap."""
    found: Going = {}
    for draft in drafts:
        names = draft.touched - draft.renamed.keys()
        if draft.dropped_at is not None:
            names = {column.name for column in draft.table.columns}
        found[draft.real] = tuple(
            own_name("old", name) if swapped and name in draft.altered else name for name in sorted(names)
        )
    return found


def new_columns(drafts: Sequence[TableDraft]) -> Going:
    """Return the columns that a rollback drops, by both of their names."""
    return {
        draft.real: (*draft.shape.plain_new, *(n for t in draft.shape.targets for n in (t.before, t.after)))
        for draft in drafts
    }
