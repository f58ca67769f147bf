"""Carry what was written to the source since the copy began: every row that is noted becomes what it is there now.

Notes are seen, the rows are read by a later statement, written here with the account of them, and only then the notes
are deleted: here it commits first. Killed in between, the notes are still there, and the same is done once more.
"""

import time
from collections.abc import Callable, Iterator
from typing import Final

from profiles.model import Limits
from tasks.engines.batches import copied, next_size
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.receiving.load import send, write
from tasks.engines.postgresql.receiving.place import hold
from tasks.engines.postgresql.rejections import can_be_noted, key_text, refuse_lost
from tasks.engines.receiving.load import Written
from tasks.engines.receiving.source import NotedReading
from tasks.engines.records import FIRST_ROWS, Line
from tasks.engines.session import Session
from tasks.model.base import Record
from tasks.model.names import quote
from tasks.model.transfer_steps import RowTransfer, key_columns

MOST: Final = 20_000
"""Notes at a time."""
_SHARD: Final = -1
"""Under which number the account has what was carried."""
_NOTED, _WRITTEN = "pg_temp._changeover_noted", "pg_temp._changeover_written"


class Carried(Record):
    """What came of one bite."""

    notes: int
    upto: int = 0
    """The number of the last of these notes."""
    more: bool = False
    """There may be more to do."""


def prepare(conn: Connection, action: RowTransfer, table: str) -> None:
    """Make a session one that can carry into a table, quoted and qualified: it gets two tables of its own."""
    conn.execute("set statement_timeout = 0; set jit = off; set work_mem = '64MB'")
    # A bite has few rows and no statistics: each is looked up by its key.
    conn.execute("set enable_hashjoin = off; set enable_mergejoin = off")
    for name, columns in ((_NOTED, key_columns(action)), (_WRITTEN, action.columns)):
        listed = ", ".join(quote(one.name) for one in columns)
        bare = name.removeprefix("pg_temp.")
        conn.execute(
            f"create temporary table {bare} on commit delete rows as select {listed} from {table} with no data".encode()
        )


def follow(
    conn: Connection,
    ledger: Session,
    reading: NotedReading,
    action: RowTransfer,
    table: str,
    epoch: int,
    limits: Limits,
    fence: Callable[[Session], object],
    between: Callable[[int], int | None],
) -> int:
    """Carry bite by bite what is noted now into a table, and return how many notes were dealt with.

    The end is fixed at the start, so it comes however fast applications write: what is noted meanwhile is left.
    `between` is called before each with its size; it may wait, raise Paused, or return another. Nothing is locked in
    the source. Raises FencedError when a newer run has taken over.
    """
    reading.catch_up(action)
    last, size, total = reading.last_note(action), FIRST_ROWS, 0
    while last:
        size = min(between(size) or size, MOST)
        started = time.monotonic()
        # The inner one commits first.
        with ledger.transaction(), conn.transaction():
            fence(ledger)
            hold(conn, action.into, epoch)
            carried = carry(conn, ledger, reading, action, table, size)
        total += carried.notes
        if not carried.more or carried.upto >= last:
            break
        took = time.monotonic() - started
        # In its place, applications write to it, and may wait for a row.
        own = table == action.into.staged
        size = copied(size, took, limits, MOST) if own else min(next_size(size, took * 1000, limits), MOST)
    return total


def carry(
    conn: Connection, ledger: Session, reading: NotedReading, action: RowTransfer, table: str, most: int
) -> Carried:
    """Deal with up to `most` notes, the oldest first, within two transactions, the one of the ledger fenced.

    One with a lower number may commit later than these: it is dealt with later.
    """
    numbers = reading.notes(action, most)
    if not numbers:
        return Carried(notes=0)
    texts: set[str] = set()

    def held() -> Iterator[Line]:
        for one in reading.noted(action, numbers):
            texts.update(filter(can_be_noted, map(key_text, one.keys)))
            # What does not fit is not here either.
            if not one.touched:
                yield one

    send(conn, _NOTED, key_columns(action), held())
    if conn.execute(f"select from {action.rejected} limit 1").rowcount:
        conn.execute(f"delete from {action.rejected} where key = any(%s)", (list(texts),))
    written = write(conn, action, _WRITTEN, reading.written(action, numbers))
    _put(conn, action, table, written)
    _account(conn, action, written)
    reading.forget(action, numbers, ledger)
    return Carried(notes=len(numbers), upto=numbers[-1], more=len(numbers) == most)


def _put(conn: Connection, action: RowTransfer, table: str, written: Written) -> None:
    key = [quote(name) for name in action.target_key]
    columns = [quote(one.name) for one in action.columns]
    # The key, too: 5 and 5.0 are one key, and two texts.
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns)
    listed, found = ", ".join(columns), ", ".join(key)
    put = conn.execute(
        f"insert into {table} ({listed}) select {listed} from {_WRITTEN}"
        f" on conflict ({found}) do update set {changed}".encode()
    ).rowcount
    refuse_lost(action.table, written.read, put, written.rejected)
    same = " and ".join(f"t.{name} = n.{name}" for name in key)
    conn.execute(
        f"delete from {table} as t using {_NOTED} as n where {same}"
        f" and ({', '.join(f'n.{name}' for name in key)}) not in (select {found} from {_WRITTEN})".encode()
    )


def _account(conn: Connection, action: RowTransfer, written: Written) -> None:
    conn.execute(
        f"insert into {action.account} as a (shard, read, written, rejected)"
        " values (%(shard)s, %(read)s, %(written)s, %(rejected)s) on conflict (shard) do update"
        " set read = a.read + excluded.read, written = a.written + excluded.written,"
        " rejected = a.rejected + excluded.rejected",
        {"shard": _SHARD, **written.model_dump()},
    )
