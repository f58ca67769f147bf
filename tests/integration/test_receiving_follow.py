"""What is written to a table of MariaDB is noted, and what is noted becomes in PostgreSQL what the row is there."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pymysql
import pytest

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.receiving import compare as comparing
from tasks.engines.postgresql.receiving.compare import compare
from tasks.engines.postgresql.receiving.cutover import cut_over
from tasks.engines.postgresql.receiving.follow import follow, prepare
from tasks.engines.postgresql.receiving.place import make
from tasks.engines.receiving.differences import Differences
from tasks.ledger.install import install
from tasks.model.errors import (
    ChangeoverError,
    DataChanged,
    GateError,
    LockTimeoutError,
    PreflightError,
    SpecError,
    StateError,
    StepError,
)
from tasks.model.plan import Plan
from tasks.model.steps import Phase, SelfCommitting, Step
from tasks.model.transfer_steps import RowTransfer
from tests.integration.test_receiving import engine_of, plan_of
from tests.legs import EVERY_LEG
from tests.servers.mariadb import connected
from tests.two_databases import begun_meanwhile

TABLE = """
create table t (a varchar(10) character set utf8mb4 collate utf8mb4_general_ci, b int, v longtext, born date,
  active boolean not null default 1, primary key (a, b))
"""
RULES: dict[str, Any] = {"born": {"unfit": "reject"}, "shouted": {"up": "upper(v)"}}
QUIET = Journal(begin=lambda _: None, finish=lambda _: None)


class Copy:
    """A copy with its triggers, where nothing has been copied yet."""

    def __init__(self, url: str, target: str, **transfer: Any) -> None:
        self.engine, self.target = engine_of(url), target
        self.plan: Plan = plan_of(url, capture="triggers", **transfer)
        self.action = next(step.action for step in self.plan.steps if isinstance(step.action, RowTransfer))
        with self.open() as conn, conn.transaction():
            make(conn, self.action.into, 1)
        for step in (*self.plan.phase(Phase.EXPAND), *self.plan.phase(Phase.DUAL_WRITE)):
            if isinstance(step.action, SelfCommitting):
                self.engine.apply(step, QUIET)

    def open(self) -> psycopg.Connection[Any]:
        """Open a session with the target."""
        return connect(self.target, application_name="test")

    @contextmanager
    def carrying(self) -> Iterator[tuple[Any, ...]]:
        """Open what it takes to carry notes: sessions with the target and the ledger, and what reads."""
        with (
            self.engine.connect("follow") as ledger,
            self.engine.rows().reading("follow") as reading,
            self.open() as conn,
        ):
            prepare(conn, self.action, self.action.into.staged)
            yield conn, ledger, reading

    def follow(self, most: int = 3) -> int:
        """Carry what is noted."""
        with self.carrying() as (conn, ledger, reading):
            table = self.action.into.staged
            return follow(conn, ledger, reading, self.action, table, 1, Limits(), lambda _: None, lambda _: most)

    def cut(self, put: Callable[[], None], patience: float) -> None:
        """Carry the last of it, and call `put` while nobody writes."""
        limits = Limits(lock_budget=300, lock_patience=patience)
        with self.engine.connect("swap") as ledger, self.open() as conn:
            cut_over(conn, ledger, self.engine.rows(), self.action, 1, limits, QUIET, lambda _place, _reading: put())

    def compare(self) -> Differences:
        """Compare."""
        with self.open() as conn, self.engine.rows().reading("compare") as reading:
            return compare(conn, reading, self.action, self.action.into.staged)

    def notes(self, source: pymysql.cursors.Cursor) -> int:
        """Count what is noted."""
        source.execute(f"select count(*) from {self.action.notes}")
        return int(source.fetchall()[0][0])

    def rows(self, what: str) -> list[tuple[Any, ...]]:
        """Return what there is in the target."""
        with self.open() as conn:
            return conn.execute(f"select {what} from {self.action.into.staged} order by 1, 2".encode()).fetchall()


@pytest.fixture
def source(maria_database: str) -> Iterator[pymysql.cursors.Cursor]:
    with connected(maria_database) as conn, conn.cursor() as cursor:
        cursor.execute("set session sql_mode = 'ALLOW_INVALID_DATES'")
        cursor.execute(TABLE)
        yield cursor


@pytest.fixture
def copy(source: pymysql.cursors.Cursor, maria_database: str, database: str) -> Copy:
    copy = Copy(maria_database, database, where="active", columns=RULES)
    source.execute("insert into t (a, b, v) select concat('K', seq), seq, repeat('v', seq) from seq_1_to_20")
    assert copy.follow() == 20
    return copy


WRITES = {
    "a value": "update t set v = 'new' where b = 3",
    "a key that changes": "update t set b = 100 where b = 3",
    "a key that looks different and is equal": "update t set a = lower(a) where b in (4, 5)",
    "the same, and back, in two bites": "update t set a = upper(a) where b = 4; update t set a = lower(a) where b = 4;"
    " update t set v = 'x' where b > 10; update t set a = upper(a) where b = 4",
    "a space at the end of a key": "update t set a = concat(a, ' ') where b = 6",
    "keys that change places": "update t set b = b + 1000; update t set b = 1021 - b",
    "a row that goes and comes back": "delete from t where b = 7; insert into t (a, b, v) values ('K7', 7, 'again')",
    "one that comes back under an equal key": "delete from t where b = 8; insert into t (a, b, v) values ('k8', 8, '')",
    "rows that leave the filter": "update t set active = 0 where b in (9, 10)",
    "rows that enter it": "insert into t values ('in', 30, 'x', null, 0); update t set active = 1",
    "rows that do not fit": "update t set born = '0000-00-00' where b in (11, 12)",
    "one that is corrected, and one that goes": "update t set born = '2020-02-29' where b = 11;"
    " delete from t where b = 12",
    "one that never fits, and goes": "insert into t values ('w', 40, 'x', '2020-02-31', 1); delete from t where b = 40",
    "one that does not fit, by an equal key": "update t set born = '2020-02-31' where b = 13;"
    " update t set a = lower(a) where b = 13; update t set born = null where b = 14",
    "replace, and insert on duplicate": "replace into t (a, b, v) values ('k15', 15, null);"
    " insert into t (a, b, v) values ('K16', 16, '') on duplicate key update v = 'twice'",
    "what is undone": "begin; delete from t; rollback",
    "many rows at once": "insert into t (a, b) select 'many', seq from seq_1001_to_2500; delete from t where b > 1005",
    "everything goes": "delete from t",
}


ALL_BUT_ONE = {"all of it": "; ".join(list(WRITES.values())[:-1]), **dict(list(WRITES.items())[-1:])}
"""The last of them leaves nothing to look at."""


def test_what_is_written_arrives(copy: Copy, source: pymysql.cursors.Cursor) -> None:
    """Before it is carried it is no difference, for it is noted; afterwards nothing is noted, and all is equal."""
    for what, write in (WRITES if EVERY_LEG else ALL_BUT_ONE).items():
        for statement in write.split(";"):
            source.execute(statement)
        before = copy.compare()
        assert (before.differing, before.superfluous, before.not_noted, before.equal) == (0, 0, 0, True), what
        copy.follow(4 if "seq_" not in write else 700)
        after = copy.compare()
        assert (copy.notes(source), after.equal, after.unsettled) == (0, True, 0), what
        source.execute(
            "select binary a, b, v, upper(v) from t where active"
            " and (born is null or born = '2020-02-29') order by a, b"
        )
        wanted = [(a.decode(), *rest) for a, *rest in source.fetchall()]
        assert sorted(copy.rows("a, b, v, shouted"), key=str) == sorted(wanted, key=str), what


def test_ddl_is_not_kept_waiting(copy: Copy, maria_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody else would wait behind it, for as long as all rows are compared."""
    monkeypatch.setattr(comparing, "ROWS", 5)
    with (
        begun_meanwhile(monkeypatch, comparing, "_range", maria_database, "alter table `t` comment 'x'"),
        pytest.raises(StateError, match="waits for t, to empty or to change it, until all rows are compared"),
    ):
        copy.compare()


