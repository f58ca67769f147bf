"""What PostgreSQL's catalogue says of a table that is to be compared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tasks.engines.postgresql.address import redact, where
from tasks.model.errors import PreflightError
from tasks.model.names import quote
from validations.parity.exact import binary_of
from validations.parity.relation import Column, Relation

Connection = psycopg.Connection[Any]
_COLUMNS = (Path(__file__).parent / "catalogue.sql").read_bytes()
_KEYS = (Path(__file__).parent / "keys.sql").read_bytes()
_READABLE = "rpmvf"
# A view has no such columns, and a foreign table none that mean anything.
_VERSIONED = "rpm"


def relation(conn: Connection, table: str, database: str) -> Relation:
    """Describe `table` or `schema.table`; raises PreflightError when it is not there or cannot be read."""
    schema, _, name = table.rpartition(".")
    wanted = f"{quote(schema)}.{quote(name)}" if schema else quote(name)
    with conn.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(
            """
            select c.oid::bigint as oid, c.relkind::text as relkind, n.nspname::text as schema, c.relname::text as name
              from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
             where c.oid = pg_catalog.to_regclass(%s)
            """,
            (wanted,),
        ).fetchone()
        if found is None or found["relkind"] not in _READABLE:
            raise PreflightError(
                f"there is no table {table} in {database}",
                where=where(conn),
                hint="Write database.table or database.schema.table, as the catalogue spells it, without quotes.",
            )
        source = f"{quote(found['schema'])}.{quote(found['name'])}"
        place = f"{database}.{found['schema']}.{found['name']}"
        _readable(conn, source, place)
        columns = cursor.execute(_COLUMNS, {"oid": found["oid"]}).fetchall()
        keys = cursor.execute(_KEYS, {"oid": found["oid"]}).fetchall()
    return Relation(
        place=place,
        source=source,
        columns=tuple(column_of(row, f"t.{quote(row['name'])}") for row in columns),
        keys=tuple(tuple(row["columns"]) for row in keys),
        version="t.xmin::text || ' ' || t.ctid::text" if found["relkind"] in _VERSIONED else None,
    )


def _readable(conn: Connection, source: str, place: str) -> None:
    try:
        conn.execute(f"select from {source} limit 0".encode())
    except psycopg.Error as error:
        raise refused(error, place) from None


def refused(error: psycopg.Error, place: str) -> PreflightError:
    """Return what it means that a table could not be read; the message of PostgreSQL without its detail."""
    said = redact(error.diag.message_primary or type(error).__name__)
    return PreflightError(
        f"{place} cannot be read: {said}",
        where=place,
        hint="Grant select on it, or give the URL of a role that may read every row of it.",
    )


def column_of(row: Mapping[str, Any], sql: str) -> Column:
    """Return a column, or what an expression gives, from a row of the catalogue."""
    if row["is_domain"]:
        sql = f"({sql})::{row['type']}"
    return Column(
        name=row["name"],
        sql=sql,
        type=row["type"],
        kind=row["kind"],
        # By the output function: a cast to text drops the padding of char(n), and a type may have one of its own.
        text=f"pg_catalog.textin({row['output']}({sql}))",
        binary=binary_of(
            sql,
            row["kind"],
            row["oid"],
            row["send"],
            ordinary=row["ordinary"],
            exact_collation=row["deterministic"],
        ),
        generated=row["generated"],
    )


def expression(conn: Connection, source: str, place: str, name: str, sql: str) -> Column:
    """Return an expression over a table as a column; raises PreflightError if the server refuses it."""
    # Line breaks around what an author wrote: it may end in a comment.
    written = f"(\n{sql}\n)"
    try:
        with conn.cursor() as cursor:
            cursor.execute(f"select {written} from {source} as t limit 0".encode())
            described = cursor.description
    except psycopg.Error as error:
        said = redact(error.diag.message_primary or type(error).__name__)
        raise PreflightError(
            f"the expression for {name} is refused: {said}", where=place, hint="Correct it: it is SQL over the table A."
        ) from None
    if not described or len(described) != 1:
        raise PreflightError(f"the expression for {name} has to be one value", where=place, hint="Correct it.")
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            """
            with recursive base (oid) as (
              select %s::oid
              union all select t.typbasetype from base join pg_catalog.pg_type as t using (oid) where t.typtype = 'd'
            )
            select %s::text as name, t.oid <> %s::oid as is_domain, t.oid::bigint as oid, t.typname::text as kind,
                   pg_catalog.format_type(t.oid, -1) as type,
                   pg_catalog.quote_ident(o.nspname) || '.' || pg_catalog.quote_ident(op.proname) as output,
                   pg_catalog.quote_ident(s.nspname) || '.' || pg_catalog.quote_ident(sp.proname) as send,
                   t.typtype = 'b' as ordinary, false as deterministic, false as generated
              from base join pg_catalog.pg_type as t on t.oid = base.oid and t.typtype <> 'd'
              join pg_catalog.pg_proc as op on op.oid = t.typoutput
              join pg_catalog.pg_namespace as o on o.oid = op.pronamespace
              left join pg_catalog.pg_proc as sp on sp.oid = t.typsend
              left join pg_catalog.pg_namespace as s on s.oid = sp.pronamespace
            """,
            (described[0].type_code, name, described[0].type_code),
        ).fetchone()
    assert row is not None
    return column_of(row, written)
