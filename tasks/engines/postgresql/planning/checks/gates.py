"""What has to hold before the swap and after it, as queries that the gates evaluate."""

from collections.abc import Iterator, Mapping, Sequence

from tasks.engines.postgresql.planning.checks import standing
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.shape import Group, Retired, Target, projection, stand_for_each_other
from tasks.model.names import own_name, quote
from tasks.model.plan import Comparison, Requirement


def requirements(draft: TableDraft) -> Iterator[Requirement]:
    """The restrictions that the change brings; those on columns that exist can be checked before it begins."""
    for requirement in draft.requirements:
        # What names a type that the spec makes can be run only here, where it has been made for a moment.
        can_run = not draft.spec.made_types and draft.rehearsal.can_run(requirement.violations)
        yield requirement.model_copy(update={"reads_new": not can_run})


def comparisons(draft: TableDraft) -> Iterator[Comparison]:
    """Every row equals `up` of its source, and `down` brings the source back.

    All comparisons of one direction read the same FROM item, so that a gate can make them in one pass.
    """
    for group in draft.shape.groups():
        for target in group.targets:
            if not target.volatile:
                yield _up(draft, target)
        for retired in group.retired:
            if group.targets and not group.volatile:
                yield _weak_down(draft, group, retired) if retired.lossy else _down(draft, retired)


def _keys(draft: TableDraft) -> dict[str, str]:
    """The key by names of its own: in the new shape its columns may be called otherwise."""
    return {f"_changeover_key_{i}": quote(column) for i, column in enumerate(draft.key)}


def _stored(column: Target | Retired) -> str:
    return own_name("stored", column.before)


def _held(retired: Retired) -> str:
    return own_name("held", retired.before)


def _up(draft: TableDraft, target: Target) -> Comparison:
    stored = {_stored(t): quote(t.before) for t in draft.shape.targets}
    return Comparison(
        name=f"{draft.full_name}.{target.name} equals up",
        table=draft.full_name,
        key=tuple(_keys(draft)),
        stored=quote(_stored(target)),
        computed=f"({target.up}\n)::{target.type}",
        source=projection(draft.shape.old(swapped=False), draft.real, draft.table.name, stored | _keys(draft)),
    )


def _down(draft: TableDraft, retired: Retired) -> Comparison:
    """The old value comes back; but not for rows that break a restriction the change itself introduces."""
    stored = {_stored(r): quote(r.before) for r in draft.shape.retired}
    held = {_held(r): f"({r.held}\n)" for r in draft.shape.retired if r.held is not None}
    down = f"({retired.down}\n)::{retired.type}"
    if retired.held is not None:
        down = f"case when {quote(_held(retired))} then {down} else {quote(_stored(retired))} end"
    extra = stored | held | _keys(draft)
    return Comparison(
        name=f"{draft.full_name}.{retired.name} comes back by down",
        table=draft.full_name,
        key=tuple(_keys(draft)),
        stored=quote(_stored(retired)),
        computed=down,
        source=projection(draft.shape.new(swapped=False), draft.real, draft.table.name, extra),
        kind="down",
        exact=not draft.rehearsal.has_equality(retired.type),
    )


def _weak_down(draft: TableDraft, group: Group, retired: Retired) -> Comparison:
    """`lossy`: the old value may differ, but what comes back has to lead to the same new value again."""
    target = next((t for t in group.targets if retired.name in t.sources), group.targets[0])
    alias = quote(draft.table.name)
    back = {r.name: f"_changeover_down_{i}" for i, r in enumerate(group.retired)}
    downs = ", ".join(f"({r.down}\n)::{r.type} as {quote(back[r.name])}" for r in group.retired)
    extra = {_stored(target): quote(target.before), **_keys(draft)}
    new = projection(draft.shape.new(swapped=False), draft.real, draft.table.name, extra)
    kept = {name: quote(name) for name in extra}
    return Comparison(
        name=f"{draft.full_name}.{retired.name} comes back by down, as far as up can tell",
        table=draft.full_name,
        key=tuple(_keys(draft)),
        stored=quote(_stored(target)),
        computed=f"({target.up}\n)::{target.type}",
        source=projection(
            {name: back.get(name, name) for name in target.sources},
            f"(select {alias}.*, {downs} from {new}) as {alias}",
            draft.table.name,
            kept,
        ),
        kind="down",
    )


def parity_after_swap(draft: TableDraft) -> Iterator[Requirement]:
    """After the swap each row still agrees with `up`, or was written since and agrees with `down`."""
    row = "changeover_row"
    old = _one_row(draft.shape.old(swapped=True), row, draft.table.name)
    new = _one_row(draft.shape.new(swapped=True), row, draft.table.name)
    for group in draft.shape.groups():
        if not group.fed or group.volatile:
            continue
        downs = {
            r.name: _same(
                row,
                r.after,
                f"(select ({r.down}\n)::{r.type} from {new})",
                exact=not draft.rehearsal.has_equality(r.type),
            )
            for r in group.retired
        }
        # What no `down` reads is the applications' own from the swap on. Of the others each goes its own way: an old
        # application may write one column of a row of which a new one has written another.
        agree = " and ".join(
            _agrees(
                draft,
                [r for r in group.retired if stand_for_each_other(target, r)],
                _same(row, target.after, f"(select ({target.up}\n)::{target.type} from {old})", exact=True),
                downs,
                row,
            )
            for target in group.fed
        )
        keys = ", ".join(quote(draft.shape.old(swapped=True)[column]) for column in draft.key)
        yield Requirement(
            name=f"{draft.full_name}: both shapes of {', '.join(t.name for t in group.fed)} agree",
            table=draft.full_name,
            kind="parity",
            gate="after_swap",
            violations=f"select {keys} from {draft.real} as {row} where not ({agree})",
        )


