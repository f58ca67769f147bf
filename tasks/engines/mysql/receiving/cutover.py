"""The swap beside writers, where MariaDB takes rows: see `tasks.engines.receiving.cutover`.

What is carried commits before the table is renamed, for a RENAME commits by itself; the notes go, and the swap is
recorded, by the transaction of the ledger, which is open meanwhile. Killed in between, the same is carried once more.
"""

from collections.abc import Callable
from dataclasses import replace

import pymysql

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.mysql.receiving.follow import begin, carry, follow, prepare
from tasks.engines.mysql.receiving.load import Taking
from tasks.engines.mysql.receiving.notes import StreamNotes
from tasks.engines.mysql.receiving.place import Place, hold, present
from tasks.engines.mysql.transient import LOCKED, code_of
from tasks.engines.receiving import cutover as receiving
from tasks.engines.receiving.cutover import NotYet, TooLong
from tasks.engines.receiving.source import NotedReading, NotedRows, Reading, Standstill
from tasks.engines.session import Session


def cut_over(
    taking: Taking,
    ledger: Session,
    source: NotedRows,
    epoch: int,
    limits: Limits,
    journal: Journal,
    put: Callable[[Place, Reading], None],
) -> None:
    """Carry what is left and call `put`, while nobody can write to the table of the source; then record it."""
    conn, action = taking.conn, taking.action
    prepare(conn, action, present(conn, action.into).table)

    def here() -> Taking:
        return replace(taking, into=present(conn, action.into).table)

    def bite(size: int) -> int:
        journal.between()
        return size

    def followed(reading: NotedReading) -> int:
        return follow(here(), ledger, reading, epoch, limits, journal.fence, bite)

    def within(reading: NotedReading, standstill: Standstill, few: int) -> None:
        try:
            _within(here(), ledger, reading, epoch, few, limits, journal, put, standstill)
        except pymysql.err.MySQLError as error:
            if conn.closed or code_of(error) not in LOCKED:
                raise
            raise TooLong(f"a statement under the lock took more than {limits.lock_budget} ms") from None

    receiving.cut_over(StreamNotes(conn, action), source, action, limits, journal, followed, within)


def _within(
    taking: Taking,
    ledger: Session,
    reading: NotedReading,
    epoch: int,
    few: int,
    limits: Limits,
    journal: Journal,
    put: Callable[[Place, Reading], None],
    standstill: Standstill,
) -> None:
    conn, action = taking.conn, taking.action
    begin(conn)
    with ledger.transaction():
        journal.fence(ledger)
        # What is refused anyway is refused while the source is still written.
        journal.guard(ledger)
        if reason := standstill.begin():
            raise NotYet(reason)
        conn.execute(f"set session max_statement_time = {limits.lock_budget / 1000:.3f}")
        try:
            with conn.transaction():
                hold(conn, action.into, epoch)
                reading.catch_up(action)
                if carry(taking, ledger, reading, few).more:
                    raise NotYet("more was written meanwhile than can be carried within the lock budget")
        finally:
            if not conn.closed:
                conn.execute("set session max_statement_time = 0")
        journal.guard_again(ledger)
        # Before it, for it cannot be rolled back: from here on the source is still until this is recorded.
        if reason := standstill.lost():
            raise TooLong(reason)
        put(present(conn, action.into), reading)
        # It may have taken longer than the server waits for a silent session: then somebody may have written since.
        # The table stays in its place, and what was written is carried before it is recorded.
        if reason := standstill.ended():
            raise TooLong(reason)
        journal.finish(ledger)
