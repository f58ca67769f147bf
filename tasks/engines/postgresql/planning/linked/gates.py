"""What has to hold of two tables that are kept in step.

A link with a note that is still to be carried is left out: note and rows are read in one snapshot, so every other
link has to agree. The swap itself carries what is left, under locks on both tables, or does not happen.
"""

from collections.abc import Iterator, Mapping

from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.linked.moved import Moved
from tasks.engines.postgresql.planning.linked.outbox import Outbox
from tasks.engines.postgresql.planning.linked.side import Side, trigger_names
from tasks.model.names import OWN_PREFIX, quote
from tasks.model.plan import Comparison, Requirement, differing


def comparisons(moved: Moved) -> Iterator[Comparison]:
    """Compare every row of the source, or of the target where the source has several, or keeps its own."""
    source, target = moved.source, moved.target
    name = f"{target.full_name}.{target.column} equals {source.full_name}.{source.column}"
    if moved.when_differ == "refuse" and not moved.copies:
        keys = {f"_changeover_key_{i}": one for i, one in enumerate(source.shown("s", source.key))}
        tied = target.linked("t", source.values("s"))
        rows = f"{source.real} as s left join {target.real} as t on {tied}"
        stored, computed = target.value("t"), source.value("s")
        if moved.lossy:
            stored = f"case when t.ctid is null then {computed} else {stored} end"
        waits = moved.outbox.waits(source.values("s"))
        table = source.full_name
    else:
        keys = {f"_changeover_key_{i}": one for i, one in enumerate(target.shown("t", target.key))}
        rows = f"{target.real} as t"
        stored, computed = target.value("t"), f"({moved.of_source(target.values('t'))})"
        waits = moved.outbox.waits(target.values("t"))
        table = target.full_name
    shown = ", ".join(f"{sql} as {quote(key)}" for key, sql in keys.items())
    once = Comparison(
        name=name,
        table=table,
        key=tuple(keys),
        stored="stored",
        computed="computed",
        source=f"(select {shown}, {stored} as stored, {computed} as computed, {waits} as waits from {rows}) as linked",
        where="not waits",
    )
    yield once
    if moved.copies:
        yield once.model_copy(update={"gate": "after_swap"})


def before_swap(moved: Moved) -> Iterator[Requirement]:
    """A row of the target without one in the source has no value; a value of the source has somewhere to go."""
    source, target = moved.source, moved.target
    keys = ", ".join(target.shown("t", target.key))
    tied = source.linked("s", target.values("t"))
    waits = moved.outbox.waits(target.values("t"))
    yield Requirement(
        name=f"{target.full_name}.{target.column} has only what {source.full_name} says",
        table=target.full_name,
        kind="parity",
        violations=f"select {keys} from {target.real} as t where {target.value('t')} is not null"
        f" and not exists (select from {source.real} as s where {tied}) and not {waits}",
        reads_new=True,
    )
    if moved.when_differ != "refuse" and not moved.lossy and not moved.copies:
        yield _has_a_place(moved)


def before_run(moved: Moved) -> Iterator[Requirement]:
    """Ask the rows of today what the gate before the swap will: do they agree, and has each value somewhere to go?"""
    if moved.copies or moved.when_differ != "refuse":
        # Of a copy the source decides, and of several values one is chosen.
        return
    if not moved.lossy:
        yield _has_a_place(moved).model_copy(update={"gate": "before_run"})
    if not moved.source.alone:
        yield _agree(moved)


def _has_a_place(moved: Moved) -> Requirement:
    source, target = moved.source, moved.target
    query = (
        f"select {', '.join(source.shown('s', source.key))} from {source.real} as s"
        f" where {source.value('s')} is not null and not {_is_there(moved)}"
    )
    keys = ", ".join(quote(column) for column in source.key)
    return Requirement(
        name=f"every {source.full_name}.{source.column} has a row of {target.full_name} to go to",
        table=source.full_name,
        kind="parity",
        violations=query,
        fix=f"update {source.real} set {quote(source.column)} = <value> where ({keys}) in (\n{query}\n)",
    )


