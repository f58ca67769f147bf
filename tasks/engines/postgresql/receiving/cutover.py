"""The swap beside writers, where PostgreSQL takes rows: see `tasks.engines.receiving.cutover`."""

from collections.abc import Callable
from typing import Final

import psycopg

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.receiving.follow import carry, follow, prepare
from tasks.engines.postgresql.receiving.notes import StreamNotes
from tasks.engines.postgresql.receiving.place import Place, hold, present
from tasks.engines.receiving import cutover as receiving
from tasks.engines.receiving.cutover import NotYet, TooLong
from tasks.engines.receiving.source import NotedReading, NotedRows, Reading, Standstill
from tasks.engines.session import Session
from tasks.model.transfer_steps import RowTransfer

_ALONE: Final = 20_000
"""Milliseconds of a statement that nobody waits for: the session of the ledger is ended when it is idle for long."""


def cut_over(
    conn: Connection,
    ledger: Session,
    source: NotedRows,
    action: RowTransfer,
    epoch: int,
    limits: Limits,
    journal: Journal,
    put: Callable[[Place, Reading], None],
) -> None:
    """Carry what is left and call `put`, while nobody can write to the table of the source; then record it."""
    prepare(conn, action, present(conn, action.into).table)

    def bite(size: int) -> int:
        journal.between()
        return size

    def followed(reading: NotedReading) -> int:
        table = present(conn, action.into).table
        return follow(conn, ledger, reading, action, table, epoch, limits, journal.fence, bite)

    def within(reading: NotedReading, standstill: Standstill, few: int) -> None:
        try:
            _within(conn, ledger, reading, action, epoch, few, limits, journal, put, standstill)
        except psycopg.errors.LockNotAvailable:
            raise NotYet(f"no lock on the new table within {limits.lock_budget} ms") from None
        except psycopg.errors.QueryCanceled:
            raise TooLong("a statement under the lock took too long") from None

    receiving.cut_over(StreamNotes(conn, action), source, action, limits, journal, followed, within)


def _within(
    conn: Connection,
    ledger: Session,
    reading: NotedReading,
    action: RowTransfer,
    epoch: int,
    few: int,
    limits: Limits,
    journal: Journal,
    put: Callable[[Place, Reading], None],
    standstill: Standstill,
) -> None:
    # The inner one commits first, and both before the source is let go.
    with ledger.transaction(), conn.transaction():
        journal.fence(ledger)
        hold(conn, action.into, epoch)
        place = present(conn, action.into)
        # Here before there: a vacuum of the new table, say, is waited for while the source is still written.
        if not place.is_put(action.into):
            # Nobody else has it.
            conn.execute("set local lock_timeout = '60s'")
        waited_for = standstill.holds or place.is_put(action.into)
        if standstill.holds or not place.is_put(action.into):
            conn.execute(f"lock table {place.table} in access exclusive mode")
        conn.execute(f"set local statement_timeout = {limits.lock_budget if waited_for else _ALONE}")
        # What is refused anyway is refused while the source is still written.
        journal.guard(ledger)
        if reason := standstill.begin():
            raise NotYet(reason)
        reading.catch_up(action)
        if carry(conn, ledger, reading, action, place.table, few).more:
            raise NotYet("more was written meanwhile than can be carried within the lock budget")
        journal.guard_again(ledger)
        put(place, reading)
        journal.finish(ledger)
        if reason := standstill.lost():
            raise TooLong(reason)