def test_keys_are_noted_as_they_are(source: pymysql.cursors.Cursor, maria_database: str, database: str) -> None:
    """Whatever the time zone and the modes of the application: also days that are none."""
    source.execute(
        "create table edge (id int, at timestamp(3) not null default '2020-01-01', x binary(2), u uuid,"
        " n decimal(6,2), d datetime(6), primary key (at, x, u, n, d, id))"
    )
    copy = Copy(
        maria_database, database, table="edge", to={"database": "main", "table": "edge"},
        columns={"d": {"unfit": "reject"}},
    )  # fmt: skip
    key = "x'005c', '00112233-4455-6677-8899-aabbccddeeff', -1.5"
    source.execute("set session time_zone = '+00:00'")
    source.execute(
        f"insert into edge (id, at, x, u, n, d) values (1, '2026-10-25 00:30:00.25', {key}, '2020-02-29 23:59:59.5'),"
        f" (2, '2026-10-25 00:30:00.25', {key}, '2020-02-31'), (3, '2026-10-25 00:30:00.25', {key}, '0000-00-00')"
    )
    copy.follow()
    assert copy.compare().equal
    assert [row[0] for row in copy.rows("id, 1")] == [1]
    source.execute("set session time_zone = '-07:00', sql_mode = ''")
    source.execute("update edge set at = at + interval 1 hour, n = n * -1")
    source.execute("update edge set at = at + interval 1 hour where id = 1")
    copy.follow()
    after = copy.compare()
    assert (after.equal, after.rows, after.rejected, after.present) == (True, 3, 2, 1)
    source.execute("update edge set d = '2020-01-01'")
    copy.follow()
    assert (copy.compare().equal, len(copy.rows("1, 2"))) == (True, 3)