def _is_there(moved: Moved) -> str:
    return f"exists (select from {moved.target.real} as t where {moved.target.linked('t', moved.source.values('s'))})"


def _agree(moved: Moved) -> Requirement:
    """No comparison of each row with each of its siblings: one that has many would be compared for hours."""
    source = moved.source
    keys = ", ".join(quote(column) for column in source.key)
    links, shown = ", ".join(source.values("s")), ", ".join(source.shown("s", source.key))
    first = f"first_value({source.value('s')}) over (partition by {links} order by {shown})"
    apart, linked = quote(f"{OWN_PREFIX}apart"), [quote(f"{OWN_PREFIX}link_{i}") for i in range(len(source.link))]
    named = ", ".join(f"{value} as {name}" for value, name in zip(source.values("s"), linked, strict=True))
    query = f"""\
select {keys} from (
  select {keys}, bool_or({apart}) over (partition by {", ".join(linked)}) as {apart} from (
    select {shown}, {named}, {differing(source.value("s"), first, exact=True)} as {apart}
    from {source.real} as s where {_is_there(moved)}
  ) as compared
) as grouped where {apart}"""
    value = quote(source.column)
    return Requirement(
        name=f"rows of {source.full_name} that belong to one row of {moved.target.full_name} agree on {source.column}",
        table=source.full_name,
        kind="parity",
        gate="before_run",
        violations=query,
        fix=f"update {source.real} as s set {value} = (select o.{value} from {source.real} as o"
        f" where {source.linked('o', source.values('s'))}"
        f" order by {', '.join(source.shown('o', source.key))} limit 1) where ({shown}) in (\n{query}\n)",
    )


def after_swap(moved: Moved) -> Iterator[Requirement]:
    """Both agree wherever one row stands for one row; where several may differ, a rollback asks whether they do."""
    source, target = moved.source, moved.target
    yield kept_in_step(moved.outbox, {"source": source, "target": target})
    if moved.copies:
        return
    keys = ", ".join(source.shown("s", source.key))
    tied = target.linked("t", source.values("s"))
    if target.alone and moved.when_differ == "refuse":
        yield Requirement(
            name=f"{source.full_name}.{source.column} follows {target.full_name}.{target.column}",
            table=source.full_name,
            kind="parity",
            gate="after_swap",
            violations=f"select {keys} from {source.real} as s join {target.real} as t on {tied}"
            f" where {differing(source.value('s'), target.value('t'), exact=True)}"
            f" and not {moved.outbox.waits(source.values('s'))}",
            reads_new=True,
        )
    if not target.alone:
        value = f"{target.value('t')}::text"
        yield Requirement(
            name=f"rows of {target.full_name} that belong to one row of {source.full_name} agree on {target.column}",
            table=target.full_name,
            kind="parity",
            gate="before_rollback",
            violations=f"select {', '.join(target.values('t'))} from {target.real} as t"
            f" join {source.real} as s on {tied} group by {', '.join(target.values('t'))}"
            f" having count(distinct {value}) > 1 or count({value}) not in (0, count(*))",
            reads_new=True,
        )


def kept_in_step(outbox: Outbox, roles: Mapping[str, Side]) -> Requirement:
    """All triggers between two tables are there, and fire in every session."""
    names = [name for role in roles for name in trigger_names(outbox, role).values()]
    listed = ", ".join(literal(name) for name in names)
    tables = ", ".join(f"{literal(side.real)}::pg_catalog.regclass" for side in roles.values())
    return Requirement(
        name=f"{' and '.join(side.full_name for side in roles.values())} are kept in step",
        table=next(iter(roles.values())).full_name,
        kind="structure",
        gate="after_swap",
        violations=f"""\
select 'the triggers between the tables' as problem where {len(names)} <> (
  select count(*) from pg_catalog.pg_trigger
  where tgrelid in ({tables}) and tgname in ({listed}) and tgenabled = 'A')
union all
select 'the trigger of the outbox' where not exists (
  select from pg_catalog.pg_trigger
  where tgrelid = {literal(outbox.table)}::pg_catalog.regclass and tgname = 'carry' and tgenabled = 'A')""",
    )
