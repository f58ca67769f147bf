"""MariaDB takes rows of PostgreSQL: cut off anywhere, done twice, by two at once, and what no type holds is refused."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from profiles.model import Database, Limits
from tasks.engines.mysql.receiving.compare import compare
from tasks.engines.mysql.receiving.load import Taking, literals, packet_of, require_short
from tasks.engines.mysql.receiving.place import (
    claim,
    clear,
    create_rejected,
    end_others,
    enroll,
    hold,
    make,
    present,
    require_alone,
    require_free,
    require_makeable,
)
from tasks.engines.mysql.receiving.plan import EXACT
from tasks.engines.mysql.session import connect
from tasks.engines.postgresql.engine import PostgresEngine
from tasks.engines.receiving.differences import Differences
from tasks.engines.receiving.load import load, write
from tasks.engines.records import Key, Shard
from tasks.ledger.install import install
from tasks.ledger.state import create
from tasks.model.errors import FencedError, PreflightError, ProfileError, SpecError, StateError, StepError
from tasks.model.plan import Plan
from tasks.model.source import parse
from tasks.model.spec import MigrationSpec
from tasks.model.transfer_steps import RowTransfer
from tasks.run import Run
from tests.servers.mariadb import run
from tests.two_databases import between

EXAMPLE = Path(__file__).parents[2] / "examples" / "users_to_mariadb.yaml"
TABLE = "create table t (a varchar(10), b int, v text, raw bytea, primary key (a, b)); create table ledger (n int)"
ROWS = 40


def engine_of(url: str) -> PostgresEngine:
    """Return the source."""
    return PostgresEngine(url=url, database=Database(url_env="UNUSED"), limits=Limits(), migration="m", run_id="r")


def plan_of(url: str, **transfer: Any) -> Plan:
    """Plan a copy."""
    whole = {"table": "t", "to": {"database": "shop", "table": "t"}, **transfer}
    spec = {"migration": "m", "database": "main", "strategy": "cross_database", "transfer": whole}
    return engine_of(url).plan(MigrationSpec.model_validate(spec))


class Copy:
    """A copy whose ledger is a table of numbers, and which has been given room."""

    def __init__(self, url: str, target: str) -> None:
        self.engine, self.target = engine_of(url), target
        plan = plan_of(url)
        self.action = next(step.action for step in plan.steps if isinstance(step.action, RowTransfer))
        self.position: Key | None = None
        self.rows = 0
        with connect(self.target) as conn:
            make(conn, self.action.into, 1)
        (self.high,) = (high for _, high in self.engine.shards(self.action, 1))

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

        def checkpoint(done: int, conn: psycopg.Connection[Any], position: Key, rows: int, size: int) -> None:
            nonlocal moves
            moves += 1
            conn.execute("insert into ledger values (%s)", (rows,))
            if cut_off and moves == 2:
                conn.close()
                return
            self.position, self.rows = position, self.rows + rows

        def between(size: int) -> int:
            if moves >= batches:
                raise StopIteration
            meanwhile()
            return 10

        assert self.high is not None
        shard = Shard(position=self.position, high=self.high, batch_rows=10)
        rows = self.engine.rows("public")
        with connect(self.target) as conn, self.engine.connect("ledger") as ledger, rows.reading("test") as reading:
            taking = Taking(conn, self.action, self.action.into.staged)
            return load(taking, ledger, reading, shard, 0, epoch, Limits(), checkpoint, between)

    def compare(self) -> Differences:
        """Compare with what is staged."""
        with connect(self.target) as conn, self.engine.rows("public").reading("test") as reading:
            return compare(conn, reading, self.action, self.action.into.staged)


@pytest.fixture
def source(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(TABLE)
        yield conn


@pytest.fixture
def copy(source: psycopg.Connection[Any], database: str, maria_database: str) -> Copy:
    source.execute(
        "insert into t select 'K' || n % 7, n, E'v\\t' || n, decode(lpad(to_hex(n), 2, '0'), 'hex')"
        f" from generate_series(1, {ROWS}) n".encode()
    )
    return Copy(database, maria_database)


def test_cut_off_and_fenced_a_batch_is_written_once(copy: Copy, source: psycopg.Connection[Any]) -> None:
    """MariaDB has a batch that the ledger knows nothing of: it is recorded then, and not written again. An older run,
    and the slower of two workers, write nothing; whoever stands still in a batch is ended, and has written nothing."""
    with pytest.raises(psycopg.OperationalError):
        copy.load(cut_off=True)
    assert copy.rows == 10
    assert copy.compare().present == 20
    with pytest.raises(StopIteration):
        copy.load(batches=1)
    assert copy.rows == 20
    into = copy.action.into
    with connect(copy.target) as stopped, connect(copy.target) as conn:
        enroll(stopped, into)
        stopped.execute("start transaction")
        hold(stopped, into, 1)
        stopped.execute(f"insert into {into.staged} values ('x', 1, null, null)")
        claim(conn, into, 2)
        with pytest.raises(pymysql.err.OperationalError):
            stopped.execute("commit")
    with pytest.raises(FencedError, match="a newer run"):
        copy.load(epoch=1)
    with pytest.raises(FencedError, match="another worker"):
        copy.load(epoch=2, meanwhile=lambda: copy.load(epoch=2))
    assert copy.compare().equal
    assert source.execute("select sum(n) from ledger").fetchone() == (ROWS,)
    with connect(copy.target) as conn:
        conn.execute(f"""update {copy.action.account} set position = '["Z", "1"]', previous = '["Y", "1"]'""")
    with pytest.raises(StepError, match="has lost what it had committed"):
        copy.load(epoch=2)


def test_every_difference_shows(copy: Copy, source: psycopg.Connection[Any]) -> None:
    """One too many, one too few, one with a space more, in a key, too; in bytes; what is there for no row."""
    copy.load()
    assert copy.compare().equal
    source.execute("update t set v = v || ' ' where b = 1; update t set a = a || ' ' where b = 2")
    source.execute(r"update t set raw = '\x00' where b = 4; delete from t where b = 3; insert into t values ('', 0)")
    found = copy.compare()
    assert (found.differing, found.superfluous, found.rows) == (4, 0, ROWS)
    source.execute("delete from t where b = 0")
    assert copy.compare().superfluous == 1


def test_rows_have_their_format_whatever_the_server_is_set_to(
    source: psycopg.Connection[Any], database: str, maria_database: str
) -> None:
    """Keys of 3072 bytes, and long texts of which a page holds nothing: in tables of the session, and of ours, too."""
    texts = [f"t{number}" for number in range(12)]
    source.execute(f"create table wide (id varchar(700) primary key, {' text, '.join(texts)} text)".encode())
    long = ", repeat('x', 1000)" * len(texts)
    source.execute(f"insert into wide values ('a'{long})".encode())
    plan = plan_of(database, table="wide")
    action = next(step.action for step in plan.steps if isinstance(step.action, RowTransfer))
    ((before,),) = run(maria_database, "select @@global.innodb_default_row_format")
    run(maria_database, "set global innodb_default_row_format = redundant")
    try:
        with connect(maria_database) as conn, engine_of(database).rows("public").reading("test") as reading:
            require_makeable(conn, action.into)
            make(conn, action.into, 1)
            conn.execute(create_rejected("rejected", 600))
            taking = Taking(conn, action, action.into.staged)
            assert write(taking, reading.lines(action, None, None)).written == 1
            assert compare(conn, reading, action, action.into.staged).equal
    finally:
        run(maria_database, f"set global innodb_default_row_format = {before}")


def test_what_does_not_fit_is_counted(source: psycopg.Connection[Any], database: str) -> None:
    """By the first reason of each value, with what becomes of it."""
    source.execute(
        "create table u (id int primary key, n numeric, f float8, born date, at timestamptz, note text, j jsonb,"
        " small bigint)"
    )
    deep = "[" * 31 + "]" * 31
    source.execute(
        "insert into u values (1, 'NaN', '-0', 'infinity', '10000-01-01', repeat('é', 11), %s, 40000),"
        " (2, 1.001, 'Infinity', '0001-01-01 BC', '-infinity', '', '[]', -1), (3, 1e9, 0, '9999-12-31', '2020-01-01"
        " 00:00:00.123', 'é', null, 0), (4, null, null, null, null, null, null, null)",
        (deep,),
    )
    rules = {
        "n": {"type": "decimal(9,2)", "unfit": "null"}, "f": {}, "born": {"unfit": "reject"},
        "at": {"type": "datetime(0)"}, "note": {"type": "varchar(10)"}, "j": {}, "small": {"type": "smallint unsigned"},
    }  # fmt: skip
    plan = plan_of(database, table="u", columns=rules)
    found = {one.name.split()[2]: one for one in engine_of(database).examine(plan, values_in_reports=False).checks}
    told = {name: check.message.partition(";")[0] for name, check in found.items()}
    year = "infinite, or outside of the years 1 to 9999"
    assert told == {
        "n": "1 × no number, 1 × more digits after the point, 1 × out of the range of the type",
        "f": "1 × no number, 1 × a zero with a sign",
        "born": f"2 × {year}",
        "at": f"2 × {year}, 1 × more digits of a second",
        "note": "1 × longer than 10 characters",
        "j": "1 × deeper than 30 levels",
        "small": "1 × out of the range of the type",
    }
    assert {name for name, check in found.items() if check.severity == "error"} == {"f", "at", "note", "j", "small"}
    source.execute("alter table u alter n set default 9, alter note set default 'longer than ten'")
    source.execute("alter table u alter small set default 128, alter id set default 1000")
    rules = {"n": {"type": "decimal(3,2)"}, "note": {"type": "varchar(10)"}, "small": {"type": "tinyint"}}
    made = next(step.action for step in plan_of(database, table="u", columns=rules).steps).model_dump()["create"]
    # A default that does not fit would be refused by MariaDB, with the whole table.
    assert [line.split()[-1] for line in made.splitlines() if " default " in line and "`" in line] == ["1000,", "9,"]


def test_rows_that_no_statement_holds_are_counted_before_the_run(
    copy: Copy, source: psycopg.Connection[Any], database: str
) -> None:
    """All of a row, with what is escaped in it; to the length that is sent."""

    def required(packet: int) -> None:
        with engine_of(database).rows("public").reading("test") as reading:
            require_short(packet, reading, copy.action)

    source.execute("update t set v = repeat('x', 10000), raw = decode(repeat('00', 10000), 'hex') where b = 3")
    for b, text in enumerate(("x", "''", "\\", "\n", "\t", "\b", "\r"), 4):
        source.execute("update t set v = repeat(%s, 30000 / length(%s)) where b = %s", (text, text, b))
    beside = 4096 + 1024 * 4 + len("K5") + len("05")
    required(60_000 + beside)
    with pytest.raises(PreflightError, match="6 rows are longer than max_allowed_packet"):
        required(60_000 - 1 + beside)
    with pytest.raises(PreflightError, match="8 rows are longer"):
        required(30_000 - 3 + beside)
    with engine_of(database).rows("public").reading("test") as reading:
        alone = [one.line for one in reading.lines(copy.action, None, None) if one.rows == 1]
    assert max(len(literals(copy.action.columns, line)) for line in alone) in range(60_000, 60_000 + 50)
    with connect(copy.target) as conn:
        assert packet_of(conn) > 1_000_000


def test_a_place_that_is_taken_is_refused(copy: Copy) -> None:
    """And what is ours of it goes, but no other's."""
    with connect(copy.target) as conn:
        into = copy.action.into
        with pytest.raises(PreflightError, match="exist already: another copy"):
            require_free(conn, into)
        conn.execute(
            f"create table cards (b int, a varchar(255) {EXACT}, foreign key (a, b) references {into.staged} (a, b))"
        )
        with pytest.raises(StateError, match=r"the foreign key .*cards\.cards_ibfk_1"):
            require_alone(conn, present(conn, into))
        conn.execute("drop table cards")
        clear(conn, into, 300)
        assert conn.execute("show tables").fetchall() == ()
        end_others(conn, into)
        conn.execute("create table t (mine text)")
        with pytest.raises(PreflightError, match="t exists already"):
            require_free(conn, into)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"columns": {"b": {"type": "datetime(6)"}}}, "transfer.columns.b"),
        ({"columns": {"v": {"type": "json"}}}, "transfer.columns.v"),
        ({"columns": {"v": {"type": "text"}}}, "transfer.columns.v"),
        ({"columns": {"x": {"up": "array[b]"}}}, "transfer.columns.x"),
        ({"columns": {"x": {"up": "nothing + 1"}}}, "transfer.columns.x"),
        ({"columns": {"a": {"type": "longtext"}}}, "transfer.columns.a"),
        ({"columns": {"a": {"type": "varchar(1000)"}}}, "transfer.columns"),
        ({"columns": {"x": {"column": "v", "type": "varchar(16000)"}}}, "transfer.columns"),
        ({"columns": {"b": {"unfit": "null"}}}, "transfer.columns"),
        ({"columns": {"É": "v", "e": {"up": "b"}}}, "transfer.columns.e"),
        ({"columns": {"😀": "v"}}, "transfer.columns.😀"),
        ({"omit": ["b"]}, "transfer.columns"),
        ({"where": "nothing"}, "transfer.where"),
        ({"to": {"database": "shop", "table": "public.t"}}, "transfer.to.table"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_with_its_place(
    source: psycopg.Connection[Any], database: str, given: dict[str, Any], where: str
) -> None:
    with pytest.raises(SpecError) as refused:
        plan_of(database, **given)
    assert refused.value.where == where
    assert source.execute("select to_regnamespace('_changeover')").fetchone() == (None,)


def test_a_sequence_that_may_not_be_read_is_told_before_the_run(database: str) -> None:
    """It is asked for its next number at the swap, when all has been copied."""
    role = f"reader_{secrets.token_hex(4)}"
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("create table s (id bigint generated always as identity primary key)")
        conn.execute(f"create role {role} login; grant select on s to {role}".encode())
        try:
            with pytest.raises(PreflightError, match=r"may not read the sequence public\.s_id_seq"):
                plan_of(f"{database}{'&' if '?' in database else '?'}options=-c%20role%3D{role}", table="s")
        finally:
            conn.execute(f"drop owned by {role}; drop role {role}".encode())


def test_another_database_than_mariadb_is_refused(
    source: psycopg.Connection[Any], database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan does not ask it: whoever runs does, before anything is made."""
    profile = between(tmp_path, monkeypatch, main=database, shop=database)
    with engine_of(database).connect("test") as conn:
        install(conn, actor="test")
        with conn.transaction():
            create(conn, plan_of(database), profile, "test")
    run = Run(migration="m", profile=profile, database="main", run_id="r", actor="test")
    with pytest.raises(ProfileError, match="into MariaDB only") as refused:
        run.target("shop")
    assert refused.value.hint.endswith("Within PostgreSQL, use its own logical replication.")


def test_the_example_plans(source: psycopg.Connection[Any], database: str) -> None:
    """On a table like that of the page about MongoDB."""
    source.execute(
        "create table users (id bigint generated always as identity primary key, first_name text not null, last_name"
        " text not null, status text not null, created_at timestamptz not null, updated_at timestamptz)"
    )
    plan = engine_of(database).plan(parse(EXAMPLE.read_text(), str(EXAMPLE)))
    action = next(step.action for step in plan.steps if isinstance(step.action, RowTransfer))
    assert [one.name for one in action.columns] == ["id", "status", "created_at", "updated_at", "full_name"]
    assert action.into.create.splitlines()[1] == "  `id` bigint not null auto_increment,"
