"""The statements that make a table from its record in the catalogue, empty, in another schema.

What draws on other objects (sequences, foreign keys, triggers, policies, publications) comes at the swap. That the
statements make what the record says is not believed: the planner tries them and compares.
"""

from collections.abc import Iterator, Sequence

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.planning.attached.belongings import grants_of, privileges
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.shadow.partitions import Partition, create_partition, partitioned
from tasks.engines.postgresql.planning.shadow.places import moved, printed
from tasks.model.catalogue import Column, Constraint, Index, Table
from tasks.model.names import quote

_TABLE_PRIVILEGES = {
    "a": "insert",
    "r": "select",
    "w": "update",
    "d": "delete",
    "D": "truncate",
    "x": "references",
    "t": "trigger",
    "m": "maintain",
}


def create_table(
    table: Table, schema: str, parts: Sequence[Partition] = (), options: Sequence[str] = ()
) -> Iterator[str]:
    """Yield the statements that make the table itself, its columns and checks, for its owner, and its partitions.

    Of a partitioned table they have the storage parameters, `options`.
    """
    target = f"{quote(schema)}.{quote(table.name)}"
    listed = [_column(table, column) for column in table.columns]
    listed += [
        f"constraint {quote(c.name)} {c.definition}" for c in table.constraints if c.kind in ("check", "not null")
    ]
    unlogged = "unlogged " if table.persistence == "unlogged" else ""
    using = f" using {quote(table.access_method)}" if table.access_method else ""
    stored = f" with ({', '.join(_option(one) for one in table.options)})" if table.options else ""
    space = f" tablespace {quote(table.tablespace)}" if table.tablespace else ""
    by = f" partition by {table.partition_key}" if partitioned(table) else ""
    yield f"create {unlogged}table {target} ({', '.join(listed)}){by}{using}{stored}{space}"
    yield f"alter table {target} owner to {quote(table.owner)}"
    # Before those of the columns, which it would take away.
    yield from grants(table, target)
    if table.replica_identity in ("full", "nothing"):
        yield f"alter table {target} replica identity {table.replica_identity}"
    if table.comment is not None:
        yield f"comment on table {target} is {literal(table.comment)}"
    for column in table.columns:
        yield from _settings(target, column)
    for one in table.constraints:
        if one.comment is not None and one.kind in ("check", "not null"):
            yield comment_on(target, one)
    for part in parts:
        yield from create_partition(table, part, schema, [_option(one) for one in options])


def _option(option: str) -> str:
    name, _, value = option.partition("=")
    return f"{name}={literal(value)}"


def _column(table: Table, column: Column) -> str:
    parts = [quote(column.name), column.type]
    if column.collation:
        parts.append(f"collate {column.collation}")
    if column.generated is not None:
        parts.append(f"generated always as ({column.generated}) {'virtual' if column.virtual else 'stored'}")
    elif column.default is not None and not draws(table, column.name):
        parts.append(f"default {column.default}")
    named = any(c.kind == "not null" and c.columns == (column.name,) for c in table.constraints)
    if not column.nullable and not named:
        parts.append("not null")
    return " ".join(parts)


def draws(table: Table, column: str) -> bool:
    """Tell whether a column draws from a sequence of its own; its default, or its identity, moves at the swap."""
    return any(sequence.column == column for sequence in table.sequences)


def _settings(target: str, column: Column) -> Iterator[str]:
    alter = f"alter table {target} alter column {quote(column.name)}"
    if column.storage:
        yield f"{alter} set storage {column.storage}"
    if column.compression:
        yield f"{alter} set compression {column.compression}"
    if column.statistics_target is not None:
        yield f"{alter} set statistics {column.statistics_target}"
    if column.options:
        yield f"{alter} set ({', '.join(_option(one) for one in column.options)})"
    if column.comment is not None:
        yield f"comment on column {target}.{quote(column.name)} is {literal(column.comment)}"
    yield from grants_of(target, column.name, column.grants)


