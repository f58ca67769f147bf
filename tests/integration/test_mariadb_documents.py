"""Rows of MariaDB as documents: every type to its edges, and notes of writes carried and compared, without a run."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary, Decimal128, ObjectId
from pymongo import MongoClient
from pymongo.database import Database

from profiles.model import Database as Settings
from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.mongodb import compare as comparing
from tasks.engines.mongodb import of_mariadb, scan
from tasks.engines.mongodb.compare import Differences, compare
from tasks.engines.mongodb.document import Made, documents
from tasks.engines.mongodb.of_mariadb import cut_over, follow
from tasks.engines.mongodb.scan import examine
from tasks.engines.mysql.as_documents import pending, rows, rows_of
from tasks.engines.mysql.dialect import dialect_of
from tasks.engines.mysql.engine import MariaEngine
from tasks.engines.mysql.planning.transfer_documents import plan_documents
from tasks.engines.mysql.session import MariaSession, connect
from tasks.engines.mysql.transfer_rows import MariaRows, Reading
from tasks.model.errors import PreflightError, SpecError, StateError
from tasks.model.spec import MigrationSpec
from tasks.model.status import GateResult
from tasks.model.steps import Phase, SelfCommitting
from tasks.model.transfer_steps import DocumentTransfer
from tests.acceptance.test_cross_database_rows import EDGES, VALUES
from tests.integration.test_transfer_follow import LATE
from tests.two_databases import begun_meanwhile, between
from validations.transfer import transferred

MORE = """
alter table `Odd "t` add (z datetime null, j json, oid varbinary(12), hex char(24), flag tinyint(1), bits bit(64),
  big65 decimal(65, 30), time1 time, near double, place point, g2 float, de char(3) character set cp1250)