def test_carrying_twice_is_carrying_once(copy: Copy, source: pymysql.cursors.Cursor) -> None:
    """Cut off after PostgreSQL has committed, the notes are still there, and say the same."""
    source.execute("update t set v = 'new' where b < 5")
    source.execute("delete from t where b = 7")
    source.execute(f"create table kept as select * from {copy.action.notes}")
    assert copy.follow(1000) == 5
    source.execute(f"insert into {copy.action.notes} select * from kept")
    source.execute("update t set v = 'newer' where b = 2")
    assert copy.compare().differing == 0
    assert copy.follow(1000) == 6
    assert copy.compare().equal
    assert copy.rows("b, v")[:3] == [(1, "new"), (2, "newer"), (3, "new")]


def test_what_nobody_noted_is_found_out(copy: Copy, source: pymysql.cursors.Cursor) -> None:
    """A row that is changed here, gone or too many, and has no note, is a difference; so is what TRUNCATE has left."""
    source.execute("update t set v = 'new' where b < 5")
    source.execute("delete from t where b = 7")
    with copy.open() as conn:
        conn.execute(f"update {copy.action.into.staged} set v = 'mine' where b = 9".encode())
        conn.execute(f"delete from {copy.action.into.staged} where b = 10".encode())
        conn.execute(f"insert into {copy.action.into.staged} (a, b) values ('mine', 1)".encode())
    found = copy.compare()
    assert (found.differing, found.superfluous, found.unsettled, found.equal) == (2, 1, 5, False)
    assert set(found.examples) == {'("K9","9")', '("K10","10")'}
    structure = next(one for one in copy.plan.requirements if one.kind == "structure").violations
    with copy.engine.connect("test") as conn:
        assert conn.execute(structure).fetchall() == ()
        source.execute("truncate t")
        assert [row[0] for row in conn.execute(structure)] == [
            "it was emptied by TRUNCATE, or made anew: roll back, then run again"
        ]
        source.execute("alter table t add column more int")
        source.execute(f"drop trigger {copy.action.notes.replace('notes', 'note_u')}")
        told = [row[0] for row in conn.execute(structure)]
    assert [told[0][-8:], *told[1:2]] == [" is gone", "its columns are others"]
    assert copy.compare().superfluous > 0


