"""Whatever is written to a table that is copied is noted, and what is noted becomes what the row gives."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from typing import Any

import psycopg
import pytest
from pymongo import MongoClient
from pymongo.database import Database

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.mongodb import follow as following
from tasks.engines.mongodb.compare import Differences, compare
from tasks.engines.mongodb.connect import connected
from tasks.engines.mongodb.cutover import cut_over
from tasks.engines.mongodb.document import Made
from tasks.engines.mongodb.follow import follow
from tasks.engines.mongodb.scan import pieces
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.planning.transfer import plan_transfer
from tasks.engines.postgresql.rows import Reading
from tasks.model.errors import ChangeoverError, LockTimeoutError, PreflightError, SpecError, StateError, StepError
from tasks.model.spec import MigrationSpec
from tasks.model.steps import Phase, ShortTransaction
from tasks.model.transfer_steps import DocumentTransfer

TABLE = """
create table t (a numeric, b text, amount numeric, note text, active boolean not null default true, primary key (a, b));
create table parted (id int primary key) partition by range (id);
create table other (id int primary key, a numeric);
create unlogged table quick (id int primary key);
create function looked_up(int) returns numeric language sql stable as 'select sum(a) from t';
create function doubled(int) returns int language sql immutable as 'select 2 * $1';
create operator @@@ (function = looked_up, rightarg = int)"""
LATE = {"failCommands": ["update"], "blockConnection": True, "blockTimeMS": 900}
FIELDS: dict[str, Any] = {
    "_id": {"column": "a", "type": "string"},
    "amount": {"column": "amount", "unfit": "reject"},
    "note": {"up": "upper(note)"},
}


def spec_of(table: str = "t", where: str = "active", **fields: Any) -> MigrationSpec:
    transfer = {
        "table": table,
        "to": {"database": "documents", "collection": "c"},
        "capture": "triggers",
        "where": where,
        "fields": fields,
    }
    return MigrationSpec.model_validate({"migration": "m", "strategy": "cross_database", "transfer": transfer})


class Copy:
    """A copy with its triggers, where nothing has been copied yet."""

    def __init__(self, conn: psycopg.Connection[Any], target: Database[Any], spec: MigrationSpec) -> None:
        self.conn, self.target = conn, target
        self.plan = plan = plan_transfer(conn, spec, "public")
        self.action = next(step.action for step in plan.steps if isinstance(step.action, DocumentTransfer))
        for step in (*plan.phase(Phase.EXPAND), *plan.phase(Phase.DUAL_WRITE)):
            if isinstance(step.action, ShortTransaction):
                for statement in step.action.forward:
                    conn.execute(statement.encode())

    def follow(self, most: int = 3) -> int:
        return follow(self.conn, self.target["c"], self.action, Limits(), lambda _: None, lambda _: most)

    def compare(self) -> Differences:
        return compare(self.conn, self.target, "c", self.action, "public")

    @property
    def notes(self) -> int:
        row = self.conn.execute(f"select count(*) from {self.action.notes}".encode()).fetchone()
        return int(row[0]) if row else -1


@pytest.fixture
def target(documents: str) -> Iterator[Database[Any]]:
    with MongoClient(documents) as client:
        yield client.get_default_database()


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection[Any]]:
    with connect(database, application_name="test", search_path="public") as conn:
        conn.execute(TABLE.encode())
        yield conn


@pytest.fixture
def copy(conn: psycopg.Connection[Any], target: Database[Any]) -> Copy:
    conn.execute("alter table t drop constraint t_pkey, add primary key (a)")
    copy = Copy(conn, target, spec_of(**FIELDS))
    conn.execute("insert into t select i, 'b' || i, i / 4.0, repeat('long ', 1000) || i from generate_series(1, 20) i")
    copy.follow()
    assert target["c"].count_documents({}) == 20
    return copy


WRITES = {
    "a value that is stored apart stays as it is": "update t set amount = 1 where a = 3",
    "a key that changes": "update t set a = 100 where a = 3",
    "a key that looks different and is equal": "update t set a = 3.00 where a = 3",
    "keys that change places": "update t set a = a + 1000; update t set a = 1021 - a",
    "a row that goes and comes back": "delete from t where a = 3; insert into t values (3, 'again', 1)",
    "a row that leaves the filter": "update t set active = false where a in (3, 4)",
    "a row that enters the filter": "insert into t values (30, 'x', 1, 'n', false); update t set active = true",
    "a row that does not fit": f"update t set amount = {'7' * 40} where a = 3",
    "one that does not fit, and is corrected": (
        f"update t set amount = {'7' * 40} where a < 5; update t set amount = 1 where a = 3"
    ),
    "one that does not fit, and goes": f"insert into t values (40, 'x', {'7' * 40}); delete from t where a = 40",
    "everything goes": "delete from t",
    "everything is emptied": "truncate t",
    "everything is emptied, and rows come": "delete from t; truncate t; insert into t values (3, 'n'), (50, 'n')",
    "many rows at once": "insert into t select i, 'many', i from generate_series(1001, 6000) i;"
    " delete from t where a > 1005",
    "what another server has written": "set session_replication_role = replica; update t set note = 'r' where a = 3;"
    " reset session_replication_role",
    "a write that is undone": "begin; update t set note = 'no'; truncate t; rollback",
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_is_written_arrives(copy: Copy, write: str) -> None:
    """Before it is carried it is no difference, for it is noted; afterwards nothing is noted, and all is equal."""
    for statement in write.split(";"):
        copy.conn.execute(statement.encode())
    before = copy.compare()
    if not before.emptied:
        assert (before.differing, before.superfluous, before.not_noted) == (0, 0, 0)
    assert before.equal is not before.emptied
    copy.follow(1000)
    after = copy.compare()
    assert copy.notes == 0
    assert after.equal
    assert after.unsettled == 0
    rows = copy.conn.execute(
        "select a::text, amount, upper(note) from t where active and (amount is null or length(amount::text) < 35)"
    ).fetchall()
    found = [(d["_id"], d["amount"] and d["amount"].to_decimal(), d["note"]) for d in copy.target["c"].find()]
    assert sorted(found, key=str) == sorted(rows, key=str)


def test_carrying_twice_is_carrying_once(copy: Copy) -> None:
    """Cut off after MongoDB was written, the notes are still there, and say the same."""
    copy.conn.execute("update t set note = 'new' where a < 5; delete from t where a = 7")
    with copy.conn.transaction(force_rollback=True):
        assert copy.follow(1000) == 5
    assert copy.notes == 5
    copy.conn.execute("update t set note = 'newer' where a = 2")
    assert copy.compare().differing == 0
    assert copy.follow(1000) == 6
    assert copy.compare().equal
    assert {d["_id"]: d["note"] for d in copy.target["c"].find({"_id": {"$in": ["1", "2", "7"]}})} == {
        "1": "NEW", "2": "NEWER"}  # fmt: skip


def test_all_documents_are_counted_however_long_that_takes(copy: Copy, documents: str) -> None:
    """By the index, and without the client's limit of seconds for any one operation: there may be a billion."""
    copy.target.command("profile", 2)
    with connected(documents, name="test") as database:
        assert compare(copy.conn, database, "c", copy.action, "public").equal
    copy.target.command("profile", 0)
    done = list(copy.target["system.profile"].find({"command.aggregate": "c"}))
    assert [(one["docsExamined"], one["command"].get("maxTimeMS")) for one in done] == [(0, None)]


