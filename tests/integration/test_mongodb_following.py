"""What is written to a collection is noted by its change stream, and becomes in PostgreSQL what it is there."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from bson import Int64
from bson.json_util import loads
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.mongodb.connect import connected
from tasks.engines.mongodb.documents.expressions import to_text
from tasks.engines.mongodb.rows import changes
from tasks.engines.mongodb.rows.following import Following
from tasks.engines.mongodb.rows.planner import plan_rows
from tasks.engines.mongodb.rows.source import MongoRows
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.receiving.compare_moving import PostgresScratch
from tasks.engines.postgresql.receiving.cutover import cut_over
from tasks.engines.postgresql.receiving.follow import follow, prepare
from tasks.engines.postgresql.receiving.load import write
from tasks.engines.postgresql.receiving.notes import StreamNotes, watch
from tasks.engines.postgresql.receiving.place import Place, make, move
from tasks.engines.receiving.compare_moving import compare_moving
from tasks.engines.receiving.differences import Differences
from tasks.engines.receiving.source import Reading
from tasks.model.errors import DriftError, StepError
from tasks.model.spec import MigrationSpec
from tasks.model.transfer_steps import RowTransfer

COLUMNS: dict[str, Any] = {
    "_id": {"type": "numeric", "unfit": "reject"}, "v": {"type": "text", "unfit": "reject", "nulls": "both"},
}  # fmt: skip


class Copy:
    """A copy that has begun, on whatever is in the collection `t`."""

    def __init__(self, url: str, target: str, **transfer: Any) -> None:
        self.url, self.target = url, target
        whole = {"collection": "t", "to": {"database": "main", "table": "t"}, "capture": "change_stream",
                 "columns": COLUMNS, **transfer}  # fmt: skip
        spec = {"migration": "copy", "database": "shop", "strategy": "cross_database", "transfer": whole}
        with connected(url, name="test") as database:
            self.plan = plan_rows(database, MigrationSpec.model_validate(spec), "postgresql")
        self.action = next(step.action for step in self.plan.steps if isinstance(step.action, RowTransfer))
        self.rows = MongoRows(connect=lambda _: self.open(), connected=lambda: connected(url, name="test"))
        with self.open() as conn, conn.transaction():
            make(conn, self.action.into, 1)
            watch(conn, self.action.into, self.rows.beginning(self.action))

    def open(self) -> psycopg.Connection[Any]:
        """Open a session with the target."""
        return connect(self.target, application_name="test")

    @contextmanager
    def reading(self) -> Iterator[tuple[psycopg.Connection[Any], Following]]:
        """Open what reads documents and notes."""
        with (
            self.open() as conn,
            self.rows.reading_notes(self.action, "test", StreamNotes(conn, self.action)) as reading,
        ):
            yield conn, reading

    def load(self) -> None:
        """Copy everything at once."""
        with self.reading() as (conn, reading), conn.transaction():
            write(conn, self.action, self.action.into.staged, reading.lines(self.action, None, None))

    def follow(self, most: int = 3) -> int:
        """Carry what is noted."""
        with self.reading() as (conn, reading), self.open() as ledger:
            table = self.action.into.staged
            prepare(conn, self.action, table)
            return follow(conn, ledger, reading, self.action, table, 1, Limits(), lambda _: None, lambda _: most)

    def compare(self) -> Differences:
        """Compare."""
        with self.reading() as (conn, reading):
            return compare_moving(reading, PostgresScratch(conn, self.action, self.action.into.staged))

    def asked(self, query: str, *values: str) -> list[Any]:
        """Ask the target."""
        into = self.action.into
        names = {"t": into.staged, "rejected": into.rejected, "notes": into.notes, "stream": into.stream, "key": "key"}
        with self.open() as conn:
            return conn.execute(query.format(**names).encode(), values).fetchall()


@pytest.fixture
def source(documents: str) -> Iterator[Database[Any]]:
    with MongoClient(documents) as client:
        database = client.get_default_database()
        database.t.insert_many({"_id": number, "v": f"v{number}"} for number in range(20))
        yield database


@pytest.fixture
def copy(documents: str, database: str, source: Database[Any]) -> Copy:
    return Copy(documents, database)


def test_what_was_written_is_carried_whatever_it_was(copy: Copy, source: Database[Any]) -> None:
    """Before the load, beside it and after; what does not fit is noted, and comes back when it was mended."""
    source.t.update_one({"_id": 1}, {"$set": {"v": "before"}})
    source.t.delete_one({"_id": 2})
    copy.load()
    source.t.update_one({"_id": 3}, {"$set": {"v": "after"}})
    source.t.delete_one({"_id": 4})
    source.t.insert_many([{"_id": 30, "v": "new"}, {"_id": "text", "v": "x"}, {"_id": 31, "v": "a\0b"}])
    # An identity that is the same number in another type.
    source.t.delete_one({"_id": 5})
    source.t.insert_one({"_id": 5.0, "v": "a double"})
    with source.client.start_session() as session, session.start_transaction():
        source.t.update_many({"_id": {"$in": [6, 7]}}, {"$set": {"v": "together"}}, session=session)
        source.t.delete_one({"_id": 8}, session=session)
    with source.client.start_session() as session, session.start_transaction():
        source.t.delete_many({}, session=session)
        session.abort_transaction()
    before = copy.compare()
    # 3, 4, 5, 6, 7, 8, 30 differ; and the two that are rejected have no note of it yet.
    assert (before.equal, before.unsettled) == (True, 7)
    assert copy.follow() == 12
    after = copy.compare()
    assert (after.equal, after.unsettled, after.rejected, after.present) == (True, 0, 2, 18)
    assert copy.asked("select _id, v from {t} where v !~ '^v' order by _id") == [
        (1, "before"), (3, "after"), (5, "a double"), (6, "together"), (7, "together"), (30, "new"),
    ]  # fmt: skip
    assert {row[0] for row in copy.asked("select key from {rejected}")} == {
        to_text({"_id": "text"}), to_text({"_id": 31}),
    }  # fmt: skip
    source.t.update_one({"_id": 31}, {"$set": {"v": "mended"}})
    source.t.delete_one({"_id": "text"})
    source.t.update_one({"_id": 3}, {"$set": {"v": 5}})
    assert copy.compare().unsettled == 2
    assert copy.follow(1000) == 3
    assert [loads(row[0]) for row in copy.asked("select key from {rejected}")] == [{"_id": 3}]
    assert copy.asked("select v from {t} where _id = 31") == [("mended",)]
    assert copy.compare().equal


def test_what_nobody_noted_is_found_out(copy: Copy, source: Database[Any]) -> None:
    """A row that is changed here, gone or too many, and has no note, is a difference; so is a rejection of nothing."""
    copy.load()
    source.t.update_many({"_id": {"$lt": 5}}, {"$set": {"v": "new"}})
    source.t.delete_one({"_id": 7})
    copy.asked("update {t} set v = 'mine' where _id in (1, 9) returning 1")
    copy.asked("delete from {t} where _id in (2, 10) returning 1")
    copy.asked("insert into {t} (_id, v) values (100, 'mine') returning 1")
    copy.asked("insert into {rejected} (key, field, reason) values ('nobody', 'v', 'x') returning 1")
    found = copy.compare()
    assert (found.differing, found.superfluous, found.not_noted, found.unsettled) == (2, 1, 1, 6)
    assert set(found.examples) == {"9", "10"}


def test_carrying_twice_is_carrying_once(copy: Copy, source: Database[Any]) -> None:
    """Also of a stretch of the stream that is read twice: whoever comes second finds that it is done."""
    copy.load()
    source.t.update_many({}, {"$set": {"v": "new"}})
    with copy.reading() as (conn, reading), copy.reading() as (other, _):
        notes, others = (StreamNotes(one, copy.action) for one in (conn, other))
        known = notes.position()
        reading.catch_up(copy.action)
        assert notes.last() == 20
        assert not others.add(known, [to_text({"_id": 1})], known)
        reading.catch_up(copy.action)
        assert notes.last() == 20
    source.t.update_one({"_id": 2}, {"$set": {"v": "newer"}})
    assert copy.follow(1000) == 21
    assert copy.compare().equal
    # Somebody who died before the place was kept: the stretch is read again.
    copy.asked("insert into {notes} (key) values (%s) returning 1", to_text({"_id": 2}))
    assert copy.follow(1000) == 1
    assert copy.compare().equal


def test_all_is_read_that_was_written_before(copy: Copy, source: Database[Any]) -> None:
    """However much others write in between, into other collections, too."""
    copy.load()
    for turn in range(3):
        source.other.insert_many({"n": number} for number in range(3000))
        source.t.update_one({"_id": turn}, {"$set": {"v": "last"}})
        with copy.reading() as (_, reading):
            reading.catch_up(copy.action)
        assert copy.asked("select key from {notes} order by 1 desc limit 1")
        assert copy.follow() == 1


def test_another_database_moves_no_place(copy: Copy, source: Database[Any], documents: str) -> None:
    """A stream of a collection that is not there is silent: its place would skip what was written to the real one."""
    copy.load()
    source.t.update_one({"_id": 2}, {"$set": {"v": "late"}})
    before = copy.asked("select token, moment from {stream}")
    with MongoClient(documents) as client:
        other = client[f"{source.name}_other"]
        with client.start_session(causal_consistency=True) as session, copy.open() as conn:
            reading = Following(other, session, StreamNotes(conn, copy.action))
            with pytest.raises(DriftError, match="the URL names another database"):
                reading.catch_up(copy.action)
    assert copy.asked("select token, moment from {stream}") == before
    assert copy.follow() == 1


class _Opened(CommandListener):
    """Keeps the commands that open a stream."""

    def __init__(self) -> None:
        self.commands: list[Any] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "aggregate" and "$changeStream" in event.command["pipeline"][0]:
            self.commands.append(event.command)

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


def test_a_stream_may_take_long_to_come_to_its_end(copy: Copy, source: Database[Any], documents: str) -> None:
    """However much others have written: where the server gave up, it would do so at the same place each time."""
    opened = _Opened()
    with (
        MongoClient(documents, timeoutMS=20_000, event_listeners=[opened]) as client,
        client.start_session(causal_consistency=True) as session,
        copy.open() as conn,
    ):
        Following(client[source.name], session, StreamNotes(conn, copy.action)).catch_up(copy.action)
    assert [command.get("maxTimeMS") for command in opened.commands] == [None]


@pytest.mark.parametrize("what", ["drop", "rename"])
def test_another_collection_is_not_followed(copy: Copy, source: Database[Any], what: str) -> None:
    """Nothing of it is carried, and nothing that was is gone."""
    copy.load()
    if what == "drop":
        source.t.drop()
    else:
        source.t.rename("others")
    source.t.insert_one({"_id": 99, "v": "another"})
    for _ in range(2):
        with pytest.raises(DriftError, match="was dropped, renamed or made anew"):
            copy.follow()
        # The stream says so, too, to whoever was reading it by then.
        with copy.reading() as (conn, reading), reading.database.client.start_session() as session:
            known, until = StreamNotes(conn, copy.action).position(), changes.now(reading.database, session)
            with pytest.raises(StepError, match="was dropped or renamed while it was copied"):
                list(changes.changes(reading.database, copy.action, known, until, session))
    assert copy.asked("select count(*) from {t}") == [(20,)]


def test_a_place_that_the_server_has_forgotten_stops_it(copy: Copy, source: Database[Any]) -> None:
    """It says so, and what to do; the place is kept as it is."""
    copy.load()
    lost = {"_data": "82" + "0000000100000001" + "2B022C0100296E04"}
    copy.asked("update {stream} set token = %s returning 1", to_text(lost))
    source.t.update_one({"_id": 2}, {"$set": {"v": "new"}})
    with pytest.raises(StepError, match="its oplog does not reach back so far") as refused:
        copy.follow()
    assert "Roll back, then run again" in refused.value.hint
    assert copy.asked("select v from {t} where _id = 2") == [("v2",)]


def test_long_identities_and_numbers(source: Database[Any], documents: str, database: str) -> None:
    """Keys of several columns, texts beyond what an index holds, and the two ways to write a number."""
    source.t.delete_many({})
    source.t.insert_many([{"_id": {"a": 1, "b": "x"}, "v": "1"}, {"_id": {"a": Int64(2), "b": "é😀"}, "v": "2"}])
    columns = {"a": {"column": "_id.a", "unfit": "reject"}, "b": {"column": "_id.b", "unfit": "reject"}}
    copy = Copy(documents, database, columns=columns)
    copy.load()
    long = os.urandom(3000).hex()
    source.t.insert_many([{"_id": {"a": 3, "b": long}, "v": "3"}, {"_id": {"a": 4, "b": "\t\\N"}, "v": "4"}])
    source.t.delete_one({"_id": {"a": Int64(2), "b": "é😀"}})
    assert copy.compare().unsettled == 2
    assert copy.follow(1) == 3
    assert copy.asked("select a, b, v from {t} order by a") == [(1, "x", "1"), (4, "\t\\N", "4")]
    assert copy.asked("select count(*) from {rejected}") == [(1,)]
    assert copy.compare().equal


def test_the_oplog_says_how_far_it_reaches(source: Database[Any], documents: str) -> None:
    """Where the user may see it."""
    source.t.insert_one({})
    with connected(documents, name="test") as database:
        hours = changes.hours_kept(database)
    assert hours is not None
    assert 0 <= hours < 1000


def test_a_place_is_taken_while_others_write(copy: Copy, source: Database[Any], documents: str) -> None:
    """Also where something is written in the moment in which the stream is opened: the driver has no token then."""
    ended = threading.Event()

    def write() -> None:
        with MongoClient(documents) as client:
            while not ended.is_set():
                client[source.name].t.insert_many([{} for _ in range(100)])

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        with connected(documents, name="test") as database:
            places = [changes.beginning(database, copy.action).token for _ in range(40)]
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert "null" not in places


def test_who_comes_after_a_killed_swap_keeps_nobody_waiting(copy: Copy, source: Database[Any]) -> None:
    """Only until the table is in its place is it locked while MongoDB is asked; late notes are carried, too."""
    copy.load()
    action, locked, waits = copy.action, list[bool](), list[str]()

    def put(place: Place, reading: Reading) -> None:
        modes = "select count(*) from pg_locks where relation = %s::regclass and mode = 'AccessExclusiveLock'"
        locked.append(bool(copy.asked(modes, place.table)[0][0]))
        if not place.is_put(action.into):
            move(conn, place, action.into.schema_name, action.into)

    def late(_: Any) -> None:
        if not locked:
            source.t.update_one({"_id": 2}, {"$set": {"v": "late"}})

    # What is carried last may take as long as it takes, where nobody has the table.
    slow = (
        "create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.5); return new; end';"
        " create trigger slow before update on {t} for each row when (new.v = 'late') execute function slow()"
    )
    with copy.open() as conn:
        conn.execute(slow.format(t=action.into.staged).encode())
    quiet = Journal(begin=lambda _: None, finish=lambda _: None, guard=late, waiting=waits.append)
    for value in ("first", "again"):
        source.t.update_one({"_id": 1}, {"$set": {"v": value}})
        with copy.open() as conn, copy.open() as ledger:
            cut_over(conn, ledger, copy.rows, action, 1, Limits(lock_patience=5.0), quiet, put)
        assert copy.asked("select v from public.t where _id = 1") == [(value,)]
    assert (locked, waits) == ([True, False], [])
    assert copy.asked("select v from public.t where _id = 2") == [("late",)]
    assert copy.asked("select from {notes}") == []
