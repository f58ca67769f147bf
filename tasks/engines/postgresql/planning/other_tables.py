"""Tables that a document is made of beside its own: found by a foreign key, which says that nothing is left over."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from psycopg.pq import TransactionStatus

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.inspect import inspect
from tasks.engines.postgresql.transfer_rows import OUTER, outer
from tasks.model.catalogue import Catalogue, Constraint, Index, Table
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import quote
from tasks.model.transfer import TransferSpec
from tasks.model.transfer_fields import Lookup, ValueRule
from tasks.model.transfer_steps import LookedUp

_KINDS: Final = ("table", "partitioned table")


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The tables of a spec, as they are at one moment."""

    catalogue: Catalogue
    names: Mapping[str, str]
    """Full names by what the spec calls them."""
    collations: Mapping[tuple[str, str], int]
    """By table and column, of those that have one."""

    def find(self, name: str) -> Table:
        """Return the table that the spec means."""
        return self.at(self.names[name])

    def at(self, full_name: str) -> Table:
        """Return the table with this full name."""
        found = self.catalogue.table(full_name)
        assert found is not None, "it was read with the others"
        return found


def read_tables(conn: Connection, wanted: TransferSpec, search_path: str) -> Tables:
    """Read every table that a spec names. Raises SpecError for one that is none, or is something else."""
    names = tuple(dict.fromkeys(_names(wanted)))
    idle = conn.info.transaction_status == TransactionStatus.IDLE
    with conn.transaction(force_rollback=True):
        if idle:
            conn.execute("set transaction isolation level repeatable read, read only")
        full = {name: inspect(conn, (name,), search_path).tables[0] for name in names}
        catalogue = inspect(conn, names, search_path)
        collations = {
            (table.full_name, column): collation
            for table in catalogue.tables
            for column, collation in conn.execute(
                "select attname, attcollation from pg_catalog.pg_attribute where attrelid = %s::regclass"
                " and attcollation <> 0",
                (f"{quote(table.schema_name)}.{quote(table.name)}",),
            ).fetchall()
        }
        for name, table in full.items():
            if name != wanted.table and table.kind == "table":
                _require_alone(conn, table)
    for name, table in full.items():
        if table.kind not in _KINDS:
            raise PreflightError(
                f"{table.full_name} is a {table.kind}",
                where="transfer.table" if name == wanted.table else "transfer.fields",
                hint="Name a table with a key.",
            )
    found = {name: table.full_name for name, table in full.items()}
    return Tables(catalogue=catalogue, names=found, collations=collations)


def _require_alone(conn: Connection, table: Table) -> None:
    """Refuse a table that shows rows of others as its own: no foreign key says anything about these."""
    found = conn.execute(
        "select 1 from pg_catalog.pg_inherits where inhparent = %s::regclass limit 1",
        (f"{quote(table.schema_name)}.{quote(table.name)}",),
    ).fetchone()
    if found is not None:
        raise PreflightError(
            f"other tables inherit from {table.full_name}, and their rows show in it",
            where="transfer.fields",
            hint="Leave these fields out, or let the others inherit no longer.",
        )


def _names(wanted: TransferSpec) -> Iterator[str]:
    yield wanted.rows_of
    for rule in wanted.fields.values():
        yield from _looked_up(rule)
        if rule.embed is not None:
            yield rule.embed.table
            for inner in rule.embed.fields.values():
                yield from _looked_up(inner)


def _looked_up(rule: ValueRule) -> Iterator[str]:
    if rule.lookup is not None:
        yield rule.lookup.table


