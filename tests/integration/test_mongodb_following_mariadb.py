"""What is written to a collection is noted by its change stream in MariaDB, and becomes there what the document is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bson import ObjectId
from bson.json_util import loads
from pymongo import MongoClient
from pymongo.database import Database

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.mongodb.connect import connected
from tasks.engines.mongodb.documents.expressions import to_text
from tasks.engines.mongodb.rows.following import Following
from tasks.engines.mongodb.rows.planner import plan_rows
from tasks.engines.mongodb.rows.reading import Reading
from tasks.engines.mongodb.rows.source import MongoRows
from tasks.engines.mysql.receiving import load
from tasks.engines.mysql.receiving.compare import compare
from tasks.engines.mysql.receiving.compare_moving import MariaScratch
from tasks.engines.mysql.receiving.cutover import cut_over
from tasks.engines.mysql.receiving.follow import follow, prepare
from tasks.engines.mysql.receiving.load import Taking, packet_of, require_short
from tasks.engines.mysql.receiving.notes import StreamNotes, watch
from tasks.engines.mysql.receiving.place import Place, make, move
from tasks.engines.mysql.session import MariaSession, connect
from tasks.engines.postgresql.connect import connect as of_ledger
from tasks.engines.receiving.compare_moving import READ, compare_moving
from tasks.engines.receiving.differences import Differences
from tasks.engines.receiving.load import write
from tasks.model.errors import PreflightError, StepError
from tasks.model.spec import MigrationSpec
from tasks.model.transfer_steps import RowTransfer

COLUMNS: dict[str, Any] = {
    "_id": {"type": "decimal(20,0)", "unfit": "reject"},
    "v": {"type": "longtext", "unfit": "reject", "nulls": "both"},
}  # fmt: skip


class Copy:
    """A copy that has begun, on whatever is in the collection `t`."""

    def __init__(self, url: str, target: str, ledger: str, **transfer: Any) -> None:
        self.target, self.ledger = target, ledger
        whole = {"collection": "t", "to": {"database": "rows", "table": "t"}, "capture": "change_stream",
                 "columns": COLUMNS, **transfer}  # fmt: skip
        spec = {"migration": "copy", "database": "shop", "strategy": "cross_database", "transfer": whole}
        with connected(url, name="test") as database:
            plan = plan_rows(database, MigrationSpec.model_validate(spec), "mariadb")
        self.action = next(step.action for step in plan.steps if isinstance(step.action, RowTransfer))
        self.rows = MongoRows(connect=lambda _: self.open_ledger(), connected=lambda: connected(url, name="test"))
        with self.open() as conn:
            make(conn, self.action.into, 1)
            for _ in range(2):
                # Cut off in between, it is done again; the place is kept once.
                watch(conn, self.action.into, self.rows.beginning(self.action))
            self.first = StreamNotes(conn, self.action).position()

    def open(self) -> MariaSession:
        """Open a session with the target."""
        return connect(self.target, lock_timeout_ms=300)

    def open_ledger(self) -> Any:
        """Open a session with the ledger."""
        return of_ledger(self.ledger, application_name="test")

    @contextmanager
    def reading(self) -> Iterator[tuple[MariaSession, StreamNotes, Following]]:
        """Open what reads documents and notes."""
        with self.open() as conn:
            notes = StreamNotes(conn, self.action)
            with self.rows.reading_notes(self.action, "test", notes) as reading:
                yield conn, notes, reading

    def load(self) -> None:
        """Copy everything at once."""
        with self.reading() as (conn, _, reading), conn.transaction():
            write(Taking(conn, self.action, self.action.into.staged), reading.lines(self.action, None, None))

    def follow(self, most: int = 3) -> int:
        """Carry what is noted."""
        with self.reading() as (conn, _, reading), self.open_ledger() as ledger:
            table = self.action.into.staged
            prepare(conn, self.action, table)
            taking = Taking(conn, self.action, table)
            return follow(taking, ledger, reading, 1, Limits(), lambda _: None, lambda _: most)

    def compare(self) -> Differences:
        """Compare."""
        with self.reading() as (conn, _, reading):
            return compare_moving(reading, MariaScratch(conn, self.action, self.action.into.staged))

    def asked(self, query: str, *values: str) -> list[Any]:
        """Ask the target."""
        into = self.action.into
        names = {"t": into.staged, "rejected": into.rejected, "notes": into.notes, "stream": into.stream,
                 "key": "`key`"}  # fmt: skip
        with self.open() as conn:
            return list(conn.execute(query.format(**names), values or None).fetchall())


@pytest.fixture
def source(documents: str) -> Iterator[Database[Any]]:
    with MongoClient(documents) as client:
        database = client.get_default_database()
        database.t.insert_many({"_id": number, "v": f"v{number}"} for number in range(20))
        yield database


@pytest.fixture
def copy(documents: str, maria_database: str, database: str, source: Database[Any]) -> Copy:
    return Copy(documents, maria_database, database)


def test_what_was_written_is_carried_whatever_it_was(copy: Copy, source: Database[Any]) -> None:
    """Before the load, beside it and after; what does not fit is noted, and comes back when it was mended."""
    source.t.update_one({"_id": 1}, {"$set": {"v": "before"}})
    source.t.delete_one({"_id": 2})
    copy.load()
    source.t.update_one({"_id": 3}, {"$set": {"v": "a\0b"}})
    source.t.delete_one({"_id": 4})
    source.t.insert_many([{"_id": 30, "v": "new"}, {"_id": "text", "v": "x"}, {"_id": 31, "v": 5}])
    # An identity that is the same number in another type.
    source.t.delete_one({"_id": 5})
    source.t.insert_one({"_id": 5.0, "v": "a double"})
    before = copy.compare()
    # 3, 4, 5, 30 differ; and the two that are rejected have no note of it yet.
    assert (before.equal, before.unsettled) == (True, 4)
    assert copy.follow() == 9
    after = copy.compare()
    assert (after.equal, after.unsettled, after.rejected, after.present) == (True, 0, 2, 19)
    assert copy.asked("select _id, v from {t} where v not like 'v%' order by _id") == [
        (1, "before"), (3, "a\0b"), (5, "a double"), (30, "new"),
    ]  # fmt: skip
    assert {row[0] for row in copy.asked("select `key` from {rejected}")} == {
        to_text({"_id": "text"}), to_text({"_id": 31}),
    }  # fmt: skip
    source.t.update_one({"_id": 31}, {"$set": {"v": "mended"}})
    source.t.delete_one({"_id": "text"})
    source.t.update_one({"_id": 3}, {"$set": {"v": 5}})
    assert copy.compare().unsettled == 2
    assert copy.follow(1000) == 3
    assert [loads(row[0]) for row in copy.asked("select `key` from {rejected}")] == [{"_id": 3}]
    assert copy.asked("select v from {t} where _id = 31") == [("mended",)]
    assert copy.compare().equal
    with copy.open() as conn:
        conn.execute(f"update {copy.action.into.staged} set v = 'mine' where _id in (1, 9)")
        conn.execute(f"delete from {copy.action.into.staged} where _id = 10")
        conn.execute(f"insert into {copy.action.into.staged} values (100, 'mine')")
        conn.execute(f"insert into {copy.action.rejected} (key_hash, field, `key`, reason) values ('x', 'v', 'x', 'x')")
    source.t.update_one({"_id": 1}, {"$set": {"v": "new"}})
    # What nobody noted is found out: changed here, gone, too many, and a rejection of nothing.
    found = copy.compare()
    assert (found.differing, found.superfluous, found.not_noted, found.unsettled) == (2, 1, 1, 1)
    assert set(found.examples) == {"9", "10"}


def test_a_key_of_bytes_is_told_by_its_digits(
    documents: str, maria_database: str, database: str, source: Database[Any]
) -> None:
    """They are no text: the server would warn, and nobody could tell what differs, while writes are noted or not."""
    source.t.drop()
    source.t.insert_many({"_id": ObjectId(f"{number:02x}ff" + "80" * 10), "v": "v"} for number in range(3))
    copy = Copy(documents, maria_database, database, columns={"_id": {"type": "varbinary(12)"}, "v": {}})
    copy.load()
    with copy.reading() as (conn, _, reading):
        scratch = MariaScratch(conn, copy.action, copy.action.into.staged)
        assert compare_moving(reading, scratch).equal
        # A key that was read has its room once.
        scratch.keep_read()
        assert scratch.asked(f"select count(*) from {scratch.named(READ)}") == ((3,),)
    with copy.open() as conn:
        conn.execute(f"update {copy.action.into.staged} set v = 'mine' where hex(_id) like '01%%'", ())
    still = copy.action.model_copy(update={"notes": ""})
    with copy.open() as conn, copy.rows.reading("test") as reading:
        for found in (copy.compare(), compare(conn, reading, still, still.into.staged)):
            assert (found.differing, found.examples) == (1, ("01ff" + "80" * 10,))


def test_the_place_is_moved_once_and_kept_when_it_is_lost(copy: Copy, source: Database[Any]) -> None:
    """Whoever comes second finds that it is done; the same place again is no failure; within a transaction, too."""
    copy.load()
    source.t.update_many({}, {"$set": {"v": "new"}})
    with copy.reading() as (conn, notes, reading), copy.open() as other:
        reading.catch_up(copy.action)
        assert (notes.last(), notes.count()) == (20, 20)
        assert not StreamNotes(other, copy.action).add(copy.first, [to_text({"_id": 1})], copy.first)
        now = notes.position()
        assert notes.add(now, [], now)
        conn.execute("start transaction")
        assert notes.add(now, [to_text({"_id": 1})], copy.first)
        conn.execute("rollback")
        assert (notes.last(), notes.position()) == (20, now)
    assert copy.follow(1000) == 20
    with copy.open() as conn:
        conn.execute(f"delete from {copy.action.into.stream}")
    with pytest.raises(StepError, match="is empty: it says how far"):
        copy.follow()


def test_who_comes_after_a_killed_swap_carries_into_the_table_in_its_place(copy: Copy, source: Database[Any]) -> None:
    """A RENAME commits by itself: until the swap is recorded, rows of the source are the truth."""
    copy.load()
    action, quiet = copy.action, Journal(begin=lambda _: None, finish=lambda _: None)
    for value in ("first", "again"):
        source.t.update_one({"_id": 1}, {"$set": {"v": value}})
        with copy.open() as conn, copy.open_ledger() as ledger:

            def put(place: Place, _: Any, conn: MariaSession = conn) -> None:
                if not place.is_put(action.into):
                    move(conn, place, action.into.name, action.into, 300)

            taking = Taking(conn, action, action.into.staged)
            cut_over(taking, ledger, copy.rows, 1, Limits(lock_patience=5.0), quiet, put)
        assert copy.asked("select v from t where _id = 1") == [(value,)]
    assert copy.asked("select * from {notes}") == []


def test_documents_that_no_statement_holds_are_counted_and_others_are_sent_apart(
    copy: Copy, source: Database[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many documents come as one line, which may be longer than a statement, where none of them is."""
    source.t.insert_many({"_id": 100 + number, "v": "'" * 1500} for number in range(40))
    packet = 4096 + 1024 * 2 + 3500
    with connected_to(copy) as reading:
        require_short(packet, reading, copy.action)
        source.t.insert_one({"_id": 200, "v": "\\" * 1800})
        with pytest.raises(PreflightError, match="1 rows are longer than max_allowed_packet"):
            require_short(packet, reading, copy.action)
    source.t.delete_one({"_id": 200})
    with copy.open() as conn:
        assert packet_of(conn) > packet
    # The server takes longer ones: what counts is how long those are that are sent.
    sent = list[int]()
    send = MariaSession.send
    monkeypatch.setattr(load, "packet_of", lambda _: packet)
    monkeypatch.setattr(MariaSession, "send", lambda conn, text: sent.append(len(text)) or send(conn, text))
    copy.load()
    assert max(sent) < packet
    assert len(sent) > 10
    monkeypatch.undo()
    assert copy.compare().equal


@contextmanager
def connected_to(copy: Copy) -> Iterator[Reading]:
    """Open what reads documents."""
    with copy.rows.reading("measure") as reading:
        yield reading
