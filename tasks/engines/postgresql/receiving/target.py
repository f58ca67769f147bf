"""The table that rows are copied into, as steps: made, put in its place, and back."""

from collections.abc import Callable
from dataclasses import dataclass

from tasks.engines.journal import Journal
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.connect import connect, require_direct, require_version, require_writable
from tasks.engines.postgresql.receiving.compare import compare, refuse_other_columns
from tasks.engines.postgresql.receiving.cutover import cut_over
from tasks.engines.postgresql.receiving.follow import follow, prepare
from tasks.engines.postgresql.receiving.load import load
from tasks.engines.postgresql.receiving.notes import StreamNotes, watch
from tasks.engines.postgresql.receiving.place import (
    WRITING,
    Place,
    claim,
    clear,
    end_writers,
    find,
    make,
    mark,
    move,
    number_from,
    present,
    require_alone,
    require_free,
    session_of,
)
from tasks.engines.receiving.differences import Differences
from tasks.engines.receiving.source import (
    Reading,
    StreamedRows,
)
from tasks.engines.receiving.target import Receiving
from tasks.engines.records import Checkpoint, Shard
from tasks.engines.session import Session
from tasks.model.errors import PreflightError
from tasks.model.transfer_steps import Relation, RowTransfer


@dataclass(frozen=True, kw_only=True)
class RowTarget(Receiving):
    """A database of PostgreSQL that takes rows, and their source, whose ledger says what is done to it.

    What is done here commits before the ledger hears of it, while the transaction that fences there is open. So a step
    that was cut off is asked of the catalogue, and finished, or taken back.
    """

    def open(self, purpose: str) -> Connection:
        """Open a session with the target."""
        name = f"{session_of(self.copy.into)} {self.name[:30]} {purpose}"
        return connect(self.url, application_name=name, lock_timeout_ms=self.limits.lock_budget)

    def require_room(self, action: Relation) -> None:
        """Refuse a server that cannot be used, and a table that exists; change nothing."""
        with self.open("preflight") as conn:
            require_version(conn)
            require_direct(conn)
            require_writable(conn)
            row = conn.execute("select pg_catalog.current_setting('server_encoding')").fetchone()
            if row is None or row[0] != "UTF8":
                raise PreflightError(
                    f"the database has the encoding {row and row[0]}",
                    where=action.database,
                    hint="Use one in UTF8, which holds every character.",
                )
            require_free(conn, action)

    def _forward(self, action: Relation, journal: Journal) -> None:
        with self.source.connect("swap") as ledger, self.open("swap") as conn:
            with ledger.transaction():
                # Committed before anything happens, so that a rollback knows that something may have.
                journal.begin(ledger)
            if action.does == "put" and self.copy.notes:
                self._cut_over(ledger, action, journal)
                return
            with ledger.transaction():
                # It fences: until this commits nobody takes over, and does the opposite meanwhile.
                journal.fence(ledger)
                if action.does == "put":
                    journal.guard(ledger)
                with conn.transaction():
                    self._do(conn, action)
                journal.finish(ledger)

    def _do(self, conn: Connection, action: Relation) -> None:
        if action.does == "make":
            make(conn, action, self.epoch)
        elif action.does == "watch":
            assert isinstance(self.source, StreamedRows), "no plan watches such a source"
            watch(conn, action, self.source.beginning(self.copy))
        elif action.does == "clear":
            clear(conn, action)
        else:
            claim(conn, action, self.epoch)
            with self.source.reading("swap") as reading:
                self._put(conn, action, present(conn, action), reading)

    def _put(self, conn: Connection, action: Relation, place: Place, reading: Reading) -> None:
        if not place.is_put(action):
            self._number(conn, action, place, reading)
            move(conn, place, action.schema_name, action)

    def _number(self, conn: Connection, action: Relation, place: Place, reading: Reading) -> None:
        if action.numbered:
            number_from(conn, place, action.numbered, reading.next_number(self.copy))

    def _cut_over(self, ledger: Session, action: Relation, journal: Journal) -> None:
        # First: it ends the sessions that write, also those of a run that was cut off in the middle of this.
        self.claim(self.copy, self.epoch, journal.fence)
        source = self.noted()
        with self.open(WRITING) as conn:

            def put(place: Place, reading: Reading) -> None:
                # What was carried was read from this server: else it may be of commits that are gone.
                source.require_unbroken(ledger)
                self._put(conn, action, place, reading)
                if place.is_put(action):
                    # Rows have been carried since it was put: what comes next is numbered after them, too.
                    self._number(conn, action, place, reading)

            cut_over(conn, ledger, source, self.copy, self.epoch, self.limits, journal, put)

    def _inverse(self, action: Relation, journal: Journal) -> None:
        with self.source.connect("rollback") as ledger, self.open("rollback") as conn:
            if action.does == "put":
                self._withdraw(ledger, conn, action, journal)
            with ledger.transaction():
                journal.begin(ledger)
                if action.does == "make":
                    end_writers(conn, action)
                with conn.transaction():
                    if action.does == "make":
                        clear(conn, action)
                    elif action.does == "put" and find(conn, action) is not None:
                        # Only now: it has been looked at.
                        mark(conn, action, withdrawn=False)
                journal.finish(ledger)

    def _withdraw(self, ledger: Session, conn: Connection, action: Relation, journal: Journal) -> None:
        """Take the table away, then look for what would be lost: what is written later fails.

        Whatever goes wrong then, the table comes back. Killed in between, it is looked at again.
        """
        with ledger.transaction():
            journal.begin(ledger)
            with conn.transaction():
                place = find(conn, action)
                if place is not None and place.is_put(action):
                    move(conn, place, action.helpers, action)
                    mark(conn, action, withdrawn=True)
                    place = present(conn, action)
                    # Here nobody else can begin to: refused, it has never been away.
                    require_alone(conn, place)
        if place is not None and place.withdrawn:
            self.look_at(ledger, conn, action, place, journal)

    def notes(self, conn: Connection) -> StreamNotes:
        """Return the notes that a session with the target reaches, where a stream tells of writes."""
        return StreamNotes(conn, self.copy)

    def find(self, conn: Connection, action: Relation) -> Place | None:
        """Return where our table is; None where it is gone, or was never made."""
        return find(conn, action)

    def refuse_built_on(self, conn: Connection, place: Place) -> None:
        """Refuse to drop our table where others have built on it; raises StateError with what that is."""
        require_alone(conn, place)

    def differences(self, conn: Connection, reading: Reading, action: RowTransfer, place: Place) -> Differences:
        """Compare all rows. Raises StateError where the columns are no longer those of the copy."""
        refuse_other_columns(conn, action, place.table)
        return compare(conn, reading, action, place.table)

    def give_back(self, conn: Connection, action: Relation) -> None:
        """Put the table that a rollback has taken away in its place again."""
        with conn.transaction():
            move(conn, present(conn, action), action.schema_name, action)
            mark(conn, action, withdrawn=False)

    def claim(self, action: RowTransfer, epoch: int, fence: Callable[[Session], object]) -> None:
        """Keep older runs from writing. Errors are those of the drivers."""
        with self.source.connect("follow") as ledger, self.open("claim") as conn, ledger.transaction():
            fence(ledger)
            with conn.transaction():
                claim(conn, action.into, epoch)

    def load(
        self,
        action: RowTransfer,
        shard: Shard,
        number: int,
        checkpoint: Checkpoint,
        between: Callable[[int], int | None],
    ) -> int:
        """Copy one shard, batch by batch. Errors are those of the drivers, so that `retrying` knows them."""
        with (
            self.source.connect("backfill") as ledger,
            self.open(WRITING) as conn,
            self.reading_on(action, conn, between) as (reading, before),
        ):
            return load(conn, ledger, reading, action, shard, number, self.epoch, self.limits, checkpoint, before)

    def follow(
        self, action: RowTransfer, fence: Callable[[Session], object], between: Callable[[int], int | None]
    ) -> int:
        """Carry what was written since the copy began. Errors are those of the drivers: `retrying` knows them."""
        source = self.noted()
        with (
            source.connect("follow") as ledger,
            self.open(WRITING) as conn,
            source.reading_notes(action, "follow", self.notes(conn)) as reading,
        ):
            table = present(conn, action.into).table
            prepare(conn, action, table)
            return follow(conn, ledger, reading, action, table, self.epoch, self.limits, fence, between)