"""
TYPED: dict[str, Any] = {
    **{one: one for one in ("t1", "s", "m", "i", "big", "d", "f", "g", "c", "v", "x", "e", "st", "bi", "vb", "bl")},
    **{one: one for one in ("b1", "b9", "y", "u", "ip", "ts", "de")},
    "huge": {"column": "huge", "type": "decimal"},
    "also.huge": {"column": "huge", "unfit": "string"},
    "dt": {"column": "dt", "type": "date"},
    "at": {"column": "at", "type": "date", "unfit": "tag"},
    "tm": {"column": "tm", "type": "string"},
    "members": {"column": "st", "type": "string"},
    "z": {"column": "z", "type": "date", "unfit": "tag", "nulls": "missing"},
    "j": {"column": "j", "type": "json", "unfit": "string"},
    "ej": {"column": "j", "type": "extended_json", "unfit": "tag"},
    "oid": {"column": "oid", "type": "objectId", "unfit": "string"},
    "hex": {"column": "hex", "type": "objectId", "unfit": "tag"},
    "flag": {"column": "flag", "type": "boolean", "unfit": "string"},
    "bits": {"column": "bits", "unfit": "tag"},
    "wide": {"column": "big65", "unfit": "string"},
    "near": "near",
    "place": {"up": "st_asgeojson(place)", "type": "json"},
    "sum": {"up": "d + 1"},
    "of another table": {"up": '(select max(o.a) from `Odd "t` o where o.a <= `Odd "t`.a)'},
    "kind": {"constant": 1},
}


def spec_of(table: str, where: str | None = None, **fields: Any) -> MigrationSpec:
    transfer: dict[str, Any] = {"table": table, "to": {"database": "documents", "collection": "c"}, "fields": fields}
    if where is not None:
        transfer |= {"where": where, "capture": "triggers"}
    return MigrationSpec.model_validate({"migration": "m", "strategy": "cross_database", "transfer": transfer})


def action_of(conn: MariaSession, spec: MigrationSpec) -> DocumentTransfer:
    return next(one.action for one in plan_documents(conn, spec).steps if isinstance(one.action, DocumentTransfer))


@pytest.fixture
def conn(maria_database: str) -> Iterator[MariaSession]:
    with connect(maria_database) as conn:
        yield conn


@pytest.fixture
def target(documents: str) -> Iterator[Database[Any]]:
    with MongoClient(documents) as client:
        yield client.get_default_database()


def test_every_type_is_a_value_of_bson_or_said_to_be_unfit(conn: MariaSession) -> None:
    """To the edges; what a type of BSON does not hold is counted before the run, with the reason."""
    conn.execute("set session sql_mode = 'ALLOW_INVALID_DATES'")
    conn.execute(EDGES)
    conn.execute(VALUES)
    conn.execute(MORE)
    conn.execute(
        "update `Odd \"t` set z = '2020-02-31', j = '{\"a\": [1, 1.50, null], \"$oid\": 1}', oid = x'0102',"
        " hex = 'not an objectId', flag = 2, bits = x'ffffffffffffffff', big65 ="
        " 12345678901234567890123456789012345.000000000000000000000000000001, near = 0, de = 'žš' where a = 1"
        " and b = 'é'"
    )
    with conn.raw.cursor() as cursor:
        # The server warns of it.
        cursor.execute("update `Odd \"t` set e = 0 where b = 'é'")
    conn.execute(
        'update `Odd "t` set z = \'0000-00-00\', j = \'{"_id": {"$numberLong": "7"}}\', oid ='
        " x'00112233445566778899aabb', hex = '00112233445566778899aabb', flag = 1, bits = 5, big65 = -0.5"
        ", place = point(1, 2), near = 0.1 where a = 1 and b = ''"
    )
    spec = spec_of('Odd "t', **TYPED)
    action = action_of(conn, spec)
    made = {one.key: one for one in documents(action, rows(conn, action, None, None))}
    nothing, edges, others = (_read(made[key]) for key in (("-1", "NULL"), ("1", "é"), ("1", "")))
    assert {name for name, value in nothing.items() if value is not None} == {"_id", "also", "kind", "of another table"}
    assert nothing["also"] == {"huge": None}
    assert "z" not in nothing
    assert edges == {
        "_id": {"a": 1, "b": "é"}, "t1": -128, "s": 65535, "m": -8388608, "i": 42, "big": -(2**63),
        "d": Decimal128("-1234567890123456.7891"), "f": 16777216.0, "g": 1.7976931348623157e308, "c": "ab",
        "v": "tab\there ", "x": "line\nback\\slash \\N 😀", "e": None, "st": ["p", 'q"r', "back\\slash"],
        "bi": b"a\0b\0", "vb": b"", "bl": b"\x00\xff\x5c", "b1": 1, "b9": 341, "y": 1901,
        "u": Binary(bytes.fromhex("00112233445566778899aabbccddeeff"), 4), "ip": "::ffff:1.2.3.4",
        "ts": datetime(2038, 1, 19, 3, 14, 7, 999000, tzinfo=UTC), "de": "žš", "huge": Decimal128(str(2**64 - 1)),
        "also": {"huge": str(2**64 - 1)}, "dt": datetime(9999, 12, 31, tzinfo=UTC),
        "at": {"mariadb_type": "datetime(6)", "mariadb_text": "0001-01-01 00:00:00.000001"},
        "tm": "-838:59:59.000000", "members": 'p,q"r,back\\slash',
        "z": {"mariadb_type": "datetime", "mariadb_text": "2020-02-31 00:00:00"},
        "j": '{"a": [1, 1.50, null], "$oid": 1}',
        "ej": {"mariadb_type": "longtext", "mariadb_text": '{"a": [1, 1.50, null], "$oid": 1}'},
        "oid": "0x0102", "hex": {"mariadb_type": "char(24)", "mariadb_text": "not an objectId"},
        "flag": "2", "bits": {"mariadb_type": "bit(64)", "mariadb_text": str(2**64 - 1)},
        "wide": "12345678901234567890123456789012345.000000000000000000000000000001", "near": 0.0, "place": None,
        "sum": Decimal128("-1234567890123455.7891"), "of another table": 1, "kind": 1,
    }  # fmt: skip
    assert [(one.field, one.reason) for one in made["1", "é"].failed] == [
        ("e", "the empty value that stands for an invalid one")
    ]
    assert {name: others[name] for name in ("t1", "big", "f", "g", "e", "st", "ts", "oid", "hex", "flag", "bits")} == {
        "t1": 127, "big": 2**63 - 1, "f": 0.10000000149011612, "g": 4.9e-324, "e": "y", "st": [],
        "ts": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), "oid": ObjectId("00112233445566778899aabb"),
        "hex": ObjectId("00112233445566778899aabb"), "flag": True, "bits": 5,
    }  # fmt: skip
    assert others["place"] == {"type": "Point", "coordinates": [1, 2]}
    assert (others["wide"], others["ej"], others["j"]) == (
        Decimal128("-0.500000000000000000000000000000"), {"_id": 7}, '{"_id": {"$numberLong": "7"}}'
    )  # fmt: skip

    checks = examine(conn, plan_documents(conn, spec), values_in_reports=True).checks
    wrong = {check.name: (check.unexpected, check.severity, check.message) for check in checks if not check.passed}
    assert wrong["values of e fit"][:2] == (1, "error")
    assert wrong["values of also.huge fit"][:2] == (1, "warning")
    assert wrong["values of z fit"][2].startswith("2 × no day of the calendar")
    assert wrong["values of at fit"][2].startswith("2 × microseconds, where a date has milliseconds")
    # What a type cannot do wrong is not looked for.
    names = {check.name for check in checks}
    assert not {f"values of {name} fit" for name in ("d", "sum", "huge", "big", "v", "near", "y")} & names


def _read(made: Made) -> dict[str, Any]:
    options = bson.CodecOptions(tz_aware=True)
    return dict(bson.decode(made.document, options))


def test_an_id_of_ones_own_is_asked_of_the_rows(
    conn: MariaSession, maria_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be null, or that of another to the byte; what only a collation calls equal is not."""
    conn.execute("create table t (id int primary key, v varchar(9) collate utf8mb4_general_ci, u int not null unique)")
    conn.execute("insert into t values (1, null, 1), (2, 'a', 2), (3, 'A', 3), (4, 'a', 4), (5, 'a ', 5)")
    (asked, *_) = examine(conn, plan_documents(conn, spec_of("t", _id="v")), values_in_reports=False).checks
    assert (asked.name, asked.passed) == ("_id is unique and never null", False)
    assert asked.message == "1 rows without one, 1 rows with that of another"
    # An index says so already.
    assert not examine(conn, plan_documents(conn, spec_of("t", _id="u", v="v")), values_in_reports=False).checks

    # Asked by a run it is asked again where the session is lost.
    engine = MariaEngine(
        url=maria_database, database=Settings(url_env="UNUSED"), limits=Limits(), migration="m", run_id=""
    )
    lost: list[int] = []

    def once(asked: MariaSession, *given: Any, **more: Any) -> GateResult:
        if not lost:
            lost.append(int(asked.execute("select connection_id()").fetchone()[0]))
            conn.execute(f"kill {lost[0]}")
        return examine(asked, *given, **more)

    monkeypatch.setattr(scan, "examine", once)
    monkeypatch.setattr("tasks.engines.retrying.random.uniform", lambda *_: 0.01)
    (again, *_) = engine.examine(engine.plan(spec_of("t", _id="v")), values_in_reports=False).checks
    assert (len(lost), again.message) == (1, asked.message)


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a moment without a zone": ({"f": "at"}, "no counterpart of datetime", "transfer.fields.f"),
    "a time": ({"f": "tm"}, "no counterpart of time", "transfer.fields.f"),
    "a set with an empty member": ({"f": "blank"}, "no counterpart of set", "transfer.fields.f"),
    "a place": ({"f": {"column": "place", "type": "string"}}, "a point is no string", "transfer.fields.f"),
    "bytes as text": ({"f": {"column": "bl", "type": "string"}}, "a longblob is no string", "transfer.fields.f"),
    "a float as a key": (
        {"_id": {"column": "f", "type": "string"}}, "a float does not tell documents apart", "transfer.fields._id"
    ),
    "no such column": ({"f": "nope"}, "has no column 'nope'", "transfer.fields.f"),
    "no SQL": ({"f": {"up": "nope("}}, "MariaDB refuses it", "transfer.fields.f"),
    "rows of another table": (
        {"f": {"embed": {"table": "o", "fields": {"a": "a"}}}}, "embedded from PostgreSQL only", "transfer.fields.f"
    ),
    "a value of another table": (
        {"f": {"lookup": {"table": "o", "column": "a"}}}, "looked up from PostgreSQL only", "transfer.fields.f"
    ),
}  # fmt: skip


