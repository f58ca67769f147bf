"""Rows as MariaDB takes them: by INSERT of many, with their account and their position in one transaction.

Not by LOAD DATA LOCAL: there the server takes what is wrong for a warning, and may ask for whatever file it likes.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import pymysql

from tasks.engines.mysql.names import quote
from tasks.engines.mysql.receiving import place
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.transient import code_of
from tasks.engines.postgresql.rejections import key_text
from tasks.engines.receiving.load import Standing, Written
from tasks.engines.receiving.scan import ROWS
from tasks.engines.receiving.source import MeasuringReading, Reading
from tasks.engines.records import Key, Line, Touched
from tasks.model.errors import DataChanged, PreflightError, StepError
from tasks.model.transfer_steps import RowTransfer, TransferColumn

_LONG: Final = ("longtext", "longblob", "json")
"""What other types hold fits into every packet."""
_AROUND: Final = 4096
_EACH: Final = 1024
"""Bytes of a statement beside what is long: in all, and for each column, whose name stands there up to three times."""
_HELD: Final = 1 << 18
"""Bytes that are sent together."""
_NOTES: Final = 100
"""Of rows that are left out, in one statement: with the longest keys it fits into every packet."""
_DUPLICATE: Final = 1062
_ESCAPES: Final = re.compile(rb"\\(.)", re.DOTALL)
_STRANGE: Final = {b"f": b"\f", b"v": b"\v"}
"""Escapes of COPY that MariaDB does not know; it knows the others."""


@dataclass(frozen=True)
class Taking:
    """A session that takes rows into a table, quoted."""

    conn: MariaSession
    action: RowTransfer
    into: str

    def transaction(self) -> AbstractContextManager[object]:
        """Begin, and commit at the end."""
        return self.conn.transaction()

    def hold(self, epoch: int) -> None:
        """Keep newer runs from taking over until the transaction ends."""
        place.hold(self.conn, self.action.into, epoch)

    def standing(self, shard: int) -> Standing | None:
        """Return how far a shard is."""
        asked = f"select position, previous, last from {self.action.account} where shard = %s"
        row = self.conn.execute(asked, (shard,)).fetchone()
        if row is None:
            return None
        position, previous = (None if one is None else tuple(json.loads(one)) for one in row[:2])
        return Standing(position=position, previous=previous, last=int(row[2]))

    def advance(self, shard: int, low: Key | None, high: Key) -> bool:
        """Move the position; return False where another worker has moved it."""
        before, after = (None if one is None else json.dumps(one) for one in (low, high))
        moved = self.conn.execute(
            f"update {self.action.account} set position = %s, previous = %s where shard = %s and position <=> %s",
            (after, before, shard, before),
        ).rowcount
        if moved:
            return True
        try:
            self.conn.execute(
                f"insert into {self.action.account} (shard, position, previous) values (%s, %s, %s)",
                (shard, after, before),
            )
        except pymysql.err.IntegrityError as error:
            if code_of(error) != _DUPLICATE:
                raise
            return False
        return True

    def take(self, lines: Iterator[Line]) -> int:
        """Write rows as they come."""
        return send(self.conn, self.into, self.action.columns, lines)

    def note_rejected(self, rows: Sequence[tuple[Key, Sequence[Touched]]]) -> None:
        """Write down which rows were left out, and why."""
        note_rejected(self.conn, self.action.rejected, rows)

    def note(self, shard: int, written: Written) -> None:
        """Add to the account of a shard."""
        self.conn.execute(
            f"update {self.action.account} set last = %(read)s, `read` = `read` + %(read)s,"
            " written = written + %(written)s, rejected = rejected + %(rejected)s where shard = %(shard)s",
            {"shard": shard, **written.model_dump()},
        )


def note_rejected(conn: MariaSession, into: str, rows: Sequence[tuple[Key, Sequence[Touched]]]) -> None:
    """Write down which rows were left out, and why, one note for each of their fields that is to blame."""
    notes = [
        (digest(text), one.field, text, one.reason)
        for text, touched in ((key_text(key), touched) for key, touched in rows)
        for one in touched
        if one.policy == "reject"
    ]
    for first in range(0, len(notes), _NOTES):
        some = notes[first : first + _NOTES]
        conn.execute(
            f"insert into {into} (key_hash, field, `key`, reason) values {', '.join(['(%s, %s, %s, %s)'] * len(some))}"
            " on duplicate key update reason = values(reason)",
            [value for note in some for value in note],
        )


def digest(key: str) -> bytes:
    """Return by what a key, as text, is found among those of rejected rows: no index holds a long one."""
    return hashlib.sha256(key.encode()).digest()


def send(
    conn: MariaSession, into: str, columns: Sequence[TransferColumn], lines: Iterable[Line], *, update: str = ""
) -> int:
    """Send lines as they come, and return how many rows they were. Few are held, whatever their size.

    Raises StepError where the server takes fewer. `update`: what becomes of a row that is there.
    """
    head = f"insert into {into} ({', '.join(quote(one.name) for one in columns)}) values ".encode()
    tail = f" on duplicate key update {update}".encode() if update else b""
    most = packet_of(conn)
    held: list[bytes] = []
    size = rows = sent = 0

    def put(lines: bytes) -> int:
        statement = head + literals(columns, lines) + tail
        if len(statement) < most:
            return conn.send(statement)
        if b"\n" not in lines:
            raise _too_long(into)
        # Several rows may have come as one line.
        middle = lines.find(b"\n", len(lines) // 2)
        middle = middle if middle >= 0 else lines.rfind(b"\n")
        return put(lines[:middle]) + put(lines[middle + 1 :])

    def flush() -> None:
        nonlocal size, rows, sent
        changed = put(b"\n".join(held))
        if not update and changed != rows:
            raise StepError(f"of {rows:,} rows {changed:,} were written", where=into, changed=DataChanged.PARTIALLY)
        sent += rows
        held.clear()
        size = rows = 0

    for one in lines:
        if held and size + len(one.line) > _HELD:
            flush()
        held.append(one.line)
        size += len(one.line)
        rows += one.rows
    if held:
        flush()
    return sent


def packet_of(conn: MariaSession) -> int:
    """Return how many bytes a statement may have."""
    return int(conn.execute("select @@max_allowed_packet").fetchone()[0])


def require_short(packet: int, reading: Reading, action: RowTransfer) -> None:
    """Refuse rows that no statement holds. Reads the table once, in ranges, where a value may be that long.

    Raises PreflightError with how many there are.
    """
    if not isinstance(reading, MeasuringReading) or not any(one.type in _LONG for one in action.columns):
        return
    most = packet - _AROUND - _EACH * len(action.columns)
    long, position = 0, None
    while True:
        end = reading.end_of_batch(action, position, None, ROWS)
        long += reading.longer(action, position, end, most)
        if end is None:
            break
        position = end
    if long:
        raise PreflightError(
            f"{long:,} rows are longer than max_allowed_packet ({packet:,} bytes) as statements of SQL",
            where=action.into.database,
            hint="Raise max_allowed_packet on the server, leave long columns out with `omit`, or these rows by `where`."
            " Bytes count twice, for they are sent as hexadecimal digits.",
        )


def _too_long(into: str) -> StepError:
    return StepError(
        "a row is longer than max_allowed_packet",
        where=into,
        hint="Raise max_allowed_packet on the server, or leave the long column out.",
        changed=DataChanged.PARTIALLY,
    )


def literals(columns: Sequence[TransferColumn], lines: bytes) -> bytes:
    """Return what stands behind VALUES for lines of COPY: they have the escapes of MariaDB, but for two."""
    if b"\\f" in lines or b"\\v" in lines:
        lines = _ESCAPES.sub(lambda found: _STRANGE.get(found[1], found[0]), lines)
    lines = lines.replace(b"'", b"''")
    if any(one.form == "bytes" for one in columns):
        return b",".join([_row(columns, line.split(b"\t")) for line in lines.split(b"\n")])
    # Within a value each backslash is doubled: nothing but a NULL looks like one.
    values = lines.replace(b"\t", b"','").replace(b"\n", b"'),('")
    return (b"('" + values + b"')").replace(b"'\\N'", b"NULL")


def _row(columns: Sequence[TransferColumn], values: Sequence[bytes]) -> bytes:
    made = [
        b"NULL" if value == b"\\N" else (b"x'" if one.form == "bytes" else b"'") + value + b"'"
        for one, value in zip(columns, values, strict=True)
    ]
    return b"(" + b",".join(made) + b")"