def test_a_value_that_nobody_decided_about_stops_it(copy: Copy, source: pymysql.cursors.Cursor) -> None:
    """Nothing of the bite is forgotten: corrected, it goes on."""
    source.execute("update t set v = 'a\\0b' where b = 3")
    with pytest.raises(StepError, match="U\\+0000"):
        copy.follow(1000)
    assert copy.notes(source) == 1
    source.execute("update t set v = 'ab' where b = 3")
    copy.follow(1000)
    assert copy.compare().equal


REFUSED = """
create table parent (id int primary key);
create table child (id int primary key, p int, foreign key (p) references parent (id) on delete cascade);
create function looked_up(i int) returns int reads sql data return (select count(*) from t);
create function doubled(i int) returns int deterministic no sql return 2 * i
"""


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"table": "child"}, PreflightError, "the foreign key child_ibfk_1 .* fires no trigger"),
        ({"columns": {"n": {"up": "(select count(*) from parent)", "type": "bigint"}}}, SpecError, "a subquery"),
        ({"where": "b in (select id from parent)"}, SpecError, "a subquery"),
        ({"columns": {"n": {"up": "LOOKED_UP (b)"}}}, SpecError, "the function LOOKED_UP"),
        ({"columns": {"n": {"up": "b /*! + looked_up(1) */"}}}, SpecError, "a comment that the server executes"),
    ],
)
def test_what_would_go_unnoticed_is_refused(
    source: pymysql.cursors.Cursor, maria_database: str, given: dict[str, Any], error: type[ChangeoverError], match: str
) -> None:
    for statement in REFUSED.split(";"):
        source.execute(statement)
    with pytest.raises(error, match=match):
        plan_of(maria_database, capture="triggers", **given)
    assert plan_of(maria_database, capture="triggers", columns={"n": {"up": "doubled(b) + length('select')"}}).steps


def test_a_replica_is_refused_that_need_not_fire_triggers(copy: Copy, source: pymysql.cursors.Cursor) -> None:
    """Also where replication is stopped before the run; what is started later is seen by the gate, and by the swap."""
    structure = next(one for one in copy.plan.requirements if one.kind == "structure").violations
    copy.engine.preflight(copy.plan)
    source.execute("change master 'test' to master_host = '127.0.0.1', master_port = 1, master_user = 'nobody'")
    try:
        with copy.engine.connect("test") as conn:
            for setting in ("NO", "YES", "LOGGING", "ENFORCE"):
                source.execute(f"set global slave_run_triggers_for_rbr = {setting}")
                source.execute("start slave 'test' sql_thread")
                told = [row[0][:43] for row in conn.execute(structure)]
                source.execute("stop slave 'test'")
                if setting == "ENFORCE":
                    copy.engine.preflight(copy.plan)
                    assert told == []
                    continue
                assert told == ["it replicates from another server, whose wr"]
                with pytest.raises(PreflightError, match=r"configured to replicate .* fire no triggers"):
                    copy.engine.preflight(copy.plan)
    finally:
        source.execute("stop slave 'test'")
        source.execute("set global slave_run_triggers_for_rbr = NO")
        source.execute("reset slave 'test' all")


def test_a_writer_in_flight_is_waited_for(copy: Copy, source: pymysql.cursors.Cursor, maria_database: str) -> None:
    """Nothing is put in its place while it is there; its write is the last that arrives, and others go on meanwhile."""
    put: list[bool] = []
    with connected(maria_database, autocommit=False) as other, other.cursor() as writer:
        writer.execute("update t set v = 'in flight' where a = 'K3' and b = 3")
        with pytest.raises(LockTimeoutError, match="could not be held still"):
            copy.cut(lambda: put.append(True), patience=0.3)
        assert put == []
        source.execute("update t set v = 'meanwhile' where a = 'K4' and b = 4")
        ending = threading.Timer(0.5, other.commit)
        ending.start()
        copy.cut(lambda: put.append(True), patience=30)
        ending.join()
    assert put == [True]
    assert copy.notes(source) == 0
    assert [v for b, v in copy.rows("b, v") if b in (3, 4)] == ["in flight", "meanwhile"]


