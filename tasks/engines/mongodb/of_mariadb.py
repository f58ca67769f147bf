"""The collection that rows of MariaDB are copied into: how writes are carried, and the swap beside writers.

Rows are read by a session of their own, and what is written down about them by that of the ledger, whose transaction
fences. Killed before it commits, the notes are still there, and the same is done once more. At the swap a third session
holds the table still: see `tasks.engines.receiving.cutover`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pymongo
from pymongo.collection import Collection as Documents
from pymongo.errors import PyMongoError

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.mongodb.compare import Differences, compare
from tasks.engines.mongodb.connect import Documents as Database
from tasks.engines.mongodb.connect import connected
from tasks.engines.mongodb.document import documents
from tasks.engines.mongodb.follow import by_size, put
from tasks.engines.mongodb.place import Place
from tasks.engines.mongodb.target import Target, present
from tasks.engines.mysql.as_documents import rows_noted, rows_written
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.transfer_rows import MariaRows, Reading
from tasks.engines.receiving import cutover
from tasks.engines.receiving import follow as receiving
from tasks.engines.receiving.cutover import NotYet, TooLong
from tasks.engines.receiving.follow import Carried
from tasks.engines.receiving.source import Standstill
from tasks.engines.records import Key
from tasks.engines.session import Session
from tasks.model.transfer_steps import Collection, DocumentTransfer

MOST: Final = 5000
"""Notes at a time."""


@dataclass(frozen=True, kw_only=True)
class FromMaria(Target):
    """A database of MongoDB, and the source in MariaDB, whose ledger says what is done to it."""

    rows: MariaRows

    def __repr__(self) -> str:
        return f"FromMaria(name={self.name!r})"

    def require_unbroken(self, conn: Session) -> None:
        """Raise GateError where the server may have forgotten what was read from it during this run."""
        self.rows.require_unbroken(_own(conn))

    def follow(
        self, action: DocumentTransfer, fence: Callable[[Session], object], between: Callable[[int], int | None]
    ) -> int:
        """Carry what was written since the copy began. Errors are those of the drivers: `retrying` knows them."""
        with (
            self.source("follow") as ledger,
            self.rows.reading("follow") as reading,
            connected(self.url, name=self.name) as database,
        ):
            into = database[self.staged(ledger, database, action)]
            return follow(_own(ledger), reading, into, action, self.limits, fence, between)

    def compared(self, conn: Session, database: Database, called: str, action: DocumentTransfer) -> Differences:
        """Compare every row with its document; notes are looked up by a session of their own."""
        with self.source("compare") as beside:
            return compare(conn, database, called, action, self.search_path, beside)

    def cut_over(self, phase: str, database: Database, action: Collection, place: Place, journal: Journal) -> None:
        """Carry what is left and name the collection, while nobody can write to the table; record it."""
        assert self.follows is not None
        with self.source(phase) as conn:
            cut_over(
                _own(conn),
                self.rows,
                lambda: database[present(database, action, place)],
                self.follows,
                self.limits,
                journal,
                partial(self.put, database, action, place, conn),
            )


def follow(
    ledger: MariaSession,
    reading: Reading,
    into: Documents[Any],
    action: DocumentTransfer,
    limits: Limits,
    fence: Callable[[Session], object],
    between: Callable[[int], int | None],
) -> int:
    """Carry bite by bite what is noted now, and return how many notes were dealt with.

    See `tasks.engines.receiving.follow`. Nothing is locked that writers wait for.
    """

    def bite(size: int) -> Carried:
        with ledger.transaction():
            fence(ledger)
            return carry(ledger, reading, into, action, min(size, MOST))

    return receiving.follow(reading, action, limits, between, bite, own=True)


def carry(
    ledger: MariaSession,
    reading: Reading,
    into: Documents[Any],
    action: DocumentTransfer,
    most: int,
    in_time: Callable[[], None] = lambda: None,
) -> Carried:
    """Deal with up to `most` notes, the oldest first, within a transaction of the ledger that fences.

    Rows are read by a statement that begins after the notes were seen, so it sees at least what they tell of. A note
    with a lower number may commit later: it is dealt with later. `in_time` is called for each document, and raises
    where there is no more time.
    """
    numbers = reading.notes(action, most)
    if not numbers:
        return Carried(notes=0)
    # As their text says it: an UPDATE may have made a key another one that a collation calls equal.
    gone = list(documents(action.as_noted, rows_noted(reading.conn, action, numbers)))
    there: set[Key] = set()
    with rows_written(reading.conn, action, numbers) as rows:
        for some in by_size(documents(action, rows), in_time):
            put(ledger, into, action, some, some)
            there |= {one.key for one in some}
    if left := [one for one in gone if one.key not in there]:
        put(ledger, into, action, left, [])
    reading.forget(action, numbers, ledger)
    return Carried(notes=len(numbers), upto=numbers[-1], more=len(numbers) == most)


def cut_over(
    ledger: MariaSession,
    source: MariaRows,
    called: Callable[[], Documents[Any]],
    action: DocumentTransfer,
    limits: Limits,
    journal: Journal,
    put_there: Callable[[str], None],
) -> None:
    """Carry what is left and call `put_there`, while nobody can write to the table; record it.

    `called` gives the collection under the name that it has at the moment: it may have its own, and the transaction
    that should have recorded it failed. See `tasks.engines.receiving.cutover`.
    """

    def bite(size: int) -> int:
        journal.between()
        return size

    def followed(reading: Reading) -> int:
        return follow(ledger, reading, called(), action, limits, journal.fence, bite)

    def within(reading: Reading, standstill: Standstill, few: int) -> None:
        try:
            _within(ledger, reading, called(), action, few, limits, journal, put_there, standstill)
        except PyMongoError as error:
            if not error.timeout:
                raise
            raise TooLong(f"MongoDB took more than {limits.lock_budget} ms under the lock") from None

    cutover.cut_over(None, source, action, limits, journal, followed, within)


def _within(
    ledger: MariaSession,
    reading: Reading,
    into: Documents[Any],
    action: DocumentTransfer,
    few: int,
    limits: Limits,
    journal: Journal,
    put_there: Callable[[str], None],
    standstill: Standstill,
) -> None:
    with ledger.transaction():
        journal.fence(ledger)
        # What is refused anyway is refused while the source is still written.
        journal.guard(ledger)
        if reason := standstill.begin():
            raise NotYet(reason)
        until = time.monotonic() + limits.lock_budget / 1000

        def in_time() -> None:
            if time.monotonic() > until:
                raise TooLong(f"what was done under the lock took more than {limits.lock_budget} ms")

        with pymongo.timeout(limits.lock_budget / 1000):
            if carry(ledger, reading, into, action, few, in_time).more:
                raise NotYet("more was written meanwhile than can be carried within the lock budget")
            journal.guard_again(ledger)
            # Before it, for it cannot be rolled back: from here on the source is still until this is recorded.
            if reason := standstill.lost():
                raise TooLong(reason)
            put_there(into.name)
        # It may have taken longer than the server waits for a silent session: then somebody may have written since.
        # The collection keeps its name, and what was written is carried before it is recorded.
        if reason := standstill.ended():
            raise TooLong(reason)
        journal.finish(ledger)


def _own(conn: Session) -> MariaSession:
    assert isinstance(conn, MariaSession), "a session with MariaDB"
    return conn