def test_what_nobody_noted_is_found_out(copy: Copy) -> None:
    """A document that is changed, gone or too many, of a row without a note, is a difference."""
    copy.conn.execute("update t set note = 'new' where a < 5; delete from t where a = 7")
    copy.target["c"].update_one({"_id": "9"}, {"$set": {"note": "mine"}})
    copy.target["c"].delete_one({"_id": "10"})
    copy.target["c"].insert_one({"_id": "mine"})
    found = copy.compare()
    assert (found.differing, found.superfluous, found.equal) == (2, 1, False)
    assert found.examples == ("9", "10")


def test_a_value_that_nobody_decided_about_stops_it(conn: psycopg.Connection[Any], target: Database[Any]) -> None:
    """Nothing of the bite is forgotten: corrected, it goes on."""
    conn.execute("alter table t drop constraint t_pkey, add primary key (a)")
    copy = Copy(conn, target, spec_of(_id={"column": "a", "type": "string"}, amount="amount"))
    conn.execute(f"insert into t values (1, 'x', 1), (2, 'x', {'7' * 40})")
    with pytest.raises(StepError, match="more digits than a decimal has"):
        copy.follow(1000)
    conn.execute("update t set amount = 2 where a = 2")
    copy.follow(1000)
    assert copy.compare().equal
    assert target["c"].count_documents({}) == 2


