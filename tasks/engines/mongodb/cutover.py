"""The swap beside writers: under a lock that keeps them out the last notes are carried, and the collection is named.

Everything that can be done before the lock is done before it. What is done under it has the lock budget, all together;
what does not fit is given up, and tried again after the writers have had their turn.
"""

import math
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final

import psycopg
import pymongo
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

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
"""As many notes may be left for the lock; more are carried before it. Fewer, where they have taken too long."""
_FEWEST: Final = 2


class _NotYet(Exception):  # noqa: N818 - not an error: the writers have the next turn
    """It has to wait, and why."""


class _TooLong(_NotYet):
    """What was done under the lock has not fitted into the budget."""


def cut_over(
    opened: Callable[[], AbstractContextManager[Connection]],
    database: Documents,
    called: Callable[[], str],
    action: DocumentTransfer,
    limits: Limits,
    journal: Journal,
    put: Callable[[Connection, str], None],
) -> None:
    """Carry what is left and call `put`, while nobody can write to the table; record it in the same transaction.

    `opened` gives a session for each attempt: the server ends one that was silent for too long under its locks.
    `called` says what the collection is called at the moment, and `put` gets that: it may have its name, and the
    transaction that should have recorded it failed. Until that is recorded, the rows are the truth, and are carried.

    Locks: SHARE ROW EXCLUSIVE on the table, then on those whose rows are embedded or looked up, within the lock budget;
    readers do not notice. Raises LockTimeoutError when it does not come to its end within the patience; then the table
    is as before, and the notes are kept.
    """
    deadline = math.inf
    few = FEW
    locks = tuple(Lock(table=table, mode=LockMode.SHARE_ROW_EXCLUSIVE) for table in action.tables)

    def bite(size: int) -> int:
        journal.between()
        return size

    while True:
        try:
            with opened() as conn:
                name = called()
                before: int | None = None
                # Each round is shorter than the one before it, unless more is written than can be carried.
                while (left := follow(conn, database[name], action, limits, journal.fence, bite)) > few:
                    if before is not None and left >= before:
                        break
                    before = left
                deadline = min(deadline, time.monotonic() + limits.lock_patience)
                _try(conn, database[name], action, locks, few, limits, journal, partial(put, conn, name))
        except _NotYet as why:
            reason = why
        else:
            return
        few = max(few // 2, _FEWEST) if isinstance(reason, _TooLong) else min(few * 2, FEW)
        if time.monotonic() >= deadline:
            raise LockTimeoutError(
                f"{action.table} could not be held still within {limits.lock_patience:g} s: {reason}",
                where=action.into.name,
                hint="End the session that blocks, or run again when less is written.",
                changed=DataChanged.PARTIALLY,
            )
        journal.waiting(str(reason))
        time.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - spreads load, guards nothing


def _try(
    conn: Connection,
    into: Collection[Any],
    action: DocumentTransfer,
    locks: tuple[Lock, ...],
    few: int,
    limits: Limits,
    journal: Journal,
    put: Callable[[], None],
) -> None:
    """Raise _NotYet where it has to wait."""
    # What is refused anyway is refused while the table is still written.
    journal.guard(conn)
    if in_the_way := holders(conn, locks, older_than_ms=limits.lock_budget):
        raise _NotYet(f"blocked by {named(in_the_way)}")
    budget = limits.lock_budget
    try:
        with conn.transaction():
            journal.begin(conn)
            conn.execute(f"set local lock_timeout = {budget}; set local statement_timeout = {budget}")
            # A process that is stopped must not stop everybody else.
            conn.execute(f"set local idle_in_transaction_session_timeout = {idle_limit(budget)}")
            conn.execute(f"lock table {', '.join(lock.table for lock in locks)} in {locks[0].mode} mode")
            with pymongo.timeout(budget / 1000):
                _carry_last(conn, into, action, few, budget)
                journal.guard_again(conn)
                put()
            journal.finish(conn)
    except psycopg.errors.LockNotAvailable:
        raise _NotYet(f"no lock within {budget} ms") from None
    except psycopg.errors.IdleInTransactionSessionTimeout:
        raise _TooLong(f"what was done under the lock took more than {budget} ms") from None
    except psycopg.errors.QueryCanceled:
        raise _TooLong(f"a statement under the lock took more than {budget} ms") from None


def _carry_last(conn: Connection, into: Collection[Any], action: DocumentTransfer, few: int, budget: int) -> None:
    """Carry what is left, as long as that fits into the budget: how long a document takes nobody else limits."""
    until = time.monotonic() + budget / 1000

    def in_time() -> None:
        if time.monotonic() > until:
            raise _TooLong(f"what was done under the lock took more than {budget} ms")

    try:
        while (carried := carry(conn, into, action, few, in_time)).more:
            if not carried.found:
                raise _NotYet("more was written meanwhile than can be carried within the lock budget")
            in_time()
    except PyMongoError as error:
        if not error.timeout:
            raise
        raise _TooLong(f"MongoDB took more than {budget} ms under the lock") from None
