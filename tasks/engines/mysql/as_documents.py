"""Rows of MariaDB that become documents: what `tasks.engines.mongodb.sides` asks of a session.

What is sent for a value is a number, a text, or bytes, from which it can be made exactly; the text of a FLOAT, say, is
shorter than its value.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from operator import itemgetter
from typing import Any, Final

import pymysql

from tasks.engines.mysql import blockers
from tasks.engines.mysql import transfer_rows as reading
from tasks.engines.mysql.key_ranges import condition, end_of_batch, key_text, last_key, one_of
from tasks.engines.mysql.names import quote
from tasks.engines.mysql.receiving.follow import digests
from tasks.engines.mysql.receiving.load import note_rejected as note_in
from tasks.engines.mysql.receiving.place import bare, exists
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.transient import code_of, is_transient
from tasks.engines.notes import among
from tasks.engines.records import Key, Touched
from tasks.model.transfer_steps import DocumentTransfer, TransferField

__all__ = [
    "account", "between", "count_rejected", "emptied", "end_of_batch", "forget_rejected", "has", "last_key",
    "note_rejected", "noted", "pending", "prepare", "refuse_waiting", "rejected", "rows", "rows_noted", "rows_of",
    "rows_written", "snapshot", "unidentified", "unread",
]  # fmt: skip
"""The whole of a `Side`, also what stands elsewhere; and what is read of some notes."""
_STATEMENT: Final = 200_000
"""Bytes of keys in a statement, which may be twice as many in it: the least that servers take is a megabyte."""
_BYTES: Final = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")
_TEXTS: Final = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "json", "enum", "set")


def prepare(conn: MariaSession, search_path: str) -> None:  # noqa: ARG001 - MariaDB has none
    """Let the server wait for whoever takes its rows."""
    reading.prepare(conn)


def has(conn: MariaSession, table: str) -> bool:
    """Tell whether there is a table of ours, quoted."""
    return exists(conn, bare(table))


def rows(conn: MariaSession, action: DocumentTransfer, low: Key | None, high: Key | None) -> list[tuple[Any, ...]]:
    """Return the rows of a range that are to be copied, of one snapshot."""
    with between(conn, action, low, high) as found:
        return list(found)


@contextmanager
def between(
    conn: MariaSession, action: DocumentTransfer, low: Key | None, high: Key | None
) -> Iterator[Iterator[tuple[Any, ...]]]:
    """Read them as they come. Nothing else is done on the session meanwhile."""
    with _read(conn, action, _of_table(action, condition(action, low, high))) as found:
        yield found


def rows_of(conn: MariaSession, action: DocumentTransfer, keys: Sequence[Key]) -> Iterator[tuple[Any, ...]]:
    """Read the rows with these keys that are to be copied, as they come. Nothing else is done meanwhile."""
    for some in _in_parts(keys):
        with _read(conn, action, _of_table(action, one_of(action, some))) as found:
            yield from found


def rows_noted(conn: MariaSession, action: DocumentTransfer, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    """Return key and `_id` of what notes tell of, each once, as if the rows were still there."""
    with _identities(conn, action, among(numbers)) as found:
        return list(found)


@contextmanager
def rows_written(
    conn: MariaSession, action: DocumentTransfer, numbers: Sequence[int]
) -> Iterator[Iterator[tuple[Any, ...]]]:
    """Read the rows that notes tell of, as far as they are there and to be copied, as they come."""
    which, source = reading.of_notes(action, among(numbers))
    with _read(conn, action, _kept(action, f"from {source} where ({which})")) as found:
        yield found


@contextmanager
def snapshot(conn: MariaSession, search_path: str) -> Iterator[None]:
    """Let everything that is read be of one moment. Holds the metadata of the table: its DDL waits."""
    prepare(conn, search_path)
    with reading.Reading(conn).snapshot():
        yield


def refuse_waiting(conn: MariaSession, free: MariaSession, action: DocumentTransfer) -> None:  # noqa: ARG001
    """Raise StateError where somebody waits to change the table; the session that reads it may be amid an answer."""
    blockers.refuse_waiting(free, action.table)


def noted(conn: MariaSession, action: DocumentTransfer, most: int) -> Generator[list[tuple[Any, ...]]]:
    """Yield key and `_id` of what notes tell of, each once, so many at a time."""
    held: list[tuple[Any, ...]] = []
    with _identities(conn, action, "true") as found:
        for one in found:
            held.append(one)
            if len(held) == most:
                yield held
                held = []
    if held:
        yield held


def pending(conn: MariaSession, action: DocumentTransfer, keys: Sequence[Key]) -> set[Key]:
    """Return those of these keys that are noted. A note has the very text of a key: an UPDATE notes both."""
    noted_: set[Key] = set()
    for some in _in_parts(keys):
        found = conn.execute(f"select {', '.join(_keys(action))} from {action.notes} where {one_of(action, some)}")
        noted_.update(tuple(map(str, row)) for row in found.fetchall())
    return set(keys) & noted_


def emptied(conn: MariaSession, action: DocumentTransfer) -> bool:  # noqa: ARG001
    """Return False: no TRUNCATE is noted. It is asked for by a gate."""
    return False


def unidentified(conn: MariaSession, action: DocumentTransfer) -> tuple[int, int]:
    """Count rows whose `_id` is null, and those that have the `_id` of another, to the byte."""
    # Whatever it is, two values of one type have the same bytes only where they are the same.
    made = f"select cast(({action.fields[0].expression}\n) as binary) as i {_of_table(action, 'true')}"
    row = conn.execute(f"select count(*) - count(i), count(i) - count(distinct i) from ({made}) as r").fetchone()
    return int(row[0]), int(row[1])


def unread(error: Exception) -> str:
    """Say why rows cannot be read; nothing where that passes, or is no error of the server."""
    if not isinstance(error, pymysql.err.MySQLError) or is_transient(error):
        return ""
    return f"error {code_of(error)}"


def note_rejected(
    conn: MariaSession, action: DocumentTransfer, touched: Sequence[tuple[Key, Sequence[Touched]]]
) -> None:
    """Write down which rows were left out, and why."""
    note_in(conn, action.rejected, touched)


def rejected(conn: MariaSession, action: DocumentTransfer, keys: Sequence[str]) -> set[str]:
    """Return which of these keys, as text, have a note of a rejection."""
    found: set[str] = set()
    for listed in digests(keys):
        rows_ = conn.execute(f"select distinct `key` from {action.rejected} where key_hash in ({listed})").fetchall()
        found.update(str(row[0]) for row in rows_)
    return found


def count_rejected(conn: MariaSession, action: DocumentTransfer) -> int:
    """Return how many keys have a note of a rejection."""
    return int(conn.execute(f"select count(distinct key_hash) from {action.rejected}").fetchone()[0])


def forget_rejected(conn: MariaSession, action: DocumentTransfer, keys: Sequence[str]) -> None:
    """Delete the notes of rejections of these keys, as text."""
    if conn.execute(f"select 1 from {action.rejected} limit 1").fetchone() is None:
        return
    for listed in digests(keys):
        conn.execute(f"delete from {action.rejected} where key_hash in ({listed})")


def account(conn: MariaSession, action: DocumentTransfer, number: int, read: int, written: int, left_out: int) -> None:
    """Add to the account of a shard."""
    conn.execute(
        f"insert into {action.account} (shard, `read`, written, rejected) values (%s, %s, %s, %s)"
        " on duplicate key update `read` = `read` + values(`read`), written = written + values(written),"
        " rejected = rejected + values(rejected)",
        (number, read, written, left_out),
    )


@contextmanager
def _read(conn: MariaSession, action: DocumentTransfer, tail: str) -> Iterator[Iterator[tuple[Any, ...]]]:
    """Read rows as they come: the key as text, then what is sent for each field that is read, and its text or None."""
    width, sent = len(action.key), [*range(len(action.key))]
    texts = [_has_text(field) for field in action.fields if field.expression]
    last = width + len(texts) + sum(texts)
    for text in texts:
        sent += [width, width + 1 if text else last]
        width += 1 + text
    # What is not sent need not be read, which is what takes longest here.
    spread = itemgetter(*sent)
    with closing(conn.stream(selection(action, tail))) as found:
        yield (spread((*row, None)) for row in found)


def selection(action: DocumentTransfer, tail: str) -> str:
    """Return the query of rows: the key as text, then the value of each field that is read; its text if it may serve.

    `tail`: from where, and which.
    """
    read = [field for field in action.fields if field.expression]
    keys = [f"{key} as _changeover_k{number}" for number, key in enumerate(_keys(action))]
    values = [f"({field.expression}\n) as {reading.value_name(number)}" for number, field in enumerate(read)]
    listed = [f"_changeover_k{number}" for number in range(len(action.key))]
    for number, field in enumerate(read):
        value = reading.value_name(number)
        listed += [_wire(field, value), *([_text(field, value)] if _has_text(field) else [])]
    return f"select {', '.join(listed)} from (select {', '.join([*keys, *values])} {tail}) as r"


def _has_text(field: TransferField) -> bool:
    return field.unfit in ("string", "tag")


def _identities(
    conn: MariaSession, action: DocumentTransfer, which: str
) -> AbstractContextManager[Iterator[tuple[Any, ...]]]:
    # Told apart by their bytes, whatever a collation calls equal.
    apart = ", ".join(f"cast({quote(column)} as binary)" for column in action.key)
    tail = f"from {action.notes} as {quote(action.alias)} where {which} group by {apart}"
    return _read(conn, action.as_noted, tail)


def _in_parts(keys: Sequence[Key]) -> Iterator[list[Key]]:
    """Yield so many keys together as a statement holds, however long they are."""
    some: list[Key] = []
    size = 0
    for key in keys:
        some.append(key)
        size += sum(len(text.encode()) for text in key)
        if size >= _STATEMENT:
            yield some
            some, size = [], 0
    if some:
        yield some


def _keys(action: DocumentTransfer) -> list[str]:
    return [key_text(column, kind) for column, kind in zip(action.key, action.key_types, strict=True)]


def _of_table(action: DocumentTransfer, which: str) -> str:
    # Without being told, the server may read the whole table for each range.
    return _kept(action, f"from {action.table} as {quote(action.alias)} force index (primary) where ({which})")


def _kept(action: DocumentTransfer, tail: str) -> str:
    return f"{tail} and ({action.where}\n)" if action.where else tail


def _wire(field: TransferField, value: str) -> str:
    match field.holds:
        case "int32" | "int64" | "boolean":
            # A sum has no ZEROFILL, and a BIT is a number in it.
            return f"({value} + 0)"
        case "decimal":
            return f"cast(({value} + 0) as char)"
        case "double":
            return f"cast({value} as double)"
        case "enum":
            return f"concat({value} + 0, ' ', {_text(field, value)})"
        case "binary" | "objectId" if _name(field) in _BYTES:
            return f"cast({value} as binary)"
    return _text(field, value)


def _text(field: TransferField, value: str) -> str:
    if _name(field) in _BYTES:
        return f"concat('0x', hex({value}))"
    if _name(field) == "bit":
        return f"cast(({value} + 0) as char)"
    return f"convert({value} using utf8mb4)" if _name(field) in _TEXTS else f"cast({value} as char)"


def _name(field: TransferField) -> str:
    found = re.match(r"[a-z0-9]+", field.source_type.lower())
    return found[0] if found else ""