@pytest.mark.parametrize(
    ("spec", "error", "match"),
    [
        (spec_of("parted", "true", n="id"), PreflightError, "partitioned"),
        (spec_of("quick", "true", n="id"), PreflightError, "unlogged"),
        (spec_of(_id={"up": "a::int"}, n="note"), SpecError, "noted by their key"),
        (spec_of("other", "true", n={"up": "(select count(*) from t where t.a = other.a)"}), SpecError, "reads t, too"),
        (spec_of("other", "id in (select a from t)", n="id"), SpecError, "reads t, too"),
        (spec_of("other", "id = (select max(o.id) from other o)", n="id"), SpecError, "reads other, too"),
        (spec_of("other", "true", n={"up": "looked_up(id) + doubled(id)"}), SpecError, r"calls looked_up\(integer\),"),
        (spec_of("other", "(@@@ id) > 1", n="id"), SpecError, r"calls looked_up\(integer\), not"),
    ],
)
def test_what_would_go_unnoticed_is_refused(
    conn: psycopg.Connection[Any], spec: MigrationSpec, error: type[ChangeoverError], match: str
) -> None:
    with pytest.raises(error, match=match):
        plan_transfer(conn, spec, "public")


def test_a_function_of_the_row_alone_is_no_obstacle(conn: psycopg.Connection[Any]) -> None:
    assert plan_transfer(conn, spec_of("other", "true", n={"up": "doubled(id) + length(id::text)"}), "public").steps


def test_a_key_of_a_domain_that_is_never_null(conn: psycopg.Connection[Any], target: Database[Any]) -> None:
    """The note of a TRUNCATE has no key: the application's statement does not fail for that."""
    conn.execute(
        "create domain code as char(4) not null check (value <> ''); create domain part as code;"
        'create domain plain as text collate "C" not null;'
        "create table coded (a part, b varchar(6), c plain, n int, primary key (a, b, c))"
    )
    copy = Copy(conn, target, spec_of("coded", "true", n="n"))
    conn.execute(
        "insert into coded values ('x', 'y', 'Ab', 1), ('long', 'b', 'b', 2); update coded set c = 'B' where n = 1"
    )
    copy.follow()
    assert copy.compare().equal
    assert target["c"].find_one({"n": 1})["_id"] == {"a": "x   ", "b": "y", "c": "B"}  # type: ignore[index]
    conn.execute("truncate coded")
    copy.follow()
    assert copy.compare().equal
    assert target["c"].count_documents({}) == 0


def test_a_publication_of_all_tables_is_pointed_out(conn: psycopg.Connection[Any]) -> None:
    """It sends what is made beside the table, too, and its subscribers do not have that."""
    conn.execute("create publication everything for all tables; create publication few for table other")
    found = plan_transfer(conn, spec_of("other", "true", n="id"), "public").findings
    (said,) = (one.message for one in found if one.rule == "XDB-04")
    assert said.startswith("the publication everything sends all tables:")


def test_documents_are_held_as_many_as_fit(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are noted; and those of a bite that is written in parts are all there, or gone, or left out."""
    parts: list[int] = []
    put = following.put

    def spied(conn: Any, into: Any, action: Any, gone: list[Made], made: list[Made]) -> None:
        parts.append(sum(len(one.document) for one in made))
        put(conn, into, action, gone, made)

    monkeypatch.setattr(following, "put", spied)
    monkeypatch.setattr(following, "BATCH_BYTES", 12_000)
    copy.conn.execute(f"update t set note = note || '!', amount = case when a in (5, 6) then {'7' * 40} else 1 end")
    copy.conn.execute("delete from t where a = 7; update t set active = false where a = 8")
    copy.follow(1000)
    assert sum(parts) > 5 * 12_000
    assert max(parts) < 12_000 + 6_000
    assert copy.compare().equal
    assert copy.target["c"].count_documents({"note": {"$regex": "!$"}}) == 16
    with closing(pieces(copy.conn, copy.action)) as read:
        sizes = [sum(len(one.document) for one in some) for some in read]
    assert (len(sizes) > 5, max(sizes) < 12_000 + 6_000) == (True, True)


def test_documents_that_take_long_are_given_up_under_the_lock(
    copy: Copy, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the database nor the driver ends what is done between their statements."""
    made, waits, held = following.documents, list[str](), list[float]()

    def slow(*given: Any) -> Iterator[Made]:
        for one in made(*given):
            time.sleep(0.04 * (given[0].table == copy.action.table))
            if len(held) == 3:
                # The server hears nothing, and ends the session.
                time.sleep(1.2)
            yield one

    def write(_: object) -> None:
        if len(held) < 3:
            with psycopg.connect(database) as other:
                other.execute("update t set note = 'new'" if not held else "update t set note = 'newer' where a = 3")
        if len(held) == 1:
            copy.target.client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=LATE)
        held.append(-time.monotonic())

    def waiting(why: str) -> None:
        held[-1] += time.monotonic()
        waits.append(why)

    monkeypatch.setattr(following, "documents", slow)
    opened = partial(connect, database, application_name="test", search_path="public")
    cut(copy, lambda _: None, patience=30, opened=opened, begin=write, waiting=waiting)
    assert waits[:3] == [
        "what was done under the lock took more than 300 ms", "MongoDB took more than 300 ms under the lock",
        "what was done under the lock took more than 300 ms",
    ]  # fmt: skip
    assert max(held[:2]) < 0.7
    assert copy.target["c"].count_documents({"note": "NEW"}) == 19


