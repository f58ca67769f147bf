"""Notes of what was written to a source that tells of it by a stream, in PostgreSQL; see `receiving.source.Notes`."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.engines.notes import among
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.receiving.place import present
from tasks.engines.receiving.lines import lines_of
from tasks.engines.receiving.place import no_position
from tasks.engines.receiving.source import Position
from tasks.model.transfer_steps import NOTE, Relation, RowTransfer


def watch(conn: Connection, action: Relation, position: Position) -> None:
    """Keep the place where the stream begins, within a transaction; nothing where one is kept."""
    present(conn, action)
    conn.execute(
        f"create table if not exists {action.notes} ({NOTE} bigint generated always as identity primary key,"
        " key text not null)"
    )
    conn.execute(
        f"create table if not exists {action.stream} (one boolean primary key default true check (one),"
        " token text not null, moment text not null)"
    )
    conn.execute(
        f"insert into {action.stream} (token, moment) values (%s, %s) on conflict (one) do nothing",
        (position.token, position.moment),
    )


@dataclass(frozen=True)
class StreamNotes:
    """Those of one copy, by a session with the target."""

    conn: Connection
    action: RowTransfer

    def position(self) -> Position:
        """Return how far the stream was read."""
        row = self.conn.execute(f"select token, moment from {self.action.into.stream}").fetchone()
        if row is None:
            raise no_position(self.action)
        return Position(token=row[0], moment=row[1])

    def add(self, known: Position, keys: Sequence[str], reached: Position) -> bool:
        """Add notes and move the place, in one transaction; return False, doing nothing, where another has moved it."""
        with self.conn.transaction():
            moved = self.conn.execute(
                f"update {self.action.into.stream} set token = %s, moment = %s where token = %s",
                (reached.token, reached.moment, known.token),
            ).rowcount
            if moved and keys:
                # A parameter with all of them would take longer to make than this takes to send.
                with self.conn.cursor() as cursor, cursor.copy(f"copy {self.action.notes} (key) from stdin") as copy:
                    copy.write(lines_of([keys]) + b"\n")
        return bool(moved)

    def last(self) -> int:
        """Return the number of the last note; 0 where there is none."""
        row = self.conn.execute(f"select coalesce(max({NOTE}), 0) from {self.action.notes}").fetchone()
        return int(row[0]) if row else 0

    def oldest(self, most: int, after: int = 0) -> list[tuple[int, str]]:
        """Return numbers and keys of up to `most` notes, in the order of their numbers."""
        return self.conn.execute(
            f"select {NOTE}, key from {self.action.notes} where {NOTE} > %s order by {NOTE} limit %s", (after, most)
        ).fetchall()

    def count(self) -> int:
        """Return of how many rows there are notes: this takes the longer, the more there are."""
        row = self.conn.execute(f"select count(distinct key) from {self.action.notes}").fetchone()
        return int(row[0]) if row else 0

    def forget(self, numbers: Sequence[int]) -> None:
        """Delete notes, within a transaction."""
        self.conn.execute(f"delete from {self.action.notes} where {among(numbers)}")
