"""How the ledger talks to the database: rows by name, transactions of the caller, one clock, named locks."""

import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, LiteralString

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from pydantic import AfterValidator

from tasks.model.errors import StepError

Connection = psycopg.Connection[Any]
Parameters = Mapping[str, object] | Sequence[object]

Instant = Annotated[datetime, AfterValidator(lambda at: at.astimezone(UTC))]
"""A moment, shown in UTC whatever the time zone of the session."""


def all_rows(conn: Connection, query: LiteralString, parameters: Parameters = ()) -> list[DictRow]:
    """Run a query and return its rows by name, whatever the row factory of the caller's connection."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters).fetchall()


def one_row(conn: Connection, query: LiteralString, parameters: Parameters = ()) -> DictRow | None:
    """Run a query and return its first row by name, or None."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters).fetchone()


def write(conn: Connection, statement: LiteralString, parameters: Parameters = ()) -> int:
    """Run a statement and return how many rows it touched."""
    return conn.execute(statement, parameters).rowcount


def has_table(conn: Connection, name: str) -> bool:
    """Return True when the ledger has this table.

    Reads the catalogue's tables: `to_regclass` answers from a cache, which does not hear in the middle of a
    transaction of what another one has committed (reproduced with two installers).
    """
    row = one_row(
        conn,
        """
        select 1 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where n.nspname = 'changeover' and c.relname = %s
        """,
        (name,),
    )
    return row is not None


@contextmanager
def atomic(conn: Connection) -> Generator[None, None, None]:
    """Make several statements one: join the caller's transaction, or open one on an autocommit connection.

    A transaction of the caller, explicit or begun by an earlier statement, is neither committed nor given a
    savepoint.
    """
    if _would_autocommit(conn):
        with conn.transaction():
            yield
    else:
        yield


def require_transaction(conn: Connection, purpose: str) -> None:
    """Raise StepError when what follows would be over, lock and all, before the caller could build on it."""
    if _would_autocommit(conn):
        raise StepError(f"{purpose} needs an open transaction", hint="Call it within `with conn.transaction()`.")


def require_read_committed(isolation: str, purpose: str) -> None:
    """Raise StepError under an isolation level that goes on showing what was true before a lock was had."""
    if isolation != "read committed":
        raise StepError(
            f"{purpose} needs a read committed transaction, not a {isolation} one",
            hint="Set the isolation level of the connection to read committed.",
        )


def lock_key(name: str) -> int:
    """Return the key of the advisory lock with this name: 64 bits, the same in every process."""
    return int.from_bytes(hashlib.sha256(f"changeover:{name}".encode()).digest()[:8], signed=True)


def _would_autocommit(conn: Connection) -> bool:
    return conn.autocommit and conn.info.transaction_status is TransactionStatus.IDLE
