"""Rows as PostgreSQL takes them: by COPY, with their account and their position in one transaction."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from profiles.model import Limits
from tasks.engines.postgresql import rejections
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.receiving import place
from tasks.engines.receiving import load as receiving
from tasks.engines.receiving.load import Standing, Written
from tasks.engines.receiving.source import Reading
from tasks.engines.records import Checkpoint, Key, Line, Shard, Touched
from tasks.engines.session import Session
from tasks.model.names import quote
from tasks.model.transfer_steps import RowTransfer, TransferColumn

_HELD: Final = 1 << 18
"""Bytes that are sent together."""


@dataclass(frozen=True)
class _Taking:
    """A session that takes rows into a table, quoted and qualified."""

    conn: Connection
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
        position, previous = (None if one is None else tuple(one) for one in row[:2])
        return Standing(position=position, previous=previous, last=int(row[2]))

    def advance(self, shard: int, low: Key | None, high: Key) -> bool:
        """Move the position; return False where another worker has moved it."""
        moved = self.conn.execute(
            f"insert into {self.action.account} as a (shard, position, previous)"
            " values (%(shard)s, %(high)s, %(low)s)"
            " on conflict (shard) do update set position = excluded.position, previous = excluded.previous"
            " where a.position is not distinct from %(low)s::text[]",
            {"shard": shard, "high": list(high), "low": None if low is None else list(low)},
        ).rowcount
        return bool(moved)

    def take(self, lines: Iterator[Line]) -> int:
        """Write rows as they come."""
        return send(self.conn, self.into, self.action.columns, lines)

    def note_rejected(self, rows: Sequence[tuple[Key, Sequence[Touched]]]) -> None:
        """Write down which rows were left out, and why."""
        rejections.note_rejected(self.conn, self.action.rejected, rows)

    def note(self, shard: int, written: Written) -> None:
        """Add to the account of a shard."""
        self.conn.execute(
            f"update {self.action.account} set last = %(read)s, read = read + %(read)s,"
            " written = written + %(written)s, rejected = rejected + %(rejected)s where shard = %(shard)s",
            {"shard": shard, **written.model_dump()},
        )


def load(
    conn: Connection,
    ledger: Session,
    reading: Reading,
    action: RowTransfer,
    shard: Shard,
    number: int,
    epoch: int,
    limits: Limits,
    checkpoint: Checkpoint,
    between: Callable[[int], int | None],
) -> int:
    """Work through a shard and return the rows read: see `tasks.engines.receiving.load`."""
    conn.execute("set statement_timeout = 0")
    taking = _Taking(conn, action, action.into.staged)
    return receiving.load(taking, ledger, reading, shard, number, epoch, limits, checkpoint, between)


def write(conn: Connection, action: RowTransfer, into: str, lines: Iterable[Line]) -> Written:
    """Write rows into a table, and note which are left out, and why; raises StepError where one is lost."""
    return receiving.write(_Taking(conn, action, into), lines)


def send(conn: Connection, into: str, columns: Sequence[TransferColumn], lines: Iterable[Line]) -> int:
    """Send lines as they come, and return how many rows they have become. Few are held, whatever their size."""
    listed = ", ".join(quote(one.name) for one in columns)
    with conn.cursor() as cursor:
        with cursor.copy(f"copy {into} ({listed}) from stdin".encode()) as copy:
            held = bytearray()
            for one in lines:
                held += one.line + b"\n"
                if len(held) >= _HELD:
                    copy.write(bytes(held))
                    held.clear()
            copy.write(bytes(held))
        return cursor.rowcount
