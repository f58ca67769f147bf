"""What the tests look at: catalogue and data of every table of the user, and what a migration left behind."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from tasks.engines.postgresql.inspect import inspect
from tasks.model.catalogue import Catalogue
from tasks.model.names import quote

Connection = psycopg.Connection[Any]
Data = Mapping[str, Sequence[tuple[str | None, ...]]]
"""Rows by `table (columns)`, every value as text, sorted."""

OURS = r"'%\_changeover\_%'"


def names(conn: Connection) -> list[str]:
    """Return the full names of all tables of the user."""
    rows = conn.execute(
        "select n.nspname || '.' || c.relname from pg_catalog.pg_class c"
        " join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'p') and n.nspname not in ('changeover', 'information_schema')"
        " and n.nspname not like 'pg\\_%' order by 1"
    ).fetchall()
    return [row[0] for row in rows]


def catalogue(conn: Connection) -> Catalogue:
    """Inspect all tables of the user."""
    return inspect(conn, names(conn), "public")


def unordered(found: Catalogue) -> Catalogue:
    """Forget the order of columns: a column that was exchanged stands at the end."""
    tables = [
        table.model_copy(
            update={
                "columns": tuple(sorted(table.columns, key=lambda column: column.name)),
                "indexes": tuple(
                    i.model_copy(update={"referenced": tuple(sorted(i.referenced))}) for i in table.indexes
                ),
                # Of an expression it is not told which it reads: all are named, in their order.
                "constraints": tuple(
                    c.model_copy(update={"columns": tuple(sorted(c.columns))}) if c.kind == "exclusion" else c
                    for c in table.constraints
                ),
            }
        )
        for table in found.tables
    ]
    return found.model_copy(update={"tables": tuple(tables)})


def columns(conn: Connection) -> dict[str, list[str]]:
    """Return the columns of every table of the user, sorted, without those that nobody can know."""
    return {
        name: [
            row[0]
            for row in conn.execute(
                "select attname from pg_catalog.pg_attribute where attrelid = %s::regclass and attnum > 0"
                rf" and not attisdropped and attname not like {OURS.replace('%', '%%')} order by attname",
                (_quoted(name),),
            )
        ]
        for name in names(conn)
    }


def data(conn: Connection, of: Mapping[str, Sequence[str]]) -> Data:
    """Return the rows of tables, only these columns."""
    found: dict[str, list[tuple[str | None, ...]]] = {}
    for table, listed in of.items():
        shown = ", ".join(f"{quote(column)}::text" for column in listed) or "null"
        rows = conn.execute(f"select {shown} from {_quoted(table)}".encode()).fetchall()
        found[f"{table} ({', '.join(listed)})"] = sorted(rows, key=repr)
    return found


def leftovers(conn: Connection) -> list[str]:
    """Name everything with a name of ours outside the ledger, the trigger functions in it, and rejections."""
    rows = conn.execute(
        rf"""
        with ours as (
          select 'relation ' || relname as what from pg_class where relname like {OURS}
          union all select 'constraint ' || conname from pg_constraint where conname like {OURS}
          union all select 'trigger ' || tgname from pg_trigger where tgname like '%changeover\_%'
          union all select 'column ' || attname from pg_attribute
            where attname like {OURS} and not attisdropped
          union all select 'function ' || p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname = 'changeover' and (p.proname like 'dual%' or p.proname like 'shadow%')
          union all select 'schema ' || nspname from pg_namespace where nspname like {OURS}
          union all select 'invalid index ' || indexrelid::regclass from pg_index where not indisvalid
          union all select 'rejection ' || sqlstate from changeover.rejections
        )
        select what from ours order by 1
        """.encode()
    ).fetchall()
    return [row[0] for row in rows]


def _quoted(name: str) -> str:
    schema, _, base = name.rpartition(".")
    return f"{quote(schema)}.{quote(base)}"