def grants(table: Table, target: str) -> Iterator[str]:
    """Grant exactly what is granted: default privileges of the schema or of the role must not add to it."""
    yield f"revoke all on table {target} from public, {quote(table.owner)}"
    for role, letter, option in privileges(table.grants):
        yield f"grant {_TABLE_PRIVILEGES[letter]} on table {target} to {role}{option}"


def comment_on(target: str, constraint: Constraint) -> str:
    """Return the statement that gives a constraint its comment."""
    text = literal(constraint.comment) if constraint.comment is not None else "null"
    return f"comment on constraint {quote(constraint.name)} on {target} is {text}"


def at_once(table: Table, key: Index) -> tuple[Index, ...]:
    """Return the indexes that the empty table gets: that of the key by which rows are found, and what has to be there.

    A concurrent index can become neither an exclusion constraint nor a key over ranges, nor be that of all partitions.
    """
    if partitioned(table):
        return table.indexes
    constraints = {c.name: c for c in table.constraints}
    return tuple(
        index
        for index in table.indexes
        if index.name == key.name
        or index.primary
        or index.without_overlaps
        or (index.constraint is not None and constraints[index.constraint].kind == "exclusion")
    )


def create_index(conn: Connection, table: Table, index: Index, schema: str, *, concurrently: bool = False) -> str:
    """Return the statement that makes an index, or the constraint that it belongs to, on the table in a schema."""
    constraint = table.constraint(index.constraint) if index.constraint else None
    if constraint is not None and not concurrently:
        target = f"{quote(schema)}.{quote(table.name)}"
        return f"alter table {target} add constraint {quote(constraint.name)} {constraint.definition}"
    there = printed(conn, schema, table.name)
    # Of a partitioned table it is printed as the one of the table alone, and shall be that of all partitions.
    statement = moved(conn, index.definition, table, schema).replace(f" ON ONLY {there} ", f" ON {there} ", 1)
    return statement.replace("INDEX ", "INDEX CONCURRENTLY ", 1) if concurrently else statement


def finish_index(table: Table, index: Index, schema: str, *, attach: bool) -> Iterator[str]:
    """Yield what an index gets once it is there: its constraint, its comments, its roles."""
    target = f"{quote(schema)}.{quote(table.name)}"
    name = f"{quote(schema)}.{quote(index.name)}"
    constraint = table.constraint(index.constraint) if index.constraint else None
    if constraint is not None:
        if attach:
            deferrable = " deferrable" if constraint.deferrable else ""
            deferred = " initially deferred" if constraint.deferred else ""
            yield (
                f"alter table {target} add constraint {quote(constraint.name)} {constraint.kind}"
                f" using index {quote(index.name)}{deferrable}{deferred}"
            )
        if constraint.comment is not None:
            yield comment_on(target, constraint)
    if index.comment is not None:
        yield f"comment on index {name} is {literal(index.comment)}"
    for one in index.statistics_targets:
        position, _, wanted = one.partition("=")
        yield f"alter index {name} alter column {position} set statistics {wanted}"
    if index.clustered:
        yield f"alter table {target} cluster on {quote(index.name)}"
    if index.replica_identity:
        yield f"alter table {target} replica identity using index {quote(index.name)}"


def statistics(conn: Connection, table: Table, schema: str) -> Iterator[str]:
    """Yield what makes the extended statistics of the table in a schema."""
    for one in table.dependents:
        if one.kind == "statistics":
            own, _, name = one.name.rpartition(".")
            definition = moved(conn, one.definition, table, schema)
            here, there = printed(conn, own, name), printed(conn, schema, name)
            yield from (part.replace(here, there, 1) for part in definition.split("; alter statistics ", 1)[:1])
            if "; alter statistics " in definition:
                rest = definition.split("; alter statistics ", 1)[1]
                yield "alter statistics " + rest.replace(here, there, 1)
            yield f"alter statistics {there} owner to {quote(table.owner)}"
