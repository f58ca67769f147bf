"""What the new table demands of the rows that are there, asked before anything is done."""

from collections.abc import Iterator, Mapping

from tasks.engines.postgresql.planning.shadow import foreign_keys, kept_step, rivals
from tasks.engines.postgresql.planning.shadow.draft import Draft
from tasks.engines.postgresql.planning.shadow.partitions import conditions
from tasks.model.conversion import Conversion
from tasks.model.names import quote
from tasks.model.plan import Requirement
from tasks.model.steps import Assignment


def conversions(draft: Draft) -> Iterator[Conversion]:
    """Every value has to fit into its new column; what cannot fail is not asked for."""
    types = {column.name: column.type for column in draft.new.columns}
    computed = [
        Assignment(column=name, type=types[name], expression=expression)
        for name, (expression, _) in draft.change.computed.items()
    ]
    asked = {*draft.change.ups, *draft.change.converted(draft.new), *draft.change.computed}
    for one in (*draft.forth, *computed):
        if one.column not in asked:
            continue
        read = draft.change.rehearsal.reads(draft.places.real, one.expression, draft.table.full_name)
        gives = "its expression" if one.column in draft.change.computed else "up"
        yield Conversion(
            name=f"{draft.table.full_name}.{one.column} can hold what {gives} gives, as {one.type}",
            table=draft.table.full_name,
            relation=draft.places.real,
            alias=draft.table.name,
            key=draft.key,
            sources=read.columns,
            expression=one.expression,
            type=one.type,
        )


def requirements(draft: Draft) -> Iterator[Requirement]:
    """No NULL where none may be, no two rows that cannot stand together, and no row that breaks a new check."""
    values = _values(draft)
    yield from _not_null(draft, values)
    yield from _without_a_partition(draft)
    yield from rivals.requirements(draft, values)
    yield from foreign_keys.requirements(draft, values)
    yield from _rules(draft, values)


def _keys(draft: Draft) -> str:
    return ", ".join(f"{quote(draft.table.name)}.{quote(column)}" for column in draft.key)


def _source(draft: Draft) -> str:
    return f"{draft.places.real} as {quote(draft.table.name)}"


def _mend(draft: Draft, broken: str, column: str = "<column>") -> str:
    listed = ", ".join(map(quote, draft.key))
    return f"update {draft.places.real} set {column} = <value> where ({listed}) in (\n{broken}\n)"


def _not_null(draft: Draft, values: Mapping[str, str]) -> Iterator[Requirement]:
    before = {column.name: column for column in draft.table.columns}
    changed = {*draft.change.ups, *draft.change.altered, *draft.change.computed}
    for column in draft.new.columns:
        old = before.get(column.name)
        if column.nullable or column.name not in values:
            continue
        if column.name in changed or (old is not None and old.nullable):
            broken = f"select {_keys(draft)} from {_source(draft)} where {values[column.name]} is null"
            yield Requirement(
                name=f"{draft.table.full_name}.{column.name} is not null",
                table=draft.table.full_name,
                kind="not null",
                gate="before_run",
                violations=broken,
                fix=_mend(draft, broken, _null_today(draft, column.name)),
            )


def _null_today(draft: Draft, name: str) -> str:
    """Return the column of today that is NULL: itself, or the first that the expression for it reads."""
    expression = next((one.expression for one in draft.forth if one.column == name), None)
    expression = expression or draft.change.computed.get(name, ("null", ""))[0]
    read = draft.change.rehearsal.reads(draft.places.real, expression, draft.table.full_name).columns
    return quote(name if name in read else read[0]) if read else "<column>"


def _without_a_partition(draft: Draft) -> Iterator[Requirement]:
    taken = conditions(draft.conn, draft.new_parts, draft.places.old)
    if taken:
        broken = f"select {_keys(draft)} from {_source(draft)} where not ({' or '.join(taken)})"
        yield Requirement(
            name=f"every row of {draft.table.full_name} has a partition",
            table=draft.table.full_name,
            kind="check",
            gate="before_run",
            violations=broken,
            fix=_mend(draft, broken),
        )


