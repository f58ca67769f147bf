"""PostgreSQL takes rows of MariaDB: cut off anywhere, done twice, by two at once, and what no type holds is refused."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pymysql
import pytest

from profiles.model import Database, Limits
from tasks.engines.mysql.engine import MariaEngine
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.transfer_rows import Reading, prepare
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.receiving.compare import compare
from tasks.engines.postgresql.receiving.load import load
from tasks.engines.postgresql.receiving.place import WRITING, Place, claim, clear, hold, make, number_from, session_of
from tasks.engines.receiving.differences import Differences
from tasks.engines.records import Key, Line, Shard
from tasks.model.errors import FencedError, SpecError, StepError
from tasks.model.plan import Plan
from tasks.model.spec import MigrationSpec
from tasks.model.transfer_steps import RowTransfer
from tests.servers.mariadb import connected

TABLE = """
create table t (a varchar(10) character set utf8mb4 collate utf8mb4_general_ci, b int, v longtext, primary key (a, b))
"""
ROWS = 40


def plan_of(url: str, **transfer: Any) -> Plan:
    """Plan a copy."""
    whole = {"table": "t", "to": {"database": "main", "table": "t"}, **transfer}
    spec = {"migration": "m", "database": "shop", "strategy": "cross_database", "transfer": whole}
    engine = engine_of(url)
    return engine.plan(MigrationSpec.model_validate(spec))


def engine_of(url: str) -> MariaEngine:
    """Return the source."""
    return MariaEngine(url=url, database=Database(url_env="UNUSED"), limits=Limits(), migration="m", run_id="r")


class Copy:
    """A copy whose ledger is two lists, and which has been given room."""

    def __init__(self, url: str, target: str) -> None:
        self.engine, self.target = engine_of(url), target
        plan = plan_of(url)
        self.action = next(step.action for step in plan.steps if isinstance(step.action, RowTransfer))
        self.epoch = 1
        self.position: Key | None = None
        self.rows = 0
        with self.open() as conn, conn.transaction():
            make(conn, self.action.into, self.epoch)
        (self.high,) = (high for _, high in self.engine.shards(self.action, 1))

    def open(self) -> psycopg.Connection[Any]:
        """Open a session with the target."""
        return connect(self.target, application_name="test")

    def load(
        self,
        *,
        epoch: int = 1,
        cut_off: bool = False,
        batches: int = 99,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> int:
        """Copy, ten rows a batch; `cut_off`: the session of the ledger is lost before the second batch is recorded."""
        moves = 0

        def checkpoint(done: int, conn: MariaSession, position: Key, rows: int, size: int) -> None:
            nonlocal moves
            moves += 1
            conn.execute("insert into ledger values (%s)", (rows,))
            if cut_off and moves == 2:
                kill(self.engine.url, conn)
                return
            self.position, self.rows = position, self.rows + rows

        def between(size: int) -> int:
            if moves >= batches:
                raise StopIteration
            meanwhile()
            return 10

        assert self.high is not None
        shard = Shard(position=self.position, high=self.high, batch_rows=10)
        with (
            self.open() as conn,
            self.engine.connect("ledger") as ledger,
            self.engine.rows().reading("test") as reading,
        ):
            return load(conn, ledger, reading, self.action, shard, 0, epoch, Limits(), checkpoint, between)

    def load_watched(self) -> list[bool]:
        """Copy, and return for each batch whether the session of the ledger was in a transaction when it was read."""
        seen = []

        class Watching(Reading):
            def lines(self, *asked: Any) -> Iterator[Line]:
                seen.append(ledger.in_transaction)
                return super().lines(*asked)

        assert self.high is not None
        shard = Shard(position=None, high=self.high)
        with self.open() as conn, self.engine.connect("ledger") as ledger, self.engine.connect("test") as source:
            prepare(source)
            load(conn, ledger, Watching(source), self.action, shard, 0, 1, Limits(), lambda *_: None, lambda _: 10)
        return seen

    def compare(self) -> Differences:
        """Compare with what is staged."""
        with self.open() as conn, self.engine.rows().reading("test") as reading:
            return compare(conn, reading, self.action, self.action.into.staged)


def kill(url: str, conn: MariaSession) -> None:
    """End a session, as a crash does: what it has not committed is gone."""
    with connected(url) as other, other.cursor() as cursor:
        cursor.execute(f"kill {conn.raw.thread_id()}")


@pytest.fixture
def source(maria_database: str) -> Iterator[pymysql.cursors.Cursor]:
    with connected(maria_database) as conn, conn.cursor() as cursor:
        cursor.execute(TABLE)
        cursor.execute("create table ledger (n int)")
        yield cursor


@pytest.fixture
def begin(source: pymysql.cursors.Cursor, maria_database: str, database: str) -> Callable[[], Copy]:
    source.executemany("insert into t values (%s, %s, %s)", [(f"K{n % 7}", n, f"v\t{n}") for n in range(ROWS)])
    return lambda: Copy(maria_database, database)


def test_cut_off_between_two_commits(begin: Callable[[], Copy], source: pymysql.cursors.Cursor) -> None:
    """PostgreSQL has a batch that the ledger knows nothing of: it is recorded then, and not written again."""
    copy = begin()
    with pytest.raises(pymysql.err.MySQLError):
        copy.load(cut_off=True)
    assert copy.rows == 10
    assert copy.compare().present == 20
    assert copy.load() == ROWS - 10
    assert copy.rows == ROWS
    assert copy.compare().equal
    source.execute("select sum(n) from ledger")
    assert source.fetchone() == (ROWS,)


def test_the_ledger_has_no_transaction_open_while_rows_are_read(begin: Callable[[], Copy]) -> None:
    """A server ends sessions that do nothing within one, and a range may take long."""
    assert begin().load_watched() == [False] * 4


def test_a_database_that_has_lost_what_it_had_is_found_out(begin: Callable[[], Copy]) -> None:
    copy = begin()
    copy.load()
    with copy.open() as conn:
        conn.execute(f"update {copy.action.account} set position = '{{Z,1}}', previous = '{{Y,1}}'".encode())
    with pytest.raises(StepError, match="has lost what it had committed"):
        copy.load()


def test_an_older_run_and_a_second_worker_write_nothing(begin: Callable[[], Copy]) -> None:
    copy = begin()
    with pytest.raises(StopIteration):
        copy.load(batches=1)
    with copy.open() as conn, conn.transaction():
        claim(conn, copy.action.into, 2)
    with pytest.raises(FencedError):
        copy.load(epoch=1)
    assert copy.compare().present == 10
    assert copy.load(epoch=2) == ROWS - 10
    assert copy.compare().equal


def test_of_two_workers_one_gives_up(begin: Callable[[], Copy]) -> None:
    """A task that was started twice: what the slower one has read is rolled back."""
    copy, other = begin(), begin()
    with pytest.raises(FencedError):
        copy.load(meanwhile=lambda: other.load(batches=99))
    assert copy.compare().equal


def test_a_process_that_stands_still_is_not_waited_for(begin: Callable[[], Copy]) -> None:
    """It may have stopped in the middle of a batch: its session is ended, and what it had written is rolled back."""
    copy = begin()
    name = f"{session_of(copy.action.into)} m {WRITING}"
    with connect(copy.target, application_name=name) as stopped, copy.open() as conn:
        stopped.execute("begin")
        hold(stopped, copy.action.into, 1)
        stopped.execute(f"insert into {copy.action.into.staged} values ('x', 1, null)".encode())
        with conn.transaction():
            claim(conn, copy.action.into, 2)
        with pytest.raises(psycopg.OperationalError):
            stopped.execute("commit")
    assert copy.load(epoch=2) == ROWS
    assert copy.compare().equal


def test_numbers_go_on_and_never_beyond_the_last(database: str) -> None:
    with connect(database, application_name="test") as conn:
        conn.execute('create table "100%" ("n%" smallint generated by default as identity)')
        place = Place(schema_name="public", name="100%")
        for there, least, following in ((5, 0, 6), (5, 9, 9), (32767, 40000, 32767)):
            conn.execute('truncate "100%"')
            conn.execute('insert into "100%%" values (%s)', (there,))
            number_from(conn, place, "n%", least)
            assert conn.execute("select nextval(pg_get_serial_sequence('\"100%\"', 'n%'))").fetchone() == (following,)


def test_every_difference_shows(begin: Callable[[], Copy], source: pymysql.cursors.Cursor) -> None:
    """One too many, one too few, one with a space more; also in what the collation of MariaDB calls equal."""
    copy = begin()
    copy.load()
    assert copy.compare().equal
    source.execute("update t set v = concat(v, ' ') where b = 1")
    source.execute("update t set a = lower(a) where b = 2")
    source.execute("delete from t where b = 3")
    source.execute("insert into t values ('', 0, null)")
    found = copy.compare()
    assert (found.differing, found.superfluous, found.rows) == (3, 0, ROWS)
    assert not found.equal


def test_an_empty_table_and_rows_of_megabytes(
    source: pymysql.cursors.Cursor, maria_database: str, database: str
) -> None:
    with connect(database, application_name="test") as conn:
        with pytest.raises(ValueError, match="not enough values"):
            Copy(maria_database, database)
        source.execute("insert into t values ('a', 1, repeat('x\\\\', 3000000)), ('b', 1, repeat('é', 3000000))")
        action = next(s.action for s in plan_of(maria_database).steps if isinstance(s.action, RowTransfer))
        with conn.transaction():
            clear(conn, action.into)
    copy = Copy(maria_database, database)
    assert copy.load() == 2
    assert copy.compare().equal


def test_a_key_that_no_note_holds_is_not_left_out(
    source: pymysql.cursors.Cursor, maria_database: str, begin: Callable[[], Copy]
) -> None:
    """U+0000 in it: found before the run; what is too long is noted all the same."""
    given = {"columns": {"a": {"unfit": "reject", "type": "varchar(5)"}}}
    source.execute("insert into t values ('longer', 1, null)")
    (check,) = engine_of(maria_database).examine(plan_of(maria_database, **given), values_in_reports=False).checks[:1]
    assert (check.severity, check.message) == ("warning", "1 × longer than 5 characters; their rows are left out")
    source.execute("insert into t values ('x\\0y', 1, null)")
    plan = plan_of(maria_database, **given)
    (check,) = engine_of(maria_database).examine(plan, values_in_reports=False).checks[:1]
    assert check.severity == "error"
    assert "no row with U+0000 in its key can be noted" in check.message
    action = next(step.action for step in plan.steps if isinstance(step.action, RowTransfer))
    with engine_of(maria_database).rows().reading("test") as reading:
        policies = {one.touched[0].policy for one in reading.lines(action, None, None) if one.touched}
    assert policies == {"reject", "fail"}


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"columns": {"b": {"type": "timestamptz"}}}, "transfer.columns.b"),
        ({"columns": {"v": {"type": "jsonb"}}}, "transfer.columns.v"),
        ({"columns": {"v": {"type": "varchar(5"}}}, "transfer.columns.v"),
        ({"columns": {"x": {"up": "nothing + 1"}}}, "transfer.columns.x"),
        ({"columns": {"x": {"up": "1) as x, (2"}}}, "transfer.columns.x"),
        ({"columns": {"x": "nothing"}}, "transfer.columns.x"),
        ({"columns": {"b": {"unfit": "null"}}}, "transfer.columns"),
        ({"omit": ["b"]}, "transfer.columns"),
        ({"columns": {"xmin": "v"}}, "transfer.columns.xmin"),
        ({"omit": ["nothing"]}, "transfer.omit[0]"),
        ({"where": "nothing"}, "transfer.where"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_with_its_place(
    source: pymysql.cursors.Cursor, maria_database: str, given: dict[str, Any], where: str
) -> None:
    """And trying it leaves nothing."""
    with pytest.raises(SpecError) as refused:
        plan_of(maria_database, **given)
    assert refused.value.where == where
    source.execute("show tables")
    assert sorted(row[0] for row in source.fetchall()) == ["ledger", "t"]