def test_what_cannot_be_is_refused_with_its_place(conn: MariaSession) -> None:
    """Before anything is done, and with a way out; nothing of ours is left."""
    conn.execute(EDGES)
    conn.execute(MORE)
    conn.execute("alter table `Odd \"t` add blank set('x''y', '')")
    for fields, what, where in REFUSED.values():
        with pytest.raises(SpecError, match=what) as refused:
            plan_documents(conn, spec_of('Odd "t', **fields))
        assert (refused.value.where, bool(refused.value.hint)) == (where, True)
    with pytest.raises(SpecError, match="an _id of something else") as refused:
        plan_documents(conn, spec_of('Odd "t', "true", _id="big"))
    with pytest.raises(SpecError, match="it may read more than the row: a subquery"):
        plan_documents(conn, spec_of('Odd "t', "true", f={"up": '(select max(a) from `Odd "t`)'}))
    conn.execute("create table parent (id int primary key)")
    conn.execute("create table child (id int primary key, p int references parent (id) on delete cascade)")
    with pytest.raises(PreflightError, match="on MariaDB that fires no trigger"):
        plan_documents(conn, spec_of("child", "true", p="p"))
    assert conn.execute("show tables like '\\\\_changeover%'").fetchall() == ()
    conn.dialect = dialect_of("8.0.36", "")
    with pytest.raises(SpecError, match="this is MySQL"):
        plan_documents(conn, spec_of("child", p="p"))