def coming_back(draft: Draft) -> Iterator[Requirement]:
    """Ask beforehand what the gate before the swap will: whether `down` gives the old values again.

    A column of the new table that nobody can ask for yet, because a sequence or the server fills it, cannot be read.
    """
    alias, inner, values = quote(draft.table.name), kept_step.inner(draft.table), _values(draft)
    old = [f"{alias}.{quote(name)} as {other}" for name, other in inner.items()]
    new = [f"{value} as {quote(name)}" for name, value in values.items()]
    wrong = kept_step.lost(draft, alias)
    query = (
        f"select {', '.join(f'{alias}.{inner[column]}' for column in draft.key)}"
        f" from (select {', '.join((*old, *new))} from {_source(draft)}) as {alias}\nwhere {wrong}"
    )
    if wrong and draft.change.rehearsal.can_run(query):
        keys = ", ".join(map(quote, draft.key))
        yield Requirement(
            name=kept_step.name_of_coming_back(draft),
            table=draft.table.full_name,
            kind="parity",
            gate="before_run",
            violations=query,
            fix=f"select * from {draft.places.real} where ({keys}) in (\n{query}\n)",
        )


def _values(draft: Draft) -> dict[str, str]:
    """Return what each column of the new table will have, in the names of the old one: without `up` its default.

    What the server computes, or counts, or gives by chance, is left out: nobody can ask for it without the new table.
    A column has a collation of its own, which an expression in its place would not have.
    """
    filled = {one.column for one in draft.forth}
    values = {one.column: f"({one.expression}\n)::{one.type}" for one in draft.forth}
    computed = _computed(draft)
    for column in draft.new.columns:
        if column.name in computed:
            values[column.name] = f"({computed[column.name]}\n)::{column.type}"
        default = column.default or "null"
        counted = column.generated is not None or column.identity or "nextval(" in default
        if column.name not in filled and not counted and not _by_chance(draft, default):
            values[column.name] = f"({default}\n)::{column.type}"
        if column.name in values and column.collation:
            values[column.name] += f" collate {column.collation}"
    return values


def _computed(draft: Draft) -> dict[str, str]:
    """Return what generated columns will have: what the old table has computed, or what the new expression gives."""
    change = draft.change
    moving = {*change.ups, *change.altered, *change.renamed}
    read = {d.name: {*d.columns} for d in draft.table.dependents if d.kind == "generated column"}
    kept = {
        column.name: quote(column.name)
        for column in draft.new.columns
        if column.generated is not None and column.name in read and not read[column.name] & moving
    }
    return kept | {name: expression for name, (expression, _) in change.computed.items()}


def _by_chance(draft: Draft, expression: str) -> bool:
    return draft.change.rehearsal.is_volatile(draft.places.real, expression)


def _rules(draft: Draft, values: Mapping[str, str]) -> Iterator[Requirement]:
    """No row may break a check that is new, or has new values: asked of those that the new table will have."""
    known = {constraint.definition for constraint in draft.table.constraints}
    changed = {*draft.change.ups, *draft.change.converted(draft.new), *draft.change.computed}
    for one in draft.new.constraints:
        if one.kind != "check" or not {*one.columns} <= values.keys():
            continue
        if one.definition in known and not {*one.columns} & changed:
            continue
        table, keys = quote(draft.table.name), [quote(f"_changeover_k{i}") for i in range(len(draft.key))]
        shown = [f"{table}.{quote(c)} as {k}" for c, k in zip(draft.key, keys, strict=True)]
        shown += [f"{values[column]} as {quote(column)}" for column in one.columns]
        condition = one.definition.removeprefix("CHECK ").removesuffix(" NO INHERIT")
        broken = (
            f"select {', '.join(keys)} from (select {', '.join(shown)} from {draft.places.real} as {table})"
            f" as {table} where not {condition}"
        )
        yield Requirement(
            name=f"every row of {draft.table.full_name} meets {one.name}",
            table=draft.table.full_name,
            kind="check",
            gate="before_run",
            violations=broken,
            fix=_mend(draft, broken),
        )