def test_notes_in_flight_are_not_waited_for(copy: Copy, source: pymysql.cursors.Cursor, maria_database: str) -> None:
    """Before, between and after those that are carried: their numbers are given before they commit."""
    with ExitStack() as open_:
        for key in range(1, 6):
            if key % 2:
                conn = open_.enter_context(connected(maria_database, autocommit=False))
                conn.cursor().execute("update t set v = 'in flight' where a = %s and b = %s", (f"K{key}", key))
            else:
                source.execute("update t set v = 'carried' where a = %s and b = %s", (f"K{key}", key))
        started = time.monotonic()
        assert copy.follow(1000) == 2
        assert time.monotonic() - started < 1.0
    assert copy.notes(source) == 0
    assert copy.compare().equal


def test_what_is_prepared_is_waited_for(copy: Copy, source: pymysql.cursors.Cursor, maria_database: str) -> None:
    """Its session has ended, and no lock on the table tells of it: neither the copy begins, nor is the table put."""
    put: list[bool] = []
    known = next(one for one in copy.plan.phase(Phase.DUAL_WRITE) if one.key.endswith("known"))
    triggers = next(one for one in copy.plan.phase(Phase.CONTRACT) if one.key.endswith("triggers"))
    engine = replace(copy.engine, limits=Limits(lock_budget=300, lock_patience=0.5))
    name = f"changeover {os.urandom(8).hex()}"
    with connected(maria_database) as other, other.cursor() as writer:
        writer.execute(f"xa start '{name}'")
        writer.execute("update t set v = 'prepared' where a = 'K3' and b = 3")
        writer.execute(f"xa end '{name}'")
        writer.execute(f"xa prepare '{name}'")
    try:
        with pytest.raises(LockTimeoutError, match=f"prepared transactions did not end: .*{name}"):
            engine.apply(known, QUIET)
        with pytest.raises(LockTimeoutError, match=f"transactions are prepared.*{name}"):
            copy.cut(lambda: put.append(True), patience=0.5)
        assert put == []
        # Its note is not there yet, and would go with the table of notes.
        with pytest.raises(LockTimeoutError, match=f"prepared transactions did not end: .*{name}"):
            engine.apply(triggers, QUIET.guarded(lambda _: put.append(True)))
        assert put == []
    finally:
        source.execute(f"xa commit '{name}'")
    engine.apply(known, QUIET)
    copy.cut(lambda: put.append(True), patience=30)
    assert [v for b, v in copy.rows("b, v") if b == 3] == ["prepared"]


def test_nobody_writes_while_the_table_is_put(copy: Copy, source: pymysql.cursors.Cursor, maria_database: str) -> None:
    """Everybody reads. What was not done in time is given up: the writer goes on, and what it wrote is carried next."""
    tried: list[bool] = []
    waits: list[float] = []
    with connected(maria_database) as other, other.cursor() as writer:

        def write() -> None:
            started = time.monotonic()
            writer.execute("update t set v = 'waited' where b = 3")
            waits.append(time.monotonic() - started)

        threads = [threading.Thread(target=write), threading.Thread(target=lambda: None)]

        def put() -> None:
            source.execute("set session max_statement_time = 0.05")
            with pytest.raises(pymysql.err.OperationalError, match="max_statement_time"):
                source.execute("update t set v = 'too early' where b = 4")
            source.execute("set session max_statement_time = 0")
            assert source.execute("select 1 from t") == 20
            threads[len(tried)].start()
            tried.append(True)
            if len(tried) == 1:
                # Longer than the lock budget, and than the server lets a silent session hold it.
                threads[0].join(30)

        copy.cut(put, patience=30)
        for thread in threads:
            thread.join()
    assert len(tried) == 2
    # The server by itself would let it go after a second.
    assert waits[0] < 0.95
    assert copy.notes(source) == 0
    assert [v for b, v in copy.rows("b, v") if b in (3, 4)] == ["waited", "vvvv"]


