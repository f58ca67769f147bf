"""What the new table demands of the rows that are there, asked before anything is done."""

from collections.abc import Iterator, Mapping

from tasks.engines.postgresql.planning.keys import key_columns
from tasks.engines.postgresql.planning.shadow.draft import Draft
from tasks.engines.postgresql.planning.shadow.partitions import conditions
from tasks.model.conversion import Conversion
from tasks.model.names import quote
from tasks.model.plan import Requirement


def conversions(draft: Draft) -> Iterator[Conversion]:
    """Every value has to fit into its new column; what cannot fail is not asked for."""
    for one in draft.forth:
        if one.column not in {*draft.change.ups, *draft.change.converted(draft.new)}:
            continue
        read = draft.change.rehearsal.reads(draft.places.real, one.expression, draft.table.full_name)
        yield Conversion(
            name=f"{draft.table.full_name}.{one.column} can hold what up gives, as {one.type}",
            table=draft.table.full_name,
            relation=draft.places.real,
            alias=draft.table.name,
            key=draft.key,
            sources=read.columns,
            expression=one.expression,
            type=one.type,
        )


def requirements(draft: Draft) -> Iterator[Requirement]:
    """No NULL where none may be, nothing twice under a key whose values are new, and no row that breaks a new check."""
    before = {column.name: column for column in draft.table.columns}
    values = _values(draft)
    source = f"{draft.places.real} as {quote(draft.table.name)}"
    keys = ", ".join(f"{quote(draft.table.name)}.{quote(column)}" for column in draft.key)
    changed = {*draft.change.ups, *draft.change.altered}
    for column in draft.new.columns:
        old = before.get(column.name)
        if column.nullable or column.name not in values:
            continue
        if column.name in changed or (old is not None and old.nullable):
            yield Requirement(
                name=f"{draft.table.full_name}.{column.name} is not null",
                table=draft.table.full_name,
                kind="not null",
                gate="before_run",
                violations=f"select {keys} from {source} where {values[column.name]} is null",
            )
    yield from _without_a_partition(draft, source, keys)
    for index in draft.new.indexes:
        columns = key_columns(draft.new, index)
        known = any(i.unique and key_columns(draft.table, i) == columns and not i.partial for i in draft.table.indexes)
        if not index.unique or index.partial or index.expressions or not columns or not {*columns} <= values.keys():
            continue
        if known and not {*columns} & changed:
            continue
        listed = ", ".join(f"{values[c]} as {quote(f'k{i}')}" for i, c in enumerate(columns))
        names = ", ".join(quote(f"k{i}") for i in range(len(columns)))
        present = " and ".join(f"{quote(f'k{i}')} is not null" for i in range(len(columns)))
        filled = "" if "NULLS NOT DISTINCT" in index.definition else f" where {present}"
        yield Requirement(
            name=f"{draft.table.full_name} is unique by {index.name}",
            table=draft.table.full_name,
            kind="unique",
            gate="before_run",
            violations=f"select {names} from (select {listed} from {source}) as keys{filled}"
            f" group by {names} having count(*) > 1",
        )
    yield from _rules(draft, values)


def _without_a_partition(draft: Draft, source: str, keys: str) -> Iterator[Requirement]:
    taken = conditions(draft.conn, draft.new_parts, draft.places.old)
    if taken:
        yield Requirement(
            name=f"every row of {draft.table.full_name} has a partition",
            table=draft.table.full_name,
            kind="check",
            gate="before_run",
            violations=f"select {keys} from {source} where not ({' or '.join(taken)})",
        )


def _values(draft: Draft) -> dict[str, str]:
    """Return what each column of the new table will have, in the names of the old one: without `up` its default.

    What the server computes, or counts, is left out: nobody can ask for it without the new table.
    """
    values = {
        column.name: f"({column.default or 'null'}\n)::{column.type}"
        for column in draft.new.columns
        if column.generated is None and not column.identity and "nextval(" not in (column.default or "")
    }
    return values | {a.column: f"({a.expression}\n)::{a.type}" for a in draft.forth}


def _rules(draft: Draft, values: Mapping[str, str]) -> Iterator[Requirement]:
    """No row may break a check that is new: asked of the values that the new table will have."""
    known = {constraint.name for constraint in draft.table.constraints}
    for one in draft.new.constraints:
        if one.kind != "check" or one.name in known or not {*one.columns} <= values.keys():
            continue
        table, keys = quote(draft.table.name), [quote(f"_changeover_k{i}") for i in range(len(draft.key))]
        shown = [f"{table}.{quote(c)} as {k}" for c, k in zip(draft.key, keys, strict=True)]
        shown += [f"{values[column]} as {quote(column)}" for column in one.columns]
        condition = one.definition.removeprefix("CHECK ").removesuffix(" NO INHERIT")
        yield Requirement(
            name=f"every row of {draft.table.full_name} meets {one.name}",
            table=draft.table.full_name,
            kind="check",
            gate="before_run",
            violations=f"select {', '.join(keys)} from (select {', '.join(shown)} from {draft.places.real} as {table})"
            f" as {table} where not {condition}",
        )