def foreign_key(child: Table, parent: Table, by: tuple[str, ...], tables: Tables, at: str) -> Constraint:
    """Return the foreign key of one table that refers to another.

    Raises SpecError where it is not clear which, PreflightError where rows do not refer by equal values.
    """
    found = [one for one in child.constraints if one.kind == "foreign key" and one.referenced_table == parent.full_name]
    meant = [one for one in found if not by or {*one.columns} == {*by}]
    if len({one.columns for one in meant}) > 1 or not meant:
        several = f"{child.full_name} has {len(meant)} foreign keys that refer to {parent.full_name}"
        none = f"{child.full_name} has no foreign key{' of ' + ', '.join(by) if by else ''} to {parent.full_name}"
        listed = "; ".join(f"[{', '.join(one.columns)}]" for one in found)
        raise SpecError(
            several if meant else none,
            where=at,
            hint=f"Write `by` with the columns of one: {listed}."
            if found
            else "Make one first: it says which rows are of which, and that there are no others.",
        )
    best = [one for one in meant if one.validated and one.enabled]
    if not best:
        raise PreflightError(
            f"the foreign key {meant[0].name} of {child.full_name} is not"
            f" {'enabled' if meant[0].validated else 'valid'}: there may be rows that refer to none",
            where=at,
            hint=f'alter table {child.full_name} validate constraint "{meant[0].name}", with its triggers enabled.',
        )
    _require_equal(child, parent, best[0], tables, at)
    return best[0]


def _require_equal(child: Table, parent: Table, key: Constraint, tables: Tables, at: str) -> None:
    """Refuse a foreign key by whose columns a plain comparison would not find what refers to a row, or not by an index.

    A period has to lie within those of all rows with the rest of the key, and is seldom equal to one.
    """
    if ", PERIOD " in key.definition:
        raise PreflightError(
            f"the foreign key {key.name} of {child.full_name} compares periods of time: a row refers to several",
            where=at,
            hint="Leave this field out, or add a foreign key without a period.",
        )
    for mine, theirs in zip(key.columns, key.referenced_columns, strict=True):
        if tables.collations.get((child.full_name, mine)) != tables.collations.get((parent.full_name, theirs)):
            raise PreflightError(
                f"{mine} of {child.full_name} and {theirs} of {parent.full_name} have different collations",
                where=at,
                hint="Give both columns the same collation: what is equal by one need not be by the other.",
            )


def require_index(table: Table, columns: tuple[str, ...], at: str, why: str) -> None:
    """Refuse a table of which all rows would be read each time that those are looked for which refer to one row."""
    if any({*_found_by(index)[: len(columns)]} == {*columns} for index in table.indexes):
        return
    named = ", ".join(map(quote, columns))
    raise PreflightError(
        f"no index of {table.full_name} begins with {', '.join(columns)}: all of its rows would be read for {why}",
        where=at,
        hint=f"create index concurrently on {quote(table.schema_name)}.{quote(table.name)} ({named})",
    )


def _found_by(index: Index) -> tuple[str, ...]:
    """Return the columns by whose values an index finds rows; none where it does not find them all."""
    # One of another collation than its column has is not used for a plain comparison.
    other = index.partial or index.expressions or " COLLATE " in index.definition
    if other or not index.valid or " USING btree " not in index.definition:
        return ()
    _, _, included = index.definition.partition(" INCLUDE (")
    only = len(included.partition(")")[0].split(", ")) if included else 0
    return index.columns[: len(index.columns) - only]


def looked_up(table: Table, lookup: Lookup, tables: Tables, at: str) -> tuple[Table, LookedUp, str]:
    """Return the table that is looked into, what is looked up there, and all of it as an expression over the row."""
    other = tables.find(lookup.table)
    key = foreign_key(table, other, lookup.by, tables, at)
    if lookup.column is not None and other.column(lookup.column) is None:
        raise SpecError(
            f"{other.full_name} has no column {lookup.column!r}", where=at, hint="Correct the name of the column."
        )
    value = quote(lookup.column) if lookup.column is not None else str(lookup.up)
    alias = quote(other.name)
    if lookup.column is not None:
        value = f"{alias}.{value}"
    met = " and ".join(
        f"{alias}.{quote(column)} = {OUTER}.{OUTER}{number}" for number, column in enumerate(key.referenced_columns)
    )
    types = {column.name: column.type for column in other.columns}
    found = LookedUp(
        table=f"{quote(other.schema_name)}.{quote(other.name)}",
        full_name=other.full_name,
        expression=value,
        key=key.referenced_columns,
        types=tuple(types[column] for column in key.referenced_columns),
        columns=key.columns,
    )
    source = f"{found.table} as {alias}"
    return other, found, f"(select ({value}\n) from {outer(table.name, key.columns)}, {source} where {met})"
