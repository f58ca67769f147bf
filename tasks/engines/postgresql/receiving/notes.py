"""Notes of what was written to a source that tells of it by a stream, and how far that stream was read.

Notes of a stretch of the stream, and the place at its end, commit together: so whoever reads on, and be it a process
that was taken for dead, begins where the notes end. A note says only that there was a write; it may be there twice.
"""

from collections.abc import Sequence

from tasks.engines.notes import among
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.receiving.place import present
from tasks.engines.receiving.lines import lines_of
from tasks.engines.receiving.source import Position
from tasks.model.errors import DataChanged, StepError
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


def position(conn: Connection, action: RowTransfer) -> Position:
    """Return how far the stream was read."""
    row = conn.execute(f"select token, moment from {action.into.stream}").fetchone()
    if row is None:
        raise StepError(
            f"{action.into.stream} is empty: it says how far the stream of changes was read",
            where=action.table,
            hint="Roll back, then run again: it copies everything anew.",
            changed=DataChanged.PARTIALLY,
        )
    return Position(token=row[0], moment=row[1])


def add(conn: Connection, action: RowTransfer, known: Position, keys: Sequence[str], reached: Position) -> bool:
    """Add notes and move the place, in one transaction; return False, and do nothing, where another has moved it."""
    with conn.transaction():
        moved = conn.execute(
            f"update {action.into.stream} set token = %s, moment = %s where token = %s",
            (reached.token, reached.moment, known.token),
        ).rowcount
        if moved and keys:
            # A parameter with all of them would take longer to make than this takes to send.
            with conn.cursor() as cursor, cursor.copy(f"copy {action.notes} (key) from stdin") as copy:
                copy.write(lines_of([keys]) + b"\n")
    return bool(moved)


def last(conn: Connection, action: RowTransfer) -> int:
    """Return the number of the last note; 0 where there is none."""
    row = conn.execute(f"select coalesce(max({NOTE}), 0) from {action.notes}").fetchone()
    return int(row[0]) if row else 0


def oldest(conn: Connection, action: RowTransfer, most: int, after: int = 0) -> list[tuple[int, str]]:
    """Return numbers and keys of up to `most` notes, in the order of their numbers."""
    return conn.execute(
        f"select {NOTE}, key from {action.notes} where {NOTE} > %s order by {NOTE} limit %s", (after, most)
    ).fetchall()


def forget(conn: Connection, action: RowTransfer, numbers: Sequence[int]) -> None:
    """Delete notes."""
    conn.execute(f"delete from {action.notes} where {among(numbers)}")
