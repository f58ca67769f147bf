"""After the swap the old table keeps step with the new one: every row of either is asked, in one statement.

Dual write commits with the statement that it follows, so one snapshot sees both tables at one moment. A row was not
written since the swap, and is still what `forth` makes of the old one; or it was, and the old one is what `back` makes
of it. Neither is true of a row that was lost, or written on one side alone. What is noted has its turn later, or was
refused, and a rollback asks for it.

No join of whole tables that would spill them onto the disk of the server: both are walked along their keys, or each row
looks up the other by its index.
"""

from collections.abc import Iterator

from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.shadow.draft import Draft
from tasks.engines.postgresql.planning.shadow.followed import UNSEEN, rejected_since
from tasks.model.catalogue import Table
from tasks.model.names import OWN_PREFIX, quote
from tasks.model.plan import Requirement, differing
from tasks.model.steps import Assignment

_HERE, _THERE, _NOTE = (f"{OWN_PREFIX}{one}" for one in ("here", "there", "note"))
_FOUND = f"{OWN_PREFIX}found"
MOST = 1_000_000
"""Rows that are wrong, of either table, that a function returns: it holds them, on the disk of the server."""


def requirement(draft: Draft) -> Requirement:
    """Return the check of the gate after the swap, which is asked once more before the contract."""
    return Requirement(
        name=f"the old table has kept step with {draft.table.full_name}",
        table=draft.table.full_name,
        kind="parity",
        gate="after_swap",
        violations=_of_both(draft),
        reads_new=True,
    )


def comes_back(draft: Draft) -> Iterator[Requirement]:
    """Yield the check of the gate before the swap that `back` makes the old row again of every row that is copied."""
    alias, types = quote(draft.table.name), draft.types(draft.table)
    same = " and ".join(
        f"{_THERE}.{quote(c)} = ({alias}.{quote(c)})::{t}" for c, t in zip(draft.key, types, strict=True)
    )
    noted = " and ".join(f"{_NOTE}.{quote(c)} = {_THERE}.{quote(c)}" for c in draft.key)
    shown = _shown(draft)
    if wrong := lost(draft, _THERE):
        yield Requirement(
            name=name_of_coming_back(draft),
            table=draft.table.full_name,
            kind="parity",
            violations=f"""\
select {", ".join(f"{alias}.{quote(column)}" for column in draft.key)} from {draft.shadow} as {alias}
join lateral (
  select {shown} from {draft.places.real} as {_THERE}
  where {same} and not exists (select from {draft.up.notes} as {_NOTE} where {noted}) offset 0
) as {_THERE} on true
where {wrong}""",
            reads_new=True,
        )


def name_of_coming_back(draft: Draft) -> str:
    """Return what the check is called, before the run and before the swap."""
    return f"what {draft.table.full_name} has had comes back by down"


def lost(draft: Draft, there: str) -> str:
    """Return the condition that `back` does not give the old row of `there`, in its `inner` names; empty: it cannot.

    Of a column that is `lossy` the value may differ, but after the swap each has to be made: none may fail.
    """
    change, names = draft.change, inner(draft.table)
    others = {*change.downs, *change.converted(draft.new)}
    asked = [one for one in draft.back if one.column in others]
    wrong = [f"pg_catalog.num_nonnulls({_values((one,))}) < 0" for one in asked if one.column in change.lossy]
    wrong += [
        differing(f"{there}.{names[one.column]}", _values((one,)), exact=not change.rehearsal.has_equality(one.type))
        for one in asked
        if one.column not in change.lossy
    ]
    return " or ".join(wrong)


def inner(table: Table) -> dict[str, str]:
    """Return other names for the columns of the old table: a bare name within `back` is one of the new table."""
    return {column.name: f"{OWN_PREFIX}{number}" for number, column in enumerate(table.columns)}


def _of_both(draft: Draft) -> str:
    """Rows of either side; in one pass along the keys of both tables where they are the same, and in the same order."""
    if not _along_keys(draft):
        return f"{_of_the_new(draft)}\nunion all\n{_of_the_old(draft)}"
    return f"select * from {_function(draft)}()"


def create(draft: Draft) -> tuple[str, ...]:
    """Return the statement that makes the function behind the check, where both tables are walked along their keys.

    Where each row of the new table has another one of the old, and both tables have as many, the old one has none too
    many: it is asked row by row only where that cannot be said. It can be said of keys of which no two are the same in
    the old type, of tables whose every row counts, and when nothing is noted, nor wrong.

    A function, because its settings hold for what it asks alone: both come in the order of their indexes, and neither
    is sorted, nor hashed. It is STABLE, so all that it asks is of the moment that the statement sees which calls it.
    What is wrong it holds until all is asked, hence no more than `MOST` of either table.
    """
    if not _along_keys(draft):
        return ()
    returned = ", ".join(f"{OWN_PREFIX}key_{number} {kind}" for number, kind in enumerate(draft.types(draft.new)))
    return (
        f"""\
create or replace function {_function(draft)}() returns table ({returned})
language plpgsql stable set enable_hashjoin = off set enable_sort = off as $co_{draft.places.tag}$
#variable_conflict use_column
begin
  if not exists (select from {draft.down.notes})
    and (select count(*) from {draft.former}) = (select count(*) from {draft.places.real})
  then
    return query
{_joined(draft)}
limit {MOST};
    if not found then
      return;
    end if;
  else
    -- What is noted is met by a row's key: some other plan may do better.
    perform pg_catalog.set_config('enable_hashjoin', 'on', true), pg_catalog.set_config('enable_sort', 'on', true);
    return query
{_of_the_new(draft)}
limit {MOST};
  end if;
  return query
{_of_the_old(draft)}
limit {MOST};
end
$co_{draft.places.tag}$""",
    )


