"""Rows of PostgreSQL that become documents: what `tasks.engines.mongodb.sides` asks of a session."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from tasks.engines.postgresql import blockers, rejections, transfer_rows
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.key_ranges import condition, end_of_batch, last_key
from tasks.engines.postgresql.transfer_rows import ALL, LOOKUP, pending, rows, rows_of
from tasks.engines.postgresql.transient import is_transient
from tasks.engines.records import Key, Touched
from tasks.model.names import quote
from tasks.model.transfer_steps import DocumentTransfer

__all__ = [
    "account", "between", "count_rejected", "emptied", "end_of_batch", "forget_rejected", "has", "last_key",
    "note_rejected", "noted", "pending", "prepare", "refuse_waiting", "rejected", "rows", "rows_of",
    "snapshot", "unidentified", "unread",
]  # fmt: skip
"""The whole of a `Side`, also what stands elsewhere."""


def prepare(conn: Connection, search_path: str) -> None:
    """Make a session one that reads all rows, and knows the names that expressions use."""
    conn.execute("select set_config('search_path', %s, false)", (search_path,))
    transfer_rows.prepare(conn)


def has(conn: Connection, table: str) -> bool:
    """Tell whether there is a table of ours, quoted and qualified."""
    found = conn.execute("select pg_catalog.to_regclass(%s) is not null", (table,)).fetchone()
    return bool(found and found[0])


@contextmanager
def between(
    conn: Connection, action: DocumentTransfer, low: Key | None, high: Key | None
) -> Iterator[Iterator[tuple[Any, ...]]]:
    """Read the rows of a range as they are asked for, within a transaction of its own, or one that there is."""
    with conn.transaction(), transfer_rows.one_by_one(conn, action, condition(action, low, high)) as found:
        yield found


@contextmanager
def snapshot(conn: Connection, search_path: str) -> Iterator[None]:
    """Let everything that is read be of one moment."""
    transfer_rows.prepare(conn)
    with conn.transaction(force_rollback=True):
        conn.execute("set transaction isolation level repeatable read, read only")
        conn.execute("select set_config('search_path', %s, true)", (search_path,))
        yield


def refuse_waiting(conn: Connection, free: Connection, action: DocumentTransfer) -> None:  # noqa: ARG001
    """Raise StateError where somebody waits for what this session holds."""
    blockers.refuse_waiting(conn)


def noted(conn: Connection, action: DocumentTransfer, most: int) -> Generator[list[tuple[Any, ...]]]:
    """Yield key and `_id` of what notes tell of, each once, so many at a time."""
    with conn.cursor("changeover_notes") as cursor:
        cursor.execute(transfer_rows.identities(action, "true").encode())
        while bite := cursor.fetchmany(most):
            yield bite


def emptied(conn: Connection, action: DocumentTransfer) -> bool:
    """Tell whether it is noted that the whole table was emptied."""
    everything = f"select 1 from {action.notes} where {ALL} and {LOOKUP} = 0 limit 1"
    return conn.execute(everything).fetchone() is not None


def unidentified(conn: Connection, action: DocumentTransfer) -> tuple[int, int]:
    """Count rows whose `_id` is null, and those that have the `_id` of another."""
    made = action.fields[0].expression
    kept = f"where ({action.where}\n)" if action.where else ""
    row = conn.execute(
        f"select count(*) - count(i), count(i) - count(distinct i) from"
        f" (select ({made}\n) as i from {action.table} as {quote(action.alias)} {kept}) as r"
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def unread(error: Exception) -> str:
    """Say why rows cannot be read; nothing where that passes, or is no error of the server."""
    if not isinstance(error, psycopg.Error) or is_transient(error):
        return ""
    return f"{error.sqlstate} {type(error).__name__}"


def note_rejected(conn: Connection, action: DocumentTransfer, touched: Sequence[tuple[Key, Sequence[Touched]]]) -> None:
    """Write down which rows were left out, and why."""
    rejections.note_rejected(conn, action.rejected, touched)


def rejected(conn: Connection, action: DocumentTransfer, keys: Sequence[str]) -> set[str]:
    """Return which of these keys, as text, have a note of a rejection."""
    found = conn.execute(f"select distinct key from {action.rejected} where key = any(%s)", (list(keys),)).fetchall()
    return {row[0] for row in found}


def count_rejected(conn: Connection, action: DocumentTransfer) -> int:
    """Return how many keys have a note of a rejection."""
    row = conn.execute(f"select count(distinct key) from {action.rejected}").fetchone()
    return int(row[0]) if row else 0


def forget_rejected(conn: Connection, action: DocumentTransfer, keys: Sequence[str]) -> None:
    """Delete the notes of rejections of these keys, as text."""
    conn.execute(f"delete from {action.rejected} where key = any(%s)", (list(keys),))


def account(conn: Connection, action: DocumentTransfer, number: int, read: int, written: int, left_out: int) -> None:
    """Add to the account of a shard."""
    conn.execute(
        f"insert into {action.account} as a values (%s, %s, %s, %s) on conflict (shard) do update set"
        " read = a.read + excluded.read, written = a.written + excluded.written,"
        " rejected = a.rejected + excluded.rejected",
        (number, read, written, left_out),
    )
