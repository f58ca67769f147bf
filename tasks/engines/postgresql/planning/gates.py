"""What has to hold before the swap and after it, as queries that the gates evaluate."""

from collections.abc import Iterator, Mapping

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.shape import Group, Retired, Target, projection
from tasks.model.names import quote
from tasks.model.plan import Comparison, Requirement

STORED = "_changeover_stored"
HELD = "_changeover_held"


def requirements(draft: TableDraft) -> Iterator[Requirement]:
    """The restrictions that the change brings; those on columns that exist can be checked before it begins."""
    new = {quote(t.before) for t in draft.shape.targets} | {quote(name) for name in draft.shape.plain_new}
    for requirement in draft.requirements:
        reads_new = any(name in requirement.violations for name in new)
        yield requirement.model_copy(update={"reads_new": reads_new})


def comparisons(draft: TableDraft) -> Iterator[Comparison]:
    """Every row equals `up` of its source, and `down` brings the source back."""
    for group in draft.shape.groups():
        for target in group.targets:
            if not target.volatile:
                yield _up(draft, target)
        for retired in group.retired:
            if group.targets and not any(target.volatile for target in group.targets):
                yield _weak_down(draft, group, retired) if retired.lossy else _down(draft, retired)


def _keys(draft: TableDraft) -> dict[str, str]:
    """The key by names of its own: in the new shape its columns may be called otherwise."""
    return {f"_changeover_key_{i}": quote(column) for i, column in enumerate(draft.key)}


def _up(draft: TableDraft, target: Target) -> Comparison:
    extra = {STORED: quote(target.before), **_keys(draft)}
    return Comparison(
        name=f"{draft.full_name}.{target.name} equals up",
        table=draft.full_name,
        key=tuple(_keys(draft)),
        stored=quote(STORED),
        computed=f"({target.up}\n)::{target.type}",
        source=projection(draft.shape.old(swapped=False), draft.real, draft.table.name, extra),
    )


def _down(draft: TableDraft, retired: Retired) -> Comparison:
    """The old value comes back; but not for rows that break a restriction the change itself introduces."""
    extra = {STORED: quote(retired.before), **_keys(draft)}
    down = f"({retired.down}\n)::{retired.type}"
    if retired.held is not None:
        extra[HELD] = f"({retired.held}\n)"
        down = f"case when {quote(HELD)} then {down} else {quote(STORED)} end"
    return Comparison(
        name=f"{draft.full_name}.{retired.name} comes back by down",
        table=draft.full_name,
        key=tuple(_keys(draft)),
        stored=quote(STORED),
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
    extra = {STORED: quote(target.before), **_keys(draft)}
    new = projection(draft.shape.new(swapped=False), draft.real, draft.table.name, extra)
    kept = {name: quote(name) for name in extra}
    return Comparison(
        name=f"{draft.full_name}.{retired.name} comes back by down, as far as up can tell",
        table=draft.full_name,
        key=tuple(_keys(draft)),
        stored=quote(STORED),
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
        if not group.targets or not group.retired or any(target.volatile for target in group.targets):
            continue
        up = " and ".join(
            _same(row, t.after, f"(select ({t.up}\n)::{t.type} from {old})", exact=True) for t in group.targets
        )
        down = " and ".join(
            _same(
                row,
                r.after,
                f"(select ({r.down}\n)::{r.type} from {new})",
                exact=not draft.rehearsal.has_equality(r.type),
            )
            for r in group.retired
        )
        keys = ", ".join(quote(draft.shape.old(swapped=True)[column]) for column in draft.key)
        yield Requirement(
            name=f"{draft.full_name}: both shapes of {', '.join(t.name for t in group.targets)} agree",
            table=draft.full_name,
            kind="parity",
            gate="after_swap",
            violations=f"select {keys} from {draft.real} as {row} where not ({up}) and not ({down})",
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
    """What cannot be compared has at least to be there."""
    for target in draft.shape.targets:
        if target.volatile:
            yield Requirement(
                name=f"{draft.full_name}.{target.name} is filled",
                table=draft.full_name,
                kind="not null",
                violations=f"select {draft.key_list()} from {draft.real} where {quote(target.before)} is null",
            )


def structure_after_swap(draft: TableDraft) -> Requirement:
    """No constraint is left unvalidated, no index invalid, and dual write is on."""
    known = ", ".join(literal(name) for name in ["", *(c.name for c in draft.table.constraints if not c.validated)])
    table = f"{literal(draft.real)}::pg_catalog.regclass"
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
where i.indrelid = {table} and not i.indisvalid
union all
select 'dual write' where {len(triggers)} <> (
  select count(*) from pg_catalog.pg_trigger
  where tgrelid = {table} and tgname in ({names}) and tgenabled = 'A')""",
    )
