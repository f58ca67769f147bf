"""Read the catalogue of PostgreSQL: what the tables of a spec look like, and all that hangs on them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tasks.engines.postgresql.catalogue import query
from tasks.engines.postgresql.catalogue.estimate import estimates
from tasks.engines.postgresql.catalogue.resolve import resolve
from tasks.engines.postgresql.catalogue.session import reading
from tasks.model.base import Record
from tasks.model.catalogue import (
    Catalogue,
    Column,
    Constraint,
    Dependent,
    InboundForeignKey,
    Index,
    OwnedSequence,
    Policy,
    Table,
    Trigger,
    TypeDefinition,
)
from tasks.model.errors import TransientError
from tasks.model.names import OWN_PREFIX

__all__ = ["estimates", "inspect", "types"]

PARTS: tuple[tuple[str, str, type[Record]], ...] = (
    ("columns", "columns", Column),
    ("indexes", "indexes", Index),
    ("constraints", "constraints", Constraint),
    ("inbound", "inbound", InboundForeignKey),
    ("triggers", "triggers", Trigger),
    ("policies", "policies", Policy),
    ("sequences", "sequences", OwnedSequence),
    ("dependents", "dependents", Dependent),
    ("publications", "dependents", Dependent),
)
"""Each query, the field of `Table` that it fills, and the record that one row makes."""

PRINTED = ("definition", "query", "partition_key", "partition_bound")
"""Fields that the server prints from the catalogue as it is now, not as the snapshot has it."""


def inspect(conn: psycopg.Connection[Any], names: Sequence[str], search_path: str) -> Catalogue:
    """Return the tables that `names` mean, sorted, and everything attached to them, of one moment.

    An unqualified name is looked up along `search_path`, as the server would. The definitions do not depend
    on any setting of the session, and no setting is changed by it. On an idle connection all is read in one
    repeatable read, read only transaction; otherwise within the present one. Takes ACCESS SHARE for the
    moment, on tables whose expressions and views are printed.

    Left out, because they may hold secrets or belong to somebody else: options of foreign data wrappers,
    security labels, bodies of trigger functions, and functions that name a table only in a string.

    Raises `SpecError` when a name means no table, `ProfileError` when the search path cannot be read,
    `TransientError` when something was dropped while it was being read.
    """
    with reading(conn, search_path) as path:
        relations = resolve(conn, names, path)
        try:
            tables = _tables(conn, relations)
        # "cache lookup failed", "could not open relation": something to be printed is no longer there.
        except psycopg.errors.InternalError_ as error:
            raise _moved(conn) from error
    version = conn.info.server_version
    return Catalogue(engine="postgresql", version=f"{version // 10000}.{version % 10000}", tables=tables)


def tables(conn: psycopg.Connection[Any], schema: str) -> tuple[str, ...]:
    """Name the tables of a schema, sorted, partitioned ones and partitions included.

    Left out are ours, and names with a dot, which `inspect` would take for a schema's.
    """
    rows = conn.execute(
        """
        select n.nspname || '.' || c.relname
        from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = %s and c.relkind in ('r', 'p') and not starts_with(c.relname, %s)
          and strpos(c.relname, '.') = 0
        order by 1
        """,
        (schema, OWN_PREFIX),
    ).fetchall()
    return tuple(row[0] for row in rows)


def types(
    conn: psycopg.Connection[Any], *, tables: Sequence[str] = (), schemas: Sequence[str] = ()
) -> tuple[TypeDefinition, ...]:
    """Return the enums, domains and composite types that columns of tables have, and all of some schemas, sorted.

    Tables by their full names as `inspect` gives them; one that is gone has no columns. Locks: none.
    """
    with reading(conn):
        rows = conn.execute(
            "select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname || '.' || c.relname = any (%s)",
            (list(tables),),
        ).fetchall()
        with conn.cursor(row_factory=dict_row) as cursor:
            found = cursor.execute(query("types"), {"tables": [row[0] for row in rows], "schemas": list(schemas)})
            return tuple(TypeDefinition.model_validate(row) for row in found)


def columns_of(conn: psycopg.Connection[Any], relation: str) -> tuple[Column, ...]:
    """Return the columns of one relation, which may be a temporary one, as `inspect` would."""
    row = conn.execute("select %s::pg_catalog.regclass::pg_catalog.oid::bigint", (relation,)).fetchone()
    assert row is not None
    with reading(conn):
        rows = list(_rows(conn, "columns", [row[0]]))
    return tuple(Column(**{field: value for field, value in one.items() if field != "table_oid"}) for one in rows)


def _tables(conn: psycopg.Connection[Any], relations: list[int]) -> tuple[Table, ...]:
    parts: dict[int, dict[str, list[Record]]] = {relation: defaultdict(list) for relation in relations}
    for name, field, record in PARTS:
        if name == "dependents" and not any(row["exists"] for row in _rows(conn, "depended_on", relations)):
            continue
        for row in _rows(conn, name, relations):
            parts[row.pop("table_oid")][field].append(record(**row))
    return tuple(Table(**parts[row.pop("table_oid")], **row) for row in _rows(conn, "tables", relations))


def _rows(conn: psycopg.Connection[Any], name: str, relations: list[int]) -> Iterator[dict[str, Any]]:
    with conn.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(query(name), {"tables": relations}):
            # The server prints NULL for what is no longer there.
            if row.pop("vanished", False) or any(row.get(field, "") is None for field in PRINTED):
                raise _moved(conn)
            yield row


def _moved(conn: psycopg.Connection[Any]) -> TransientError:
    return TransientError(
        "the catalogue changed while it was being read",
        where=f"database {conn.info.dbname}",
        hint="Run it again when nobody is changing these tables.",
    )
