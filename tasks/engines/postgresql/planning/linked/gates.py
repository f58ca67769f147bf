"""What has to hold of two tables that are kept in step.

A link with a note that is still to be carried is left out: note and rows are read in one snapshot, so every other
link has to agree. The swap itself carries what is left, under locks on both tables, or does not happen.
"""

from collections.abc import Iterator, Mapping

from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.linked.moved import Moved
from tasks.engines.postgresql.planning.linked.outbox import Outbox
from tasks.engines.postgresql.planning.linked.side import Side, trigger_names
from tasks.model.names import quote
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
        keys = ", ".join(source.shown("s", source.key))
        back = target.linked("t", source.values("s"))
        yield Requirement(
            name=f"every {source.full_name}.{source.column} has a row of {target.full_name} to go to",
            table=source.full_name,
            kind="parity",
            violations=f"select {keys} from {source.real} as s where {source.value('s')} is not null"
            f" and not exists (select from {target.real} as t where {back})",
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