class Copy:
    """A copy with its triggers, where nothing has been copied yet."""

    def __init__(self, conn: MariaSession, url: str, target: Any, spec: MigrationSpec) -> None:
        self.conn, self.url, self.target = conn, url, target
        self.plan = plan = plan_documents(conn, spec)
        self.action = next(one.action for one in plan.steps if isinstance(one.action, DocumentTransfer))
        for step in (*plan.phase(Phase.EXPAND), *plan.phase(Phase.DUAL_WRITE)):
            if isinstance(step.action, SelfCommitting):
                for statement in step.action.forward:
                    conn.execute(statement)

    def follow(self, most: int = 3) -> int:
        with Reading(connect(self.url)) as reading:
            into, limits = self.target["c"], Limits()
            return follow(self.conn, reading, into, self.action, limits, lambda _: None, lambda _: most)

    def compare(self) -> Differences:
        with connect(self.url, read_only=True) as conn, connect(self.url, read_only=True) as beside:
            found = compare(conn, self.target, "c", self.action, "", beside)
            # Both wait for what is done with a bite of what they give.
            assert {one.execute("select @@net_write_timeout").fetchone() for one in (conn, beside)} == {(3600,)}
            return found

    @property
    def notes(self) -> int:
        return int(self.conn.execute(f"select count(*) from {self.action.notes}").fetchone()[0])


