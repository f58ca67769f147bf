"""How the ledger talks to the database: rows by name, transactions of the caller, one clock, named locks.

The same on every engine. Statements that both speak are plain strings; of the others, a `Statement` holds both side
by side. On MariaDB the ledger lies beside the tables, as `changeover_…`, because there a schema is a database.
"""

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, LiteralString

from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Json, Jsonb
from pydantic import AfterValidator

from tasks.engines.mysql.session import MariaSession
from tasks.engines.session import Session
from tasks.model.errors import StepError

Connection = Session
Parameters = Mapping[str, object] | Sequence[object]

Instant = Annotated[datetime, AfterValidator(lambda at: at.astimezone(UTC))]
"""A moment, shown in UTC whatever the time zone of the session."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What one dialect cannot say in the words of the other."""

    postgresql: LiteralString
    mysql: tuple[LiteralString, ...]
    """Run in turn; the first says how many rows it touched, the last one answers."""
    json: tuple[str, ...] = ()
    """Columns that MariaDB, which has no type for it, returns as text."""

    @classmethod
    def same(cls, text: LiteralString, *json: str) -> "Statement":
        """Return a statement that both speak, with the columns that hold JSON."""
        return cls(postgresql=text, mysql=(text,), json=json)


def all_rows(conn: Connection, query: LiteralString | Statement, parameters: Parameters = ()) -> list[DictRow]:
    """Run a query and return its rows by name, whatever the row factory of the caller's connection."""
    if isinstance(conn, MariaSession):
        return _on_maria(conn, query, parameters)[1]
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_on_postgresql(query), parameters).fetchall()


def one_row(conn: Connection, query: LiteralString | Statement, parameters: Parameters = ()) -> DictRow | None:
    """Run a query and return its first row by name, or None."""
    if isinstance(conn, MariaSession):
        return next(iter(_on_maria(conn, query, parameters)[1]), None)
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_on_postgresql(query), parameters).fetchone()


def write(conn: Connection, statement: LiteralString | Statement, parameters: Parameters = ()) -> int:
    """Run a statement and return how many rows it touched."""
    if isinstance(conn, MariaSession):
        return _on_maria(conn, statement, parameters)[0]
    return conn.execute(_on_postgresql(statement), parameters).rowcount


def write_many(conn: Connection, statement: LiteralString | Statement, rows: Sequence[Sequence[object]]) -> None:
    """Run a statement once for each row."""
    if isinstance(conn, MariaSession):
        for row in rows:
            _on_maria(conn, statement, row)
        return
    with conn.cursor() as cursor:
        cursor.executemany(_on_postgresql(statement), rows)


def _on_postgresql(query: LiteralString | Statement) -> LiteralString:
    return query.postgresql if isinstance(query, Statement) else query


def _on_maria(
    conn: MariaSession, query: LiteralString | Statement, parameters: Parameters
) -> tuple[int, list[DictRow]]:
    """Run a statement, and return the rows that its first part touched, and those that its last part gives."""
    parts: tuple[str, ...] = query.mysql if isinstance(query, Statement) else (query,)
    columns = query.json if isinstance(query, Statement) else ()
    touched, rows = -1, list[DictRow]()
    for number, part in enumerate(parts):
        cursor = conn.execute(part.replace("changeover.", "changeover_"), _plain(parameters), by_name=True)
        touched = cursor.rowcount if number == 0 else touched
        rows = [_read(row, columns) for row in cursor.fetchall()]
    return touched, rows


def _plain(parameters: Parameters) -> Any:
    if isinstance(parameters, Mapping):
        return {name: _value(value) for name, value in parameters.items()}
    return tuple(_value(value) for value in parameters)


def _value(value: object) -> object:
    if isinstance(value, Jsonb | Json):
        return json.dumps(value.obj, ensure_ascii=False)
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


def _read(row: Mapping[str, Any], columns: Sequence[str]) -> DictRow:
    read: DictRow = {}
    for name, value in row.items():
        if isinstance(value, datetime):
            read[name] = value.replace(tzinfo=UTC)
        elif name in columns and value is not None:
            read[name] = json.loads(value)
        else:
            read[name] = value
    return read


def database_of(conn: Connection) -> str:
    """Return the name of the database."""
    return conn.database if isinstance(conn, MariaSession) else conn.info.dbname


def lock_until_commit(conn: Connection, name: str, *, shared: bool = False) -> None:
    """Take a named lock until the end of the transaction; those who share it do not wait for each other.

    On MariaDB, whose named locks outlive transactions, it is a row of `changeover_locks`, made with what it is for.
    """
    if isinstance(conn, MariaSession):
        manner = "lock in share mode" if shared else "for update"
        conn.execute(f"select name from changeover_locks where name = %s {manner}", (name,))
        return
    function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    conn.execute(f"select {function}(%s)", (lock_key(name),))


def make_lock(conn: Connection, name: str) -> None:
    """Make a named lock known; on PostgreSQL every name is."""
    if isinstance(conn, MariaSession):
        conn.execute("insert into changeover_locks (name) values (%s) on duplicate key update name = name", (name,))


_HAS_TABLE = Statement(
    postgresql="""
        select 1 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where n.nspname = 'changeover' and c.relname = %s
        """,
    mysql=(
        """
        select 1 from information_schema.tables
         where table_schema = database() and table_name = concat('changeover_', %s)
        """,
    ),
)


def has_table(conn: Connection, name: str) -> bool:
    """Return True when the ledger has this table.

    Reads the catalogue's tables: `to_regclass` answers from a cache, which does not hear in the middle of a
    transaction of what another one has committed (reproduced with two installers).
    """
    return one_row(conn, _HAS_TABLE, (name,)) is not None


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
    if isinstance(conn, MariaSession):
        return not conn.in_transaction
    return conn.autocommit and conn.info.transaction_status is TransactionStatus.IDLE
