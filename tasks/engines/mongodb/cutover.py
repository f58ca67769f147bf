"""The swap beside writers: under a lock that keeps them out the last notes are carried, and the collection is named.

Everything that can be done before the lock is done before it. What is done under it has the lock budget, all together;
what does not fit is given up, and tried again after the writers have had their turn.
"""

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import psycopg
import pymongo
from pymongo.collection import Collection

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.follow import carry, follow
from tasks.engines.postgresql.blockers import Connection, holders, named
from tasks.engines.postgresql.short_transaction import idle_limit
from tasks.model.errors import DataChanged, LockTimeoutError
from tasks.model.steps import Lock, LockMode
from tasks.model.transfer_steps import DocumentTransfer

FEW: Final = 200
"""As many notes may be left for the lock; more are carried before it."""


class _TooMuch(Exception):  # noqa: N818 - not an error: the writers have the next turn
    """More is left than fits under the lock."""


def cut_over(
    conn: Connection,
    database: Documents,
    called: Callable[[], str],
    action: DocumentTransfer,
    limits: Limits,
    journal: Journal,
    put: Callable[[str], None],
) -> None:
    """Carry what is left and call `put`, while nobody can write to the table; record it in the same transaction.

    `called` says what the collection is called at the moment, and `put` gets that: it may have its name, and the
    transaction that should have recorded it failed. Until that is recorded, the rows are the truth, and are carried.

    Locks: SHARE ROW EXCLUSIVE on the table, then on those whose rows are embedded or looked up, within the lock budget;
    readers do not notice. Raises LockTimeoutError when it does not come to its end within the patience; then the table
    is as before, and the notes are kept.
    """
    deadline: float | None = None
    locks = tuple(Lock(table=table, mode=LockMode.SHARE_ROW_EXCLUSIVE) for table in action.tables)

    def bite(size: int) -> int:
        journal.between()
        return size

    while True:
        name = called()
        before: int | None = None
        # Each round is shorter than the one before it, unless more is written than can be carried.
        while (left := follow(conn, database[name], action, limits, journal.fence, bite)) > FEW:
            if before is not None and left >= before:
                break
            before = left
        deadline = deadline or time.monotonic() + limits.lock_patience
        reason = _tried(conn, database[name], action, locks, limits, journal, partial(put, name))
        if reason is None:
            return
        if time.monotonic() >= deadline:
            raise LockTimeoutError(
                f"{action.table} could not be held still within {limits.lock_patience:g} s: {reason}",
                where=action.into.name,
                hint="End the session that blocks, or run again when less is written.",
                changed=DataChanged.PARTIALLY,
            )
        journal.waiting(reason)
        time.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - spreads load, guards nothing


def _tried(
    conn: Connection,
    into: Collection[Any],
    action: DocumentTransfer,
    locks: tuple[Lock, ...],
    limits: Limits,
    journal: Journal,
    put: Callable[[], None],
) -> str | None:
    """Return None when it is done, otherwise why it has to wait."""
    if in_the_way := holders(conn, locks, older_than_ms=limits.lock_budget):
        return f"blocked by {named(in_the_way)}"
    budget = limits.lock_budget
    try:
        with conn.transaction():
            journal.begin(conn)
            conn.execute(f"set local lock_timeout = {budget}; set local statement_timeout = {budget}")
            # A process that is stopped must not stop everybody else.
            conn.execute(f"set local idle_in_transaction_session_timeout = {idle_limit(budget)}")
            conn.execute(f"lock table {', '.join(lock.table for lock in locks)} in {locks[0].mode} mode")
            with pymongo.timeout(budget / 1000):
                while (carried := carry(conn, into, action, FEW)).more:
                    if not carried.found:
                        raise _TooMuch
                journal.guard(conn)
                put()
            journal.finish(conn)
    except psycopg.errors.LockNotAvailable:
        return f"no lock within {budget} ms"
    except psycopg.errors.QueryCanceled:
        return f"a statement under the lock took more than {budget} ms"
    except _TooMuch:
        return "more was written meanwhile than can be carried within the lock budget"
    return None