def test_triggers_go_together_or_stay(copy: Copy, source: pymysql.cursors.Cursor, maria_database: str) -> None:
    """While nobody can write: from the last look on, until all are gone; whoever reads the table is waited for."""
    step = next(one for one in copy.plan.phase(Phase.CONTRACT) if one.key.endswith("triggers"))
    asked = [one for one in copy.plan.requirements if one.gate == "before_contract"]
    engine = replace(copy.engine, limits=Limits(lock_budget=300, lock_patience=1))
    looks: list[int] = []

    def look(conn: Any) -> None:
        source.execute("set session max_statement_time = 0.05")
        with pytest.raises(pymysql.err.OperationalError, match="max_statement_time"):
            source.execute("delete from t where b = 4")
        source.execute("set session max_statement_time = 0")
        looks.append(sum(len(conn.execute(one.violations).fetchall()) for one in asked))
        if looks[-1]:
            raise GateError("written", where="t", hint="Look.", changed=DataChanged.NO)

    def triggers() -> list[str]:
        source.execute(
            "select right(trigger_name, 6) from information_schema.triggers where trigger_schema = database()"
        )
        return sorted(row[0] for row in source.fetchall())

    def broken(statement: str) -> Step:
        assert isinstance(step.action, SelfCommitting)
        forward = (*step.action.forward[:2], statement, step.action.forward[2])
        return step.model_copy(update={"action": step.action.model_copy(update={"forward": forward})})

    guarded = QUIET.guarded(look)
    with connected(maria_database, autocommit=False) as other, other.cursor() as reader:
        reader.execute("select 1 from t limit 1")
        with pytest.raises(LockTimeoutError, match="no lock on"):
            engine.apply(step, guarded)
        assert (looks, triggers()) == ([], ["note_d", "note_i", "note_u"])
    with pytest.raises(pymysql.err.ProgrammingError):
        engine.apply(broken("drop nonsense"), guarded)
    assert (looks, triggers()) == ([0], ["note_d", "note_i", "note_u"])
    known = copy.action.notes.replace("notes", "known")
    source.execute(f"select one from {known}")
    # Nothing vouches for triggers that somebody else drops now.
    assert source.fetchall() == ((1,),)
    source.execute("delete from t where b = 3")
    with pytest.raises(GateError, match="written"):
        engine.apply(step, guarded)
    copy.follow()

    # As if it had been killed in the middle: what was deleted since nobody knows.
    name = copy.action.notes.replace("notes", "note_d")
    source.execute(f"drop trigger {name}")
    with pytest.raises(GateError, match="written"):
        engine.apply(step, guarded)
    source.execute(f"create trigger {name} after delete on t for each row set @gone = 1")
    engine.apply(step, guarded)
    assert (looks, triggers()) == ([0, 1, 1, 0], [])
    # All of them are gone, and the ledger has not heard of it: there is nothing left to look at.
    engine.apply(step, QUIET.guarded(lambda conn: looks.append(len(conn.execute(asked[0].violations).fetchall()))))
    assert looks[4:] == [0]


def test_no_server_is_trusted_that_may_have_forgotten(copy: Copy) -> None:
    """Where the session that holds the tables is gone, so may be commits that were read."""
    rows = copy.engine.rows()
    with copy.engine.connect("ledger") as conn:
        install(conn, actor="test")
        with copy.engine.keep(("x.t",)) as guard:
            rows.require_unbroken(conn)
            guard.close()
            # The server lets go of the lock of a session that has ended in a moment of its own.
            held = "select count(*) from changeover_sessions where is_used_lock(name) is not null"
            deadline = time.monotonic() + 10
            while conn.execute(held).fetchone() != (0,) and time.monotonic() < deadline:
                time.sleep(0.02)
            with pytest.raises(GateError, match="the session that holds the tables has ended"):
                rows.require_unbroken(conn)
