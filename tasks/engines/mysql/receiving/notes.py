"""Notes of what was written to a source that tells of it by a stream, in MariaDB; see `receiving.source.Notes`."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

from tasks.engines.mysql.receiving.place import present
from tasks.engines.mysql.session import MariaSession
from tasks.engines.notes import deletions
from tasks.engines.receiving.place import no_position
from tasks.engines.receiving.source import Position
from tasks.model.transfer_steps import NOTE, Relation, RowTransfer

_EXACT: Final = "engine=InnoDB character set utf8mb4 collate utf8mb4_nopad_bin"
_AT_ONCE: Final = 1 << 18
"""Bytes of keys that one statement has, or one key."""


def watch(conn: MariaSession, action: Relation, position: Position) -> None:
    """Keep the place where the stream begins; nothing where one is kept. Each statement commits by itself."""
    present(conn, action)
    conn.execute(
        f"create table if not exists {action.notes} ({NOTE} bigint auto_increment primary key,"
        f" `key` longtext not null) {_EXACT}"
    )
    conn.execute(
        f"create table if not exists {action.stream} (one tinyint primary key, token longtext not null,"
        f" moment longtext not null) {_EXACT}"
    )
    conn.execute(
        f"insert into {action.stream} select 1, %s, %s from (select 1) as made"
        f" where not exists (select 1 from {action.stream})",
        (position.token, position.moment),
    )


@dataclass(frozen=True)
class StreamNotes:
    """Those of one copy, by a session with the target."""

    conn: MariaSession
    action: RowTransfer

    def position(self) -> Position:
        """Return how far the stream was read."""
        return self._position("")

    def _position(self, locking: str) -> Position:
        row = self.conn.execute(f"select token, moment from {self.action.into.stream}{locking}").fetchone()
        if row is None:
            raise no_position(self.action)
        return Position(token=str(row[0]), moment=str(row[1]))

    def add(self, known: Position, keys: Sequence[str], reached: Position) -> bool:
        """Add notes and move the place, in one transaction; return False, doing nothing, where another has moved it.

        It may be within a transaction, which then is the one.
        """
        with nullcontext() if self.conn.in_transaction else self.conn.transaction():
            # Asked, for an update that changes nothing tells of no row: whoever adds waits here for the others.
            if self._position(" for update").token != known.token:
                return False
            self.conn.execute(
                f"update {self.action.into.stream} set token = %s, moment = %s", (reached.token, reached.moment)
            )
            for some in _packed(keys):
                listed = ", ".join(["(%s)"] * len(some))
                self.conn.execute(f"insert into {self.action.notes} (`key`) values {listed}", some)
        return True

    def last(self) -> int:
        """Return the number of the last note; 0 where there is none."""
        row = self.conn.execute(f"select max({NOTE}) from {self.action.notes}").fetchone()
        return int(row[0] or 0) if row else 0

    def oldest(self, most: int, after: int = 0) -> list[tuple[int, str]]:
        """Return numbers and keys of up to `most` notes, in the order of their numbers."""
        query = f"select {NOTE}, `key` from {self.action.notes} where {NOTE} > %s order by {NOTE} limit %s"
        return [(int(number), str(key)) for number, key in self.conn.execute(query, (after, most)).fetchall()]

    def count(self) -> int:
        """Return of how many rows there are notes: this takes the longer, the more there are."""
        row = self.conn.execute(f"select count(distinct sha2(`key`, 256)) from {self.action.notes}").fetchone()
        return int(row[0]) if row else 0

    def forget(self, numbers: Sequence[int]) -> None:
        """Delete notes, within a transaction."""
        for deletion in deletions(self.action.notes, numbers):
            self.conn.execute(deletion)


def _packed(keys: Sequence[str]) -> list[list[str]]:
    packs: list[list[str]] = []
    size = _AT_ONCE
    for key in keys:
        if size + len(key) > _AT_ONCE:
            packs.append([])
            size = 0
        packs[-1].append(key)
        size += len(key)
    return packs
