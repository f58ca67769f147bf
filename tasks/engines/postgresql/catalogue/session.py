"""The transaction in which a catalogue is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from tasks.engines.postgresql.catalogue import query
from tasks.model.errors import ProfileError


@contextmanager
def reading(conn: psycopg.Connection[Any], search_path: str = "") -> Iterator[list[str]]:
    """Read within one snapshot, with settings that make definitions comparable; yield the path.

    An idle connection gets a transaction of its own, repeatable read and read only; otherwise a savepoint of
    the present transaction, whose isolation decides. Either is rolled back at the end, so that the settings
    never outlive it, even when the transaction around it goes on.

    Raises `ProfileError` when the search path cannot be read.
    """
    idle = conn.info.transaction_status == TransactionStatus.IDLE
    with conn.transaction(force_rollback=True):
        if idle:
            conn.execute("set transaction isolation level repeatable read, read only")
        path = _schemas(conn, search_path)
        conn.execute(query("settings"))
        yield path


def _schemas(conn: psycopg.Connection[Any], search_path: str) -> list[str]:
    """Let the server read the search path: quoting, `$user` and missing schemas are its business."""
    with conn.cursor() as cursor:
        try:
            cursor.execute("select pg_catalog.set_config('search_path', %s, true)", (search_path,))
        except psycopg.errors.InvalidParameterValue as error:
            raise ProfileError(
                "search_path is not a list of schemas",
                where=f"database {conn.info.dbname}, search path {search_path}",
                hint="Write schemas with commas between them, and quote what is not a lower-case word.",
            ) from error
        cursor.execute("select pg_catalog.current_schemas(false)::pg_catalog.text[]")
        row = cursor.fetchone()
    return list(row[0]) if row else []
