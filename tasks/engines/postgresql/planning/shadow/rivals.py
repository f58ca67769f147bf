"""Rows that cannot stand together in the new table: under a unique index, or by an exclusion constraint.

What is compared, and how, is read from the empty twin, where the server has written it down: expressions, operators,
collations, and which rows count.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tasks.engines.postgresql.planning.checks.before_run import sharing
from tasks.engines.postgresql.planning.keys import demand, key_columns
from tasks.engines.postgresql.planning.shadow.draft import Draft
from tasks.model.catalogue import Index
from tasks.model.names import OWN_PREFIX, quote
from tasks.model.plan import Requirement

_ELEMENTS = """
select pg_catalog.pg_get_indexdef(i.indexrelid, k, false)
         || case when i.indcollation[k - 1] in (0, 'pg_catalog."default"'::regcollation) then ''
            else ' collate ' || i.indcollation[k - 1]::regcollation end,
       (select format('operator(%%I.%%s)', n.nspname, o.oprname)
        from pg_catalog.pg_operator o join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
        where o.oid = c.conexclop[k]),
       pg_catalog.pg_get_expr(i.indpred, i.indrelid),
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false)
from pg_catalog.pg_index i
cross join generate_series(1, i.indnkeyatts) k
left join pg_catalog.pg_constraint c on c.conindid = i.indexrelid and c.conrelid = i.indrelid and c.contype = 'x'
where i.indexrelid = %s::regclass
order by k
"""


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """What an index compares of two rows."""

    elements: tuple[str, ...]
    """Expressions over columns of the new table."""
    operators: tuple[str, ...]
    """Of an exclusion constraint, one for each; none of a unique index."""
    predicate: str
    nulls_too: bool


def requirements(draft: Draft, values: Mapping[str, str]) -> Iterator[Requirement]:
    """Give a question for every unique index, and exclusion constraint, that is new, or has new values.

    `values`: what the columns of the new table will have, in the names of the old one; those of which nobody knows
    it before the run are left out, and so is what reads them.
    """
    exclusions = {c.name for c in draft.new.constraints if c.kind == "exclusion"}
    for index in draft.new.indexes:
        excludes = index.constraint in exclusions
        asked = (index.unique or excludes) and not index.without_overlaps and {*index.referenced} <= values.keys()
        if not asked or _known(draft, index):
            continue
        compared = _compared(draft, index)
        yield _excluding(draft, index, compared, values) if excludes else _unique(draft, index, compared, values)


def _known(draft: Draft, index: Index) -> bool:
    """Tell whether the old table keeps the same values apart in the same way."""
    if {*index.referenced} & {*draft.change.ups, *draft.change.altered, *draft.change.computed}:
        return False
    if index.partial or index.expressions or not index.unique:
        return demand(index) in map(demand, draft.table.indexes)
    columns = key_columns(draft.new, index)
    return any(one.unique and not one.partial and key_columns(draft.table, one) == columns
               for one in draft.table.indexes)  # fmt: skip


def _compared(draft: Draft, index: Index) -> _Compared:
    place = f"{quote(draft.places.new)}.{quote(index.name)}"
    rows = draft.conn.execute(_ELEMENTS, (place,)).fetchall()
    return _Compared(
        elements=tuple(row[0] for row in rows),
        operators=tuple(row[1] for row in rows if row[1]),
        predicate=rows[0][2] or "",
        nulls_too=rows[0][3],
    )


def _names(compared: _Compared) -> list[str]:
    return [quote(f"{OWN_PREFIX}{number}") for number in range(len(compared.elements))]


def _rows(draft: Draft, index: Index, compared: _Compared, values: Mapping[str, str]) -> str:
    """Return the rows that an index would have, by the keys of the old table, with what it compares of each."""
    table, keys = quote(draft.table.name), [quote(f"{OWN_PREFIX}k{number}") for number in range(len(draft.key))]
    inner = [f"{table}.{quote(c)} as {k}" for c, k in zip(draft.key, keys, strict=True)]
    inner += [f"{values[column]} as {quote(column)}" for column in index.referenced]
    shown = [f"{k} as {quote(c)}" for c, k in zip(draft.key, keys, strict=True)]
    shown += [f"({e}) as {name}" for e, name in zip(compared.elements, _names(compared), strict=True)]
    chosen = f" where ({compared.predicate})" if compared.predicate else ""
    return (
        f"(select {', '.join(shown)} from (select {', '.join(inner)} from {draft.places.real} as {table})"
        f" as {table}{chosen})"
    )


def _unique(draft: Draft, index: Index, compared: _Compared, values: Mapping[str, str]) -> Requirement:
    names, keys = _names(compared), ", ".join(map(quote, draft.key))
    present = " and ".join(f"{name} is not null" for name in names)
    source = f"{_rows(draft, index, compared, values)} as keys{'' if compared.nulls_too else f' where {present}'}"
    same = ", ".join(names)
    rows, fix = sharing(draft.places.real, keys, same, source)
    return Requirement(
        name=f"{draft.table.full_name} is unique by {index.name}",
        table=draft.table.full_name,
        kind="unique",
        gate="before_run",
        violations=f"select {same} from {source} group by {same} having count(*) > 1",
        rows=rows,
        fix=fix,
    )


def _excluding(draft: Draft, index: Index, compared: _Compared, values: Mapping[str, str]) -> Requirement:
    """Count the rows that exclude another one; those with one of a lesser key would go, so that no two are left."""
    names, row = _names(compared), _rows(draft, index, compared, values)
    one, other = (", ".join(f"{alias}.{quote(c)}" for c in draft.key) for alias in ("one", "other"))
    met = " and ".join(f"one.{n} {o} other.{n}" for n, o in zip(names, compared.operators, strict=True))
    asked = f"select {one} from {row} as one where exists (\nselect from {row} as other where {met} and ({other})"
    keys = ", ".join(map(quote, draft.key))
    return Requirement(
        name=f"no two rows of {draft.table.full_name} exclude each other by {index.name}",
        table=draft.table.full_name,
        kind="check",
        gate="before_run",
        violations=f"{asked} <> ({one}))",
        fix=f"delete from {draft.places.real} where ({keys}) in (\n{asked} < ({one}))\n)",
    )
