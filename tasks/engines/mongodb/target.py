"""The collection that rows are copied into, as steps: made, put in its place, and back."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import psycopg
import tenacity

from profiles.model import Limits
from tasks.engines.journal import Journal, until_recorded
from tasks.engines.mongodb.compare import Differences, compare
from tasks.engines.mongodb.connect import Documents, connected, in_our_words, require_usable
from tasks.engines.mongodb.cutover import cut_over
from tasks.engines.mongodb.errors import PASSING
from tasks.engines.mongodb.follow import follow
from tasks.engines.mongodb.load import load
from tasks.engines.mongodb.place import (
    WITHDRAWN,
    Place,
    drop,
    drop_strays,
    make,
    name_of,
    place_of,
    rename,
    uuid_of,
)
from tasks.engines.mongodb.sides import side_of
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.sessions import require_unbroken
from tasks.engines.records import Checkpoint, Shard
from tasks.engines.retrying import Passing, retrying
from tasks.engines.session import Session
from tasks.model.errors import DataChanged, PreflightError, Refused, StepError
from tasks.model.steps import Step
from tasks.model.transfer_steps import Collection, DocumentTransfer


@dataclass(frozen=True, kw_only=True)
class Target:
    """A database of MongoDB, and the source whose ledger says what is done to it.

    Each step begins in the ledger before anything is done and is finished after it. What has been done in between
    is asked of MongoDB, so a step that was cut off is finished, or taken back.
    """

    url: str
    limits: Limits
    name: str
    """What sessions are called."""
    source: Callable[[str], Session]
    """Opens a session with the source."""
    passing: Passing = PASSING
    """What passes by itself, in either database."""
    follows: DocumentTransfer | None = None
    """The copy whose rows are written meanwhile, where the keys of those are noted."""
    search_path: str = ""

    def __repr__(self) -> str:
        return f"Target(name={self.name!r})"

    def require_room(self, action: Collection) -> None:
        """Refuse a server that cannot be used, and a collection that exists; change nothing."""
        with in_our_words(self.url), connected(self.url, name=self.name) as database:
            require_usable(database, self.url)
            if uuid_of(database, action.name) is not None:
                raise PreflightError(
                    f"the collection {action.name} exists already",
                    where=f"{action.database}: {database.name}",
                    hint="Name another collection, or rename that one: nothing is ever written into it.",
                )

    def apply(self, step: Step, journal: Journal) -> None:
        """Carry out a step and record it."""
        act = partial(self._forward, step, _own(step), journal)
        with in_our_words(self.url):
            until_recorded(self.limits, self.passing, act, journal)

    def revert(self, step: Step, journal: Journal) -> None:
        """Take a step back and record it; tolerate that it was never, or only half, done."""
        act = partial(self._inverse, _own(step), journal)
        with in_our_words(self.url):
            until_recorded(self.limits, self.passing, act, journal)

    def _forward(self, step: Step, action: Collection, journal: Journal) -> None:
        with connected(self.url, name=self.name) as database:
            with self.source(step.phase) as conn:
                with conn.transaction():
                    journal.begin(conn)
                    if action.does == "put":
                        journal.guard(conn)
                place = place_of(conn, action)
                if action.does != "put" or self.follows is None:
                    self._at_once(conn, database, action, place, journal)
                    return
            self.cut_over(step.phase, database, action, place, journal)

    def _at_once(self, conn: Session, database: Documents, action: Collection, place: Place, journal: Journal) -> None:
        with conn.transaction():
            # It fences: until this commits nobody takes over, and does the opposite meanwhile.
            journal.begin(conn)
            if action.does == "make":
                made = make(database, place)
                conn.execute(f"update {action.place} set collection = %s", (str(made),))
            else:
                called = present(database, action, place)
                if called != action.name:
                    rename(database, place, called, action.name)
            journal.finish(conn)

    def cut_over(self, phase: str, database: Documents, action: Collection, place: Place, journal: Journal) -> None:
        """Carry what is left and name the collection, while nobody can write to the table; record it."""
        assert self.follows is not None

        def opened() -> Connection:
            conn = self.source(phase)
            assert isinstance(conn, psycopg.Connection), "a session with PostgreSQL"
            side_of(conn).prepare(conn, self.search_path)
            return conn

        put = partial(self.put, database, action, place)
        called = partial(present, database, action, place)
        cut_over(opened, database, called, self.follows, self.limits, journal, put)

    def put(self, database: Documents, action: Collection, place: Place, conn: Session, called: str) -> None:
        """Give the collection its name, unless it has it."""
        if called != action.name:
            # What was carried was read from this server: else it may be of commits that are gone.
            self.require_unbroken(conn)
            rename(database, place, called, action.name)

    def require_unbroken(self, conn: Session) -> None:
        """Raise GateError where the server may have forgotten what was read from it during this run."""
        assert isinstance(conn, psycopg.Connection), "a session with PostgreSQL"
        require_unbroken(conn)

    def claim(self, action: DocumentTransfer, epoch: int, fence: Callable[[Session], object]) -> None:
        """Give the collection a name that no older run knows, unless it has its own already.

        The transaction that fences such a run may have been ended while it wrote. What it still writes does not reach
        the collection any more. Errors are those of the drivers.
        """
        with self.source("follow") as conn, connected(self.url, name=self.name) as database, conn.transaction():
            fence(conn)
            place = place_of(conn, action.into)
            called = present(database, action.into, place)
            if called not in (action.into.name, place.staged_by(epoch)):
                rename(database, place, called, place.staged_by(epoch))

    def follow(
        self, action: DocumentTransfer, fence: Callable[[Session], object], between: Callable[[int], int | None]
    ) -> int:
        """Carry what was written since the copy began. Errors are those of the drivers: `retrying` knows them."""
        with self.source("follow") as conn, connected(self.url, name=self.name) as database:
            name = self.staged(conn, database, action)
            assert isinstance(conn, psycopg.Connection), "a session with PostgreSQL"
            return follow(conn, database[name], action, self.limits, fence, between)

    def staged(self, conn: Session, database: Documents, action: DocumentTransfer) -> str:
        """Return the name of ours that the collection has until the swap, and prepare the session for the mapping."""
        name = present(database, action.into, place_of(conn, action.into))
        if name == action.into.name:
            raise _lost(action.into)
        side_of(conn).prepare(conn, self.search_path)
        return name

    def _inverse(self, action: Collection, journal: Journal) -> None:
        with self.source("rollback") as conn, connected(self.url, name=self.name) as database:
            with conn.transaction():
                journal.begin(conn)
            place = place_of(conn, action)
            if action.does == "put":
                self._withdraw(conn, database, action, place, journal)
            with conn.transaction():
                journal.begin(conn)
                called = name_of(database, action, place)
                if action.does == "make":
                    drop(database, place, called or place.staging)
                    drop_strays(database, place)
                elif called == place.withdrawn:
                    # Only now: by this name it is known that nobody has looked yet.
                    rename(database, place, called, place.staging)
                journal.finish(conn)

    def _withdraw(self, conn: Session, database: Documents, action: Collection, place: Place, journal: Journal) -> None:
        """Take the name away, then look for what would be lost: what is written later goes elsewhere, or fails.

        Refused, the collection gets its name back. Killed in between, it has a name that says so, and is looked at
        again.
        """
        with conn.transaction():
            journal.begin(conn)
            if name_of(database, action, place) == action.name:
                rename(database, place, action.name, place.withdrawn)
        if name_of(database, action, place) != place.withdrawn:
            return
        try:
            # It may read everything: no transaction waits for that.
            journal.guard(conn)
        except Refused as refusal:
            with conn.transaction():
                journal.begin(conn)
                self._give_back(database, action, place, refusal)
            raise

    def _give_back(self, database: Documents, action: Collection, place: Place, refusal: Refused) -> None:
        try:
            rename(database, place, place.withdrawn, action.name)
        except StepError as taken:
            raise StepError(
                f"{refusal.what}; {taken.what}",
                where=f"{action.database}: {place.withdrawn}",
                hint="What was written before is in this collection: take what you need, then roll back with"
                " --accept-loss.",
                changed=DataChanged.PARTIALLY,
            ) from None

    def happened(self, step: Step, *, recorded: bool) -> bool:
        """Tell whether a step is done: the collection is asked, for the ledger hears of it afterwards."""
        action = _own(step)
        return recorded if action.does == "make" else self._called(action) == action.name

    def _called(self, action: Collection) -> str | None:
        """Return what our collection is called now; None where there is none, or not yet."""
        with in_our_words(self.url), self.source("ask") as conn:
            if not side_of(conn).has(conn, action.place):
                return None
            with connected(self.url, name=self.name) as database:
                return name_of(database, action, place_of(conn, action))

    def settle(self, swap: Step, say: Callable[[str], None]) -> None:
        """Carry nothing back: there is no way for that."""

    def is_withdrawn(self, action: DocumentTransfer) -> bool:
        """Tell whether a rollback that was cut off has taken the name away, and not looked at it yet."""
        called = self._called(action.into)
        return called is not None and called != action.into.name and called.endswith(WITHDRAWN)

    def require_alone(self, action: DocumentTransfer) -> None:
        """Refuse nothing: whatever is built on a collection, it can be dropped."""

    def written_since(self, action: DocumentTransfer) -> int:
        """Return how many documents are not what the rows give: somebody has written since, to either side."""
        called = self._called(action.into)
        if called is None or (called != action.into.name and not called.endswith(WITHDRAWN)):
            # Nobody else has known it by another, or it was looked at when nobody did any more.
            return 0
        with in_our_words(self.url), self.source("compare") as conn, connected(self.url, name=self.name) as database:
            found = self.compared(conn, database, called, action)
            # Where both sides were written, nobody can tell what the document would have been.
            return found.differing + abs(found.superfluous) + found.unsettled

    def compared(self, conn: Session, database: Documents, called: str, action: DocumentTransfer) -> Differences:
        """Compare every row with its document."""
        return compare(conn, database, called, action, self.search_path)

    def load(
        self,
        action: DocumentTransfer,
        shard: Shard,
        number: int,
        checkpoint: Checkpoint,
        between: Callable[[int], int | None],
    ) -> int:
        """Copy one shard, batch by batch. Errors are those of the drivers, so that `retrying` knows them."""
        with (
            self.source("backfill") as conn,
            self.source("backfill") as ahead,
            connected(self.url, name=self.name) as database,
        ):
            name = self.staged(conn, database, action)
            into = database[name]
            path = self.search_path
            return load(conn, ahead, into, action, shard, number, self.limits, checkpoint, between, path)

    def catch_up(self, action: DocumentTransfer, *, counting: bool) -> int | None:  # noqa: ARG002
        """Return None: triggers note what is written."""
        return None

    def behind(self, action: DocumentTransfer) -> float | None:  # noqa: ARG002
        """Return None: triggers note what is written at once."""
        return None

    def retrying(self) -> tenacity.Retrying:
        """Try again what can pass by itself, of either database."""
        return retrying(self.limits, self.passing)


def _own(step: Step) -> Collection:
    assert isinstance(step.action, Collection)
    return step.action


def present(database: Documents, action: Collection, place: Place) -> str:
    """Return what our collection is called now. Raises StepError when it is gone."""
    called = name_of(database, action, place)
    if called is None:
        raise _lost(action)
    return called


def _lost(action: Collection) -> StepError:
    return StepError(
        "the collection that rows were copied into is gone",
        where=f"{action.database}: {action.name}",
        hint="Roll back, then run again: it copies everything anew.",
        changed=DataChanged.PARTIALLY,
    )