def drop(draft: Draft) -> tuple[str, ...]:
    """Return the statement that drops what `create` makes."""
    return (f"drop function if exists {_function(draft)}()",) if _along_keys(draft) else ()


def _along_keys(draft: Draft) -> bool:
    return draft.aligned and not draft.new_parts


def _function(draft: Draft) -> str:
    return f'changeover."shadow_kept_{draft.places.tag}"'


def _joined(draft: Draft) -> str:
    """Rows of the new table that the old one does not have, or has otherwise, where nothing is noted."""
    alias, names = quote(draft.table.name), inner(draft.table)
    keys = ", ".join(f"{alias}.{quote(column)}" for column in draft.key)
    # No cast: whole numbers of any width are joined by their indexes.
    same = " and ".join(f"{_THERE}.{names[c]} = {alias}.{quote(c)}" for c in draft.key)
    return f"""\
select {keys} from {draft.places.real} as {alias}
left join (select {_shown(draft)}, true as {_FOUND} from {draft.former} as {_THERE}) as {_THERE} on {same}
where {_wrong(draft)}"""


def _of_the_new(draft: Draft) -> str:
    """Rows of the new table that the old one does not have, or has otherwise."""
    alias, types = quote(draft.table.name), draft.types(draft.table)
    keys = ", ".join(f"{alias}.{quote(column)}" for column in draft.key)
    noted = " and ".join(f"{_NOTE}.{quote(c)} = {_HERE}.{quote(c)}" for c in draft.key)
    # What the old type cannot hold is noted, so nothing that is left is refused by the cast: hence the order.
    same = " and ".join(
        f"{_THERE}.{quote(c)} = ({alias}.{quote(c)})::{t}" for c, t in zip(draft.key, types, strict=True)
    )
    return f"""\
select {keys} from (
  select {_HERE}.* from {draft.places.real} as {_HERE}
  where not exists (select from {draft.down.notes} as {_NOTE} where {noted}){_seen(draft)} offset 0
) as {alias}
left join lateral (
  select {_shown(draft)}, true as {_FOUND} from {draft.former} as {_THERE} where {same} offset 0
) as {_THERE} on true
where {_wrong(draft)}"""


def _shown(draft: Draft) -> str:
    return ", ".join(f"{_THERE}.{quote(name)} as {other}" for name, other in inner(draft.table).items())


def _wrong(draft: Draft) -> str:
    return f"""\
case
  when {_FOUND} is null then true when not ({_differs_back(draft)}) then false else {_differs_forth(draft)}
end"""


def _of_the_old(draft: Draft) -> str:
    """Rows of the old table that the new one does not have."""
    pairs = list(zip(draft.key, draft.types(draft.new), strict=True))
    keys = ", ".join(f"({_THERE}.{quote(c)})::{t}" for c, t in pairs)
    noted, same = (
        " and ".join(f"{one}.{quote(c)} = ({_THERE}.{quote(c)})::{t}" for c, t in pairs) for one in (_NOTE, _HERE)
    )
    return f"""\
select {keys} from (
  select {_THERE}.* from {draft.former} as {_THERE}
  where not exists (select from {draft.down.notes} as {_NOTE} where {noted}){_unseen(draft)} offset 0
) as {_THERE}
left join lateral (
  select true as {_FOUND} from {draft.places.real} as {_HERE} where {same} limit 1
) as {_HERE} on true
where {_FOUND} is null"""


def _seen(draft: Draft) -> str:
    """What a partition brought that came since the swap fired no trigger; a rollback is refused for it."""
    if not draft.new_parts:
        return ""
    return (
        f" and {_HERE}.tableoid not in (select tree.relid from ({draft.down.unseen}) as unseen"
        " cross join pg_catalog.pg_partition_tree(unseen.inhrelid) as tree)"
    )


def _unseen(draft: Draft) -> str:
    """Rows go unseen with a partition that goes, or is emptied by who does not see all of its copy.

    Then they stay in the old table, all that is asked of the others is no more than a guess, and a rollback is refused.
    """
    if not draft.new_parts:
        return ""
    known = ", ".join(literal(part.name) for part in draft.new_parts)
    return f"""
    and not exists (
      select{rejected_since(draft.spec.migration, "down")}
        and r.table_name = {literal(draft.table.full_name)} and r.sqlstate in ('40001', '{UNSEEN}'))
    and not exists ({draft.down.unseen})
    and {len(draft.new_parts)} = (
      select count(*) from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
      where i.inhparent = to_regclass({literal(draft.places.real)}) and not i.inhdetachpending
        and c.relname in ({known}))"""


def _differs_back(draft: Draft) -> str:
    names = inner(draft.table)
    stored = ", ".join(f"{_THERE}.{names[one.column]}" for one in draft.back)
    return differing(stored, _values(draft.back), exact=True)


def _differs_forth(draft: Draft) -> str:
    """The same the other way round, asked only where it is needed: what `back` makes is nothing for `up`."""
    alias = quote(draft.table.name)
    stored = ", ".join(f"{alias}.{quote(one.column)}" for one in draft.forth)
    old = ", ".join(f"{_THERE}.{other} as {quote(name)}" for name, other in inner(draft.table).items())
    return (
        f"row({stored})::pg_catalog.record operator(pg_catalog.*<>) (select row({_values(draft.forth)})"
        f"::pg_catalog.record from (select {old}) as {alias})"
    )


def _values(assignments: tuple[Assignment, ...]) -> str:
    # Line breaks around everything that an author wrote: it may end in a comment.
    return ", ".join(f"({one.expression}\n)::{one.type}" for one in assignments)