def cut(
    copy: Copy,
    put: Callable[[str], None],
    patience: float,
    opened: Callable[[], AbstractContextManager[psycopg.Connection[Any]]] | None = None,
    **told: Callable[[Any], None],
) -> None:
    journal = Journal(begin=told.pop("begin", lambda _: None), finish=lambda _: None, **told)
    limits = Limits(lock_budget=300, lock_patience=patience)
    opened = opened or partial(nullcontext, copy.conn)
    cut_over(opened, copy.target, lambda: "c", copy.action, limits, journal, lambda _, called: put(called))


def test_a_writer_in_flight_is_waited_for(copy: Copy, database: str) -> None:
    """Nothing is named while it is there; its write is the last that arrives, and no writer is kept out meanwhile."""
    named: list[str] = []
    with psycopg.connect(database) as other:
        other.execute("update t set note = 'in flight' where a = 3")
        with pytest.raises(LockTimeoutError, match="could not be held still"):
            cut(copy, named.append, patience=1)
        assert named == []
        copy.conn.execute("update t set note = 'meanwhile' where a = 4")
        ending = threading.Timer(1.0, other.commit)
        ending.start()
        cut(copy, named.append, patience=30)
        ending.join()
    assert named == ["c"]
    assert copy.notes == 0
    assert [copy.target["c"].find_one(i)["note"] for i in ("3", "4")] == ["IN FLIGHT", "MEANWHILE"]  # type: ignore[index]


def test_nobody_writes_while_the_collection_is_named(copy: Copy, database: str) -> None:
    """What was not named in time is given up: the writer goes on, and the next attempt carries what it wrote."""
    tried: list[bool] = []

    def put(_: str) -> None:
        with psycopg.connect(database, autocommit=True, options="-c lock_timeout=50ms") as other:
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("update t set note = 'too early' where a = 3")
            assert other.execute("select count(*) from t").fetchone() == (20,)
        tried.append(True)
        if len(tried) == 1:
            raise psycopg.errors.LockNotAvailable

    cut(copy, put, patience=30)
    assert len(tried) == 2
    copy.conn.execute("update t set note = 'later' where a = 3")
    assert copy.notes == 1


def test_nobody_waits_until_all_rows_are_compared(copy: Copy, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who truncates waits for a range, not for the comparison."""
    monkeypatch.setattr("tasks.engines.mongodb.scan.ROWS", 5)
    copy.conn.execute("insert into t select i, 'x' from generate_series(100, 300) i")
    copy.action = copy.action.model_copy(update={"where": "pg_sleep(0.02) is not null"})

    def truncate() -> None:
        with psycopg.connect(database, autocommit=True) as other:
            other.execute("truncate t")

    def look(action: Any) -> None:
        while True:
            reading.end_of_batch(action, None, None, 5)

    waits = threading.Timer(0.2, truncate)
    waits.start()
    with pytest.raises(StateError, match="waits for t, to empty"):
        copy.compare()
    waits.join(5)
    assert copy.compare().emptied
    reading = Reading(copy.conn)
    waits = threading.Timer(0.2, truncate)
    with reading.snapshot():
        waits.start()
        with pytest.raises(StateError, match="waits for t, to empty"):
            look(copy.action)
    waits.join(5)
