"""What the new table demands of the rows that are there, asked before anything is done."""

from collections.abc import Iterator

from tasks.engines.postgresql.planning.keys import key_columns
from tasks.engines.postgresql.planning.shadow.assemble import Draft
from tasks.engines.postgresql.planning.shadow.partitions import conditions
from tasks.engines.postgresql.planning.shadow.rules import values_of
from tasks.model.conversion import Conversion
from tasks.model.names import quote
from tasks.model.plan import Requirement


def conversions(draft: Draft) -> Iterator[Conversion]:
    """Every value has to fit into its new column; what cannot fail is not asked for."""
    for one in draft.forth:
        if one.column not in draft.change.ups and (
            one.column not in draft.change.altered or draft.change.widens(one.column, draft.new)
        ):
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
    """No NULL where none may be, and nothing twice under a key whose values are new."""
    before = {column.name: column for column in draft.table.columns}
    values = values_of(draft)
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