def test_what_is_noted_is_carried_and_until_then_it_is_unsettled(
    conn: MariaSession,
    maria_database: str,
    documents: str,
    target: Database[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keys that a collation calls equal are others; rows that go, come, move, and fit no more; and nothing else."""
    conn.execute(
        "create table t (a int, b varchar(9) collate utf8mb4_general_ci, n decimal(40), x longtext, primary key (b, a))"
    )
    fields = {"n": {"column": "n", "unfit": "reject"}, "x": "x", "up": {"up": "upper(b)"}}
    copy = Copy(conn, maria_database, target, spec_of("t", "a < 90", **fields))
    conn.execute("insert into t select seq, 'k', seq, repeat(char(96 + seq), 3000) from seq_1_to_20")
    assert copy.compare().unsettled == 20
    assert (copy.follow(), copy.notes) == (20, 0)
    assert copy.compare().equal

    for statement in (
        "update t set b = 'K' where a = 1",
        "update t set b = 'k ' where a = 2",
        "update t set a = 50 where a = 3; update t set a = 3, x = 'three' where a = 4",
        f"update t set n = {'7' * 40} where a = 5",
        "update t set a = 99 where a = 6",
        "delete from t where a in (7, 8)",
        "insert into t values (8, 'K', 8, 'again'), (60, 'n', 1, null)",
        "update t set x = 'one' where a = 9; update t set x = 'two' where a = 9",
        "update t set a = 10 where a = 10",
    ):
        for one in statement.split(";"):
            conn.execute(one)
    before = copy.compare()
    assert (before.differing, before.superfluous, before.not_noted, before.unsettled > 8) == (0, 0, 0, True)
    with connect(maria_database) as other:
        # Not committed: nobody knows of it, and nobody waits for it.
        other.execute("start transaction")
        other.execute("update t set x = 'later' where a = 11")
        copy.follow(2)
        assert (copy.notes, copy.compare().equal) == (0, True)
        other.execute("commit")
    assert copy.compare().unsettled == 1
    copy.follow(1000)
    assert copy.compare().equal
    found = {(one["_id"]["a"], one["_id"]["b"]): one["x"] for one in target["c"].find()}
    wanted = {(1, "K"), (2, "k "), (50, "k"), (3, "k"), (8, "K"), (60, "n"), *((a, "k") for a in range(9, 21))}
    assert found.keys() == wanted
    assert (found[3, "k"], found[9, "k"], found[8, "K"], found[60, "n"]) == ("three", "two", "again", None)

    # What is not noted is a difference: no document, another, one too many, a rejection that nobody noted.
    monkeypatch.setattr("tasks.engines.mongodb.scan.ROWS", 5)
    monkeypatch.setattr("tasks.engines.mongodb.follow.BATCH_BYTES", 7000)
    target["c"].delete_one({"x": "two"})
    target["c"].update_one({"x": "again"}, {"$set": {"more": 1}})
    target["c"].insert_one({"_id": "mine"})
    conn.execute(f"delete from {copy.action.rejected}")
    after = copy.compare()
    assert (after.rows, after.rejected, after.differing, after.superfluous, after.not_noted) == (19, 1, 2, 1, 1)
    assert set(after.examples) == {'("k","9")', '("K","8")'}

    # Whoever waits to change the table has everybody wait; who waits for another one is left alone.
    with (
        begun_meanwhile(monkeypatch, comparing, "_piece", maria_database, "/* app */ alter table t comment 'x'"),
        pytest.raises(StateError, match="waits for t, to empty or to change it, until all rows are compared"),
    ):
        copy.compare()
    conn.execute("create table t2 (a int)")
    with connect(maria_database) as other:
        other.execute("start transaction")
        other.execute("select * from t2")
        with begun_meanwhile(monkeypatch, comparing, "_piece", maria_database, "alter table t2 comment 'x'"):
            assert copy.compare().differing == 2
            other.close()

    # No trigger is fired: the gate asks which table it is.
    gate = transferred("before_swap", copy.plan, between(tmp_path, monkeypatch, documents=documents))
    for done, found, told in (
        ("update t set x = 'more'", 0, "no violations"),
        ("truncate table t", 1, "it was emptied by TRUNCATE, or made anew: roll back, then run again"),
    ):
        conn.execute(done)
        checks = gate.evaluate(maria_database, values_in_reports=False, search_path="").checks
        assert [(one.unexpected, one.message) for one in checks if one.name.endswith("is noted")] == [(found, told)]


def test_rows_are_looked_up_by_many_keys_and_by_long_ones(conn: MariaSession) -> None:
    """Whatever the server makes of long lists, and however long a statement it takes."""
    conn.execute("create table many (a int primary key)")
    conn.execute("insert into many select seq from seq_1_to_50000")
    conn.execute("set session optimizer_switch = 'semijoin=off'")
    keys = [(str(number),) for number in range(1, 50_000, 40)]
    action = action_of(conn, spec_of("many", "true", x="a"))
    before = _scanned(conn)
    assert {row[:1] for row in rows_of(conn, action, keys)} == set(keys)
    assert _scanned(conn) - before < 1000

    conn.execute("create table t (a int, b varbinary(3000), primary key (a, b))")
    copy = Copy(conn, "", None, spec_of("t", "true", b="b"))
    conn.execute("insert into t values (1, ''), (2, '')")
    long = [(str(number), "ab" * 3000) for number in range(3000)]
    assert [row[:2] for row in rows_of(conn, copy.action, [*long, ("2", ""), ("5", "")])] == [("2", "")]
    assert pending(conn, copy.action, [("1", ""), *long, ("2", ""), ("5", "")]) == {("1", ""), ("2", "")}


def _scanned(conn: MariaSession) -> int:
    return sum(int(row[1]) for row in conn.execute("show session status like 'Handler_read_%next'").fetchall())


def test_what_takes_long_under_the_lock_is_given_up(
    conn: MariaSession, maria_database: str, target: Database[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writers have their turn, and wait for no longer than the budget; then the collection is put, with all."""
    conn.execute("create table t (a int primary key, x text)")
    conn.execute("insert into t select seq, 'x' from seq_1_to_20")
    copy = Copy(conn, maria_database, target, spec_of("t", "true", x="x"))
    copy.follow(1000)
    made, waits, named = of_mariadb.documents, list[str](), list[str]()
    begun: set[int] = set()

    def slow(action: DocumentTransfer, given: Any) -> Iterator[Made]:
        for one in made(action, given):
            time.sleep(0.04 * (action.table == copy.action.table))
            yield one

    def write(_: object) -> None:
        if len(waits) in begun or len(waits) > 1:
            return
        begun.add(len(waits))
        with connect(maria_database) as other:
            other.execute("update t set x = 'new'" if not waits else "update t set x = 'newer' where a = 3")
        if waits:
            target.client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=LATE)

    longest = 0.0

    def beside(ended: threading.Event) -> None:
        nonlocal longest
        with connect(maria_database, lock_timeout_ms=5000) as other:
            while not ended.wait(0.01):
                started = time.monotonic()
                other.execute("insert into t values (1000, 'beside') on duplicate key update x = concat(x, '!')")
                longest = max(longest, time.monotonic() - started)

    monkeypatch.setattr(of_mariadb, "documents", slow)
    monkeypatch.setattr("tasks.engines.receiving.cutover.random.uniform", lambda *_: 0.1)
    source = MariaRows(connect=lambda _: connect(maria_database), run_id="")
    journal = Journal(begin=lambda _: None, finish=lambda _: None, guard=write, waiting=waits.append)
    limits = Limits(lock_budget=300, lock_patience=30)
    with writing_beside(beside):
        cut_over(conn, source, lambda: target["c"], copy.action, limits, journal, named.append)
    assert waits[:2] == [
        "what was done under the lock took more than 300 ms", "MongoDB took more than 300 ms under the lock",
    ]  # fmt: skip
    assert named == ["c"]
    assert 0.2 < longest < 0.7
    assert {one["_id"]: one["x"] for one in target["c"].find({"_id": {"$lt": 1000}})} == {
        one: "newer" if one == 3 else "new" for one in range(1, 21)
    }
    monkeypatch.undo()
    copy.follow(1000)
    assert copy.compare().equal


@contextmanager
def writing_beside(act: Callable[[threading.Event], None]) -> Iterator[None]:
    """Do it in a thread of its own, until it is told to end."""
    ended = threading.Event()
    thread = threading.Thread(target=act, args=(ended,))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(30)