def _agrees(draft: TableDraft, olds: Sequence[Retired], up: str, downs: Mapping[str, str], row: str) -> str:
    """Tell of a new column whether it is what `up` makes, or what it stands for is what `down` makes."""
    if not olds:
        return f"({up})"
    back = " and ".join(f"case when {_given_up(draft, r, row)} then true else {downs[r.name]} end" for r in olds)
    all_given_up = " and ".join(_given_up(draft, r, row) for r in olds)
    return f"case when {all_given_up} then true else ({up}) or ({back}) end"


def _given_up(draft: TableDraft, retired: Retired, row: str) -> str:
    """Where `down` raised, the old column is NULL and a rejection is recorded: there is nothing to compare.

    Such a row is what a new application meant, and does not keep the old shape from being dropped; it is the
    rollback that refuses.
    """
    return (
        f"({row}.{quote(retired.after)} is null and exists (select from changeover.rejections where direction = 'down'"
        f" and migration = {literal(draft.migration)} and table_name = {literal(draft.full_name)}))"
    )


def _one_row(columns: Mapping[str, str], row: str, alias: str) -> str:
    """Show the columns of the current row of an outer query under other names."""
    shown = ", ".join(f"{row}.{quote(physical)} as {quote(name)}" for name, physical in columns.items())
    return f"(select {shown}) as {quote(alias)}"


def _same(row: str, column: str, value: str, *, exact: bool) -> str:
    stored = f"{row}.{quote(column)}"
    if exact:
        return f"row({stored})::record operator(pg_catalog.*=) row({value})::record"
    return f"{stored} is not distinct from {value}"


def filled(draft: TableDraft) -> Iterator[Requirement]:
    """What cannot be compared has at least to be there; where NULL may be, unless it is made of a NULL."""
    physical = draft.shape.old(swapped=False)
    for target in draft.shape.targets:
        if target.volatile and not target.elsewhere:
            sources = () if target.not_null else target.sources
            known = "".join(f" and {quote(physical[name])} is not null" for name in sources)
            yield Requirement(
                name=f"{draft.full_name}.{target.name} is filled",
                table=draft.full_name,
                kind="not null",
                violations=f"select {draft.key_list()} from {draft.real} where {quote(target.before)} is null{known}",
                reads_new=True,
            )


def never_empty(migration: str, found: Sequence[Comparison | Requirement]) -> Iterator[Requirement]:
    """Give every gate something to evaluate, also where nothing but a table or an index is made."""
    for gate in ("before_swap", "after_swap"):
        if not any(item.gate == gate for item in found):
            yield Requirement(
                name="the ledger knows the migration as running",
                table="changeover.migrations",
                kind="structure",
                gate=gate,
                violations=(
                    f"select {literal(migration)} as problem where not exists (select from changeover.migrations"
                    f" where id = {literal(migration)} and state in ('running', 'swapped', 'complete'))"
                ),
            )


def structure_after_swap(draft: TableDraft) -> Requirement:
    """No constraint is left unvalidated, no index invalid, and dual write is on."""
    invalid = [draft.renamed_constraints.get(c.name, c.name) for c in draft.table.constraints if not c.validated]
    invalid += [index.name for index in draft.table.indexes if not index.valid]
    invalid += draft.passing_constraints
    known = ", ".join(literal(name) for name in ["", *invalid])
    table = draft.regclass
    triggers = draft.dual.trigger_names if draft.shape.targets or draft.shape.retired else ()
    names = ", ".join(literal(name) for name in ["", *triggers])
    return Requirement(
        name=f"{draft.full_name} is whole",
        table=draft.full_name,
        kind="structure",
        gate="after_swap",
        violations=f"""\
select conname::text as problem from pg_catalog.pg_constraint
where conrelid = {table} and not convalidated and conname::text not in ({known})
union all
select c.relname::text from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
where i.indrelid = {table} and not i.indisvalid and c.relname::text not in ({known})
union all
select 'dual write' where {len(triggers)} <> (
  select count(*) from pg_catalog.pg_trigger
  where tgrelid = {table} and tgname in ({names}) and tgenabled = 'A')""",
    )


def standing_after_swap(draft: TableDraft) -> Iterator[Requirement]:
    """No sequence gives a number that a row has, and the planner knows what was filled."""
    numbered = [draft.renamed.get(one.column, one.column) for one in draft.table.sequences] + [*draft.drawn]
    if numbered:
        yield standing.sequences_still_ahead(draft.migration, draft.table, numbered, draft.regclass, draft.real_after)
    if draft.shape.targets:
        columns = [target.after for target in draft.shape.targets]
        yield standing.statistics_there(draft.table, columns, draft.regclass, draft.real_after)
