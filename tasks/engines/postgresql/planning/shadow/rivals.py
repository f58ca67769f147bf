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
       (select case
          when o.oprcanmerge and o.oprname = '=' then 'equal'
          when o.oprcode = 'pg_catalog.range_overlaps'::regproc and a.atttypid = any ('{int4range, int8range, numrange,
            daterange, tsrange, tstzrange}'::regtype[]) then 'overlaps' else '' end
        from pg_catalog.pg_operator o join pg_catalog.pg_attribute a on a.attrelid = i.indexrelid and a.attnum = k
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
    kinds: tuple[str, ...]
    """Of the operators: `equal`, of values that can be sorted; `overlaps`, of ranges; or empty."""
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
        return demand(draft.new, index) in (demand(draft.table, one) for one in draft.table.indexes)
    columns = key_columns(draft.new, index)
    return any(one.unique and not one.partial and key_columns(draft.table, one) == columns
               for one in draft.table.indexes)  # fmt: skip


def _compared(draft: Draft, index: Index) -> _Compared:
    place = f"{quote(draft.places.new)}.{quote(index.name)}"
    rows = draft.conn.execute(_ELEMENTS, (place,)).fetchall()
    return _Compared(
        elements=tuple(row[0] for row in rows),
        operators=tuple(row[1] for row in rows if row[1]),
        kinds=tuple(row[2] for row in rows if row[1]),
        predicate=rows[0][3] or "",
        nulls_too=rows[0][4],
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
    """Count the rows that exclude another one; `fix` leaves no two of them."""
    row, keys = _rows(draft, index, compared, values), ", ".join(map(quote, draft.key))
    kinds = sorted(compared.kinds)
    if kinds and {*kinds} == {"equal"}:
        names = _names(compared)
        source = f"{row} as keys where {' and '.join(f'{name} is not null' for name in names)}"
        broken, fix = sharing(draft.places.real, keys, ", ".join(names), source)
    else:
        sorts = kinds[-1:] == ["overlaps"] and kinds[:-1] == ["equal"] * (len(kinds) - 1)
        broken, doomed = (_swept if sorts else _joined)(draft, compared, row)
        fix = f"delete from {draft.places.real} where ({keys}) in (\n{doomed}\n)"
    return Requirement(
        name=f"no two rows of {draft.table.full_name} exclude each other by {index.name}",
        table=draft.table.full_name,
        kind="check",
        gate="before_run",
        violations=broken,
        fix=fix,
    )


def _swept(draft: Draft, compared: _Compared, row: str) -> tuple[str, str]:
    """Return the rows whose range overlaps another one, and those where that one begins earlier, in one sorted pass.

    Of those that begin earlier it is enough to know how far they reach, and of those that begin later the next one.
    """
    names = _names(compared)
    span = names[compared.kinds.index("overlaps")]
    same = ", ".join(name for name in names if name != span)
    keys, ordered = ", ".join(map(quote, draft.key)), f"order by {span}, {', '.join(map(quote, draft.key))}"
    window = f"{f'partition by {same} ' if same else ''}{ordered}"
    before, after = (quote(f"{OWN_PREFIX}{one}") for one in ("before", "after"))
    swept = f"""\
select {keys}, {span} operator(pg_catalog.&&) lead({span}) over (sorted) as {after},
  lower_inf({span}) and count(*) over earlier > 0
    or bool_or(upper_inf({span})) over earlier
    or max(upper({span})) over earlier > lower({span})
    or lower_inc({span}) and max(upper({span})) filter (where upper_inc({span})) over earlier = lower({span})
  as {before}
from {row} as one
where {" and ".join(f"{name} is not null" for name in names)} and not isempty({span})
window sorted as ({window}), earlier as (sorted rows between unbounded preceding and 1 preceding)"""
    found = f"select {keys} from (\n{swept}\n) as swept where {before}"
    return f"{found} or {after}", found


def _joined(draft: Draft, compared: _Compared, row: str) -> tuple[str, str]:
    """Return the rows that exclude another one, and those where that one has the lesser key."""
    one, other = (", ".join(f"{alias}.{quote(c)}" for c in draft.key) for alias in ("one", "other"))
    met = " and ".join(f"one.{n} {o} other.{n}" for n, o in zip(_names(compared), compared.operators, strict=True))
    asked = f"select {one} from {row} as one where exists (\nselect from {row} as other where {met} and ({other})"
    return f"{asked} <> ({one}))", f"{asked} < ({one}))"
