"""The table of MariaDB that rows are copied into, as steps: made, put in its place, and back."""

from collections.abc import Callable
from dataclasses import dataclass

from tasks.engines.journal import Journal
from tasks.engines.mysql.preflight import require_target
from tasks.engines.mysql.receiving.compare import compare, refuse_other_columns
from tasks.engines.mysql.receiving.cutover import cut_over
from tasks.engines.mysql.receiving.follow import follow, prepare
from tasks.engines.mysql.receiving.load import Taking, packet_of, require_short
from tasks.engines.mysql.receiving.notes import StreamNotes, watch
from tasks.engines.mysql.receiving.place import (
    Place,
    claim,
    clear,
    end_others,
    enroll,
    find,
    make,
    mark,
    move,
    number_from,
    present,
    require_alone,
    require_free,
    require_makeable,
)
from tasks.engines.mysql.session import MariaSession, connect
from tasks.engines.receiving.differences import Differences
from tasks.engines.receiving.load import load
from tasks.engines.receiving.source import Reading, StreamedRows
from tasks.engines.receiving.target import Receiving
from tasks.engines.records import Checkpoint, Shard
from tasks.engines.session import Session
from tasks.model.transfer_steps import Relation, RowTransfer


@dataclass(frozen=True, kw_only=True)
class MariaTarget(Receiving):
    """A database of MariaDB that takes rows, and their source, whose ledger says what is done to it.

    DDL commits by itself: a step that was cut off is asked of the catalogue, and finished, or taken back. Its statement
    may still wait where its process is gone: sessions of older runs are ended before anything is done.
    """

    def open(self, purpose: str) -> MariaSession:
        """Open a session with the target; whatever changes something there is found by the run that comes after."""
        conn = connect(self.url, lock_timeout_ms=self.limits.lock_budget)
        try:
            if purpose not in ("ask", "compare", "preflight"):
                enroll(conn, self.copy.into)
        except BaseException:
            conn.close()
            raise
        return conn

    def require_room(self, action: Relation) -> None:
        """Refuse a server that cannot be used, a table that exists, and rows that do not fit; change nothing."""
        with self.open("preflight") as conn:
            require_target(conn, action)
            require_free(conn, action)
            require_makeable(conn, action)
            packet = packet_of(conn)
        self.retrying()(self._require_short, packet)

    def _require_short(self, packet: int) -> None:
        with self.source.reading("measure") as reading:
            require_short(packet, reading, self.copy)

    def _forward(self, action: Relation, journal: Journal) -> None:
        with self.source.connect("swap") as ledger:
            with ledger.transaction():
                # Committed before anything happens, so that a rollback knows that something may have.
                journal.begin(ledger)
            if action.does == "put" and self.copy.notes:
                self._cut_over(ledger, action, journal)
                return
            with self.open("swap") as conn, ledger.transaction():
                # It fences: until this commits nobody takes over, and does the opposite meanwhile.
                journal.fence(ledger)
                if action.does == "put":
                    journal.guard(ledger)
                end_others(conn, action)
                self._do(conn, action)
                journal.finish(ledger)

    def _do(self, conn: MariaSession, action: Relation) -> None:
        if action.does == "make":
            make(conn, action, self.epoch)
        elif action.does == "watch":
            assert isinstance(self.source, StreamedRows), "no plan watches such a source"
            watch(conn, action, self.source.beginning(self.copy))
        elif action.does == "clear":
            clear(conn, action, self.limits.lock_budget)
        else:
            claim(conn, action, self.epoch)
            with self.source.reading("swap") as reading:
                self._put(conn, action, present(conn, action), reading)

    def _put(self, conn: MariaSession, action: Relation, place: Place, reading: Reading) -> None:
        if place.is_put(action):
            return
        if action.numbered:
            number_from(conn, action, place, reading.next_number(self.copy))
        move(conn, place, action.name, action, self.limits.lock_budget)

    def _cut_over(self, ledger: Session, action: Relation, journal: Journal) -> None:
        # First: it ends the sessions that write, also those of a run that was cut off in the middle of this.
        self.claim(self.copy, self.epoch, journal.fence)
        source = self.noted()
        with self.open("cutover") as conn:

            def put(place: Place, reading: Reading) -> None:
                # What was carried was read from this server: else it may be of commits that are gone.
                source.require_unbroken(ledger)
                self._put(conn, action, place, reading)

            taking = Taking(conn, self.copy, self.copy.into.staged)
            cut_over(taking, ledger, source, self.epoch, self.limits, journal, put)

    def _inverse(self, action: Relation, journal: Journal) -> None:
        with self.source.connect("rollback") as ledger, self.open("rollback") as conn:
            if action.does == "put":
                self._withdraw(ledger, conn, action, journal)
            with ledger.transaction():
                journal.begin(ledger)
                end_others(conn, action)
                if action.does == "make":
                    clear(conn, action, self.limits.lock_budget)
                elif action.does == "put" and find(conn, action) is not None:
                    # Only now: it has been looked at.
                    mark(conn, action, withdrawn=False)
                journal.finish(ledger)

    def _withdraw(self, ledger: Session, conn: MariaSession, action: Relation, journal: Journal) -> None:
        """Take the table away, then look for what would be lost: what is written later fails.

        Whatever goes wrong then, the table comes back. Killed in between, it is looked at again.
        """
        with ledger.transaction():
            journal.begin(ledger)
            end_others(conn, action)
            place = find(conn, action)
            if place is not None and place.is_put(action):
                # What refers to it would follow it.
                require_alone(conn, place)
                # First: under its own name nobody minds.
                mark(conn, action, withdrawn=True)
                move(conn, place, action.staged_name, action, self.limits.lock_budget)
                place = present(conn, action)
        if place is not None and place.withdrawn:
            self.look_at(ledger, conn, action, place, journal)

    def notes(self, conn: MariaSession) -> StreamNotes:
        """Return the notes that a session with the target reaches, where a stream tells of writes."""
        return StreamNotes(conn, self.copy)

    def find(self, conn: MariaSession, action: Relation) -> Place | None:
        """Return where our table is; None where it is gone, or was never made."""
        return find(conn, action)

    def refuse_built_on(self, conn: MariaSession, place: Place) -> None:
        """Refuse to drop our table where foreign keys of others refer to it; raises StateError with their names."""
        require_alone(conn, place)

    def differences(self, conn: MariaSession, reading: Reading, action: RowTransfer, place: Place) -> Differences:
        """Compare all rows. Raises StateError where the columns are no longer those of the copy."""
        refuse_other_columns(conn, action, place.name)
        return compare(conn, reading, action, place.table)

    def give_back(self, conn: MariaSession, action: Relation) -> None:
        """Put the table that a rollback has taken away in its place again."""
        move(conn, present(conn, action), action.name, action, self.limits.lock_budget)
        mark(conn, action, withdrawn=False)

    def claim(self, action: RowTransfer, epoch: int, fence: Callable[[Session], object]) -> None:
        """Keep older runs from writing. Errors are those of the drivers."""
        with self.source.connect("follow") as ledger, self.open("claim") as conn, ledger.transaction():
            fence(ledger)
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
            self.open("backfill") as conn,
            self.reading_on(action, conn, between) as (reading, before),
        ):
            taking = Taking(conn, action, action.into.staged)
            return load(taking, ledger, reading, shard, number, self.epoch, self.limits, checkpoint, before)

    def follow(
        self, action: RowTransfer, fence: Callable[[Session], object], between: Callable[[int], int | None]
    ) -> int:
        """Carry what was written since the copy began. Errors are those of the drivers: `retrying` knows them."""
        source = self.noted()
        with (
            source.connect("follow") as ledger,
            self.open("follow") as conn,
            source.reading_notes(action, "follow", self.notes(conn)) as reading,
        ):
            table = present(conn, action.into).table
            prepare(conn, action, table)
            taking = Taking(conn, action, table)
            return follow(taking, ledger, reading, self.epoch, self.limits, fence, between)
