"""The swap beside writers: the source is held still, the last notes are carried, and the table is put in its place.

Everything that can be done before is done before. What is done while writers wait has the lock budget, all together;
what does not fit is given up, and tried again after the writers have had their turn.
"""

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import psycopg

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.receiving.follow import carry, follow, prepare
from tasks.engines.postgresql.receiving.place import Place, hold, present
from tasks.engines.receiving.source import NotedReading, NotedRows, Reading, Standstill
from tasks.engines.session import Session
from tasks.model.errors import DataChanged, LockTimeoutError
from tasks.model.transfer_steps import RowTransfer

FEW: Final = 200
"""As many notes may be left for the lock; more are carried before it. Fewer, where they have taken too long."""
_FEWEST: Final = 10


class _NotYet(Exception):  # noqa: N818 - not an error: the writers have the next turn
    """It has to wait, and why."""


class _TooLong(_NotYet):
    """What was done under the lock has not fitted into the budget."""


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
    """Carry what is left and call `put`, while nobody can write to the table of the source; then record it.

    The table may be in its place already, and the transaction that should have recorded it failed. Until that is
    recorded, the rows of the source are the truth, and are carried. Where the source cannot be held still, nobody waits
    for that: there is no last one of them, and it may take long to ask.

    Locks: writers of the source, within the lock budget; readers do not notice. Raises LockTimeoutError when it does
    not come to its end within the patience; then the table is as before, and the notes are kept.
    """
    deadline: float | None = None
    few = FEW
    prepare(conn, action, present(conn, action.into).table)

    def bite(size: int) -> int:
        journal.between()
        return size

    while True:
        with (
            source.reading_notes(action, "swap", conn) as reading,
            source.standstill(action, limits.lock_budget) as standstill,
        ):
            table = present(conn, action.into).table
            before: int | None = None
            # Each round is shorter than the one before it, unless more is written than can be carried.
            while (
                left := follow(conn, ledger, reading, action, table, epoch, limits, journal.fence, bite)
            ) > few and not (before is not None and left >= before):
                before = left
            deadline = deadline or time.monotonic() + limits.lock_patience
            act = partial(_within, conn, ledger, reading, action, epoch, few, limits, journal, put)
            why = _tried(act, standstill, limits)
        if why is None:
            return
        reason = str(why)
        few = max(few // 2, _FEWEST) if isinstance(why, _TooLong) else min(few * 2, FEW)
        if time.monotonic() >= deadline:
            raise LockTimeoutError(
                f"{action.table} could not be held still within {limits.lock_patience:g} s: {reason}",
                where=f"{action.into.database}: {action.into.full_name}",
                hint="End the session that blocks, or run again when less is written: where one transaction that writes"
                " always overlaps the next, there is no moment for it.",
                changed=DataChanged.PARTIALLY,
            )
        journal.waiting(reason)
        time.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - spreads load, guards nothing


def _tried(act: Callable[[Standstill], None], standstill: Standstill, limits: Limits) -> _NotYet | None:
    """Return nothing when it is done, otherwise why it has to wait."""
    try:
        act(standstill)
    except _NotYet as why:
        return why
    except psycopg.errors.LockNotAvailable:
        return _NotYet(f"no lock on the new table within {limits.lock_budget} ms")
    except psycopg.errors.QueryCanceled:
        return _TooLong(f"a statement under the lock took more than {limits.lock_budget} ms")
    return None


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
        if standstill.holds or not place.is_put(action.into):
            conn.execute(f"lock table {place.table} in access exclusive mode")
        conn.execute(f"set local statement_timeout = {limits.lock_budget}")
        # What is refused anyway is refused while the source is still written.
        journal.guard(ledger)
        if reason := standstill.begin():
            raise _NotYet(reason)
        reading.catch_up(action)
        if carry(conn, ledger, reading, action, place.table, few).more:
            raise _NotYet("more was written meanwhile than can be carried within the lock budget")
        journal.guard(ledger)
        put(place, reading)
        journal.finish(ledger)
        if reason := standstill.lost():
            raise _TooLong(reason)
