"""A table of MariaDB is copied into PostgreSQL beside writers: in the end every row is what it is there."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from flows.contract import contract
from flows.cross_database import cross_database
from flows.rollback import rollback
from tasks.ledger.state import load
from tasks.ledger.waivers import waive
from tasks.model.errors import GateError, StateError
from tasks.model.status import MigrationState
from tasks.run import engine_of
from tests.servers.mariadb import connected
from tests.two_databases import between

pytestmark = pytest.mark.usefixtures("prefect_server")
S = MigrationState
KEYS = 1000
TABLE = """
create table `Odd "t` (a int, b varchar(20) character set utf8mb4 collate utf8mb4_general_ci, amount decimal(20, 4),
  note longtext, born date, active boolean not null default 1, seen timestamp(3) null, primary key (a, b))
"""
ROWS = f"""
insert into `Odd "t` (a, b, amount, note) select seq, 'x', seq / 3, repeat('n', seq % 50) from seq_1_to_{KEYS}
"""
SPEC = """
migration: odd
database: shop
strategy: cross_database
transfer:
  table: Odd "t
  to: {database: main, table: odd}
  capture: triggers
  where: active
  columns:
    title: {up: "concat(a, ':', b)"}
    born: {unfit: reject}
    active: {type: boolean}
"""
DEADLOCK, DUPLICATE = 1213, 1062


@pytest.fixture
def profile(database: str, maria_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "odd.yaml").write_text(SPEC)
    return between(tmp_path, monkeypatch, shop=maria_database, main=database)


@pytest.fixture
def spec(profile: str, tmp_path: Path) -> str:
    return str(tmp_path / "odd.yaml")


@pytest.fixture
def target(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


@pytest.fixture
def source(maria_database: str) -> Iterator[pymysql.cursors.Cursor]:
    with connected(maria_database) as conn, conn.cursor() as cursor:
        cursor.execute(TABLE)
        cursor.execute(ROWS)
        yield cursor


class Writer:
    """Writes whatever an application may, until it is told to stop; whatever fails is kept."""

    def __init__(self, url: str, seed: int, stop: Callable[[], bool]) -> None:
        self.url, self.random, self.stop = url, random.Random(seed), stop
        self.statements = 0
        self.failures: list[str] = []

    def __call__(self) -> None:
        with connected(self.url, autocommit=False) as conn, conn.cursor() as cursor:
            cursor.execute("set session sql_mode = '', time_zone = '+05:00'")
            while not self.stop():
                try:
                    time.sleep(0.005)
                    self._once(conn, cursor)
                    self.statements += 1
                except pymysql.err.MySQLError as error:
                    conn.rollback()
                    # They do it to each other.
                    if error.args[0] not in (DEADLOCK, DUPLICATE):
                        self.failures.append(str(error))

    def _once(self, conn: Any, cursor: pymysql.cursors.Cursor) -> None:
        key, word = self.random.randint(1, KEYS + 500), self.random.choice(("x", "X", "y", 'a,"b\t'))
        other = self.random.randint(1, KEYS + 500)
        amount = self.random.choice(("1.10", "0", None, "-3.5"))
        born = self.random.choice(("0000-00-00", "2020-02-29", None))
        statements: list[tuple[str, tuple[Any, ...]]] = [
            ("update {t} set amount = %s, born = %s where a = %s", (amount, born, key)),
            ("update {t} set note = repeat('lông ', 1000), seen = now(3) where a = %s and b = %s", (key, word)),
            ("update {t} set active = not active where a between %s and %s + 3", (key, key)),
            ("update {t} set b = if(b = binary 'x', 'X', b) where a = %s", (key,)),
            ("delete from {t} where a = %s", (key,)),
            ("insert ignore into {t} (a, b, amount, born) values (%s, %s, %s, %s)", (key, word, amount, born)),
            ("insert into {t} (a, b, amount) values (%s, %s, %s) on duplicate key update note = 'again'",
             (key, word, amount)),
            ("replace into {t} (a, b, note) values (%s, %s, 'anew')", (key, word)),
            ("update {t} set a = %s where a = %s and b = %s", (other, key, word)),
        ]  # fmt: skip
        query, values = self.random.choice(statements)
        cursor.execute(query.format(t='`Odd "t`'), values)
        if self.random.random() < 0.1:
            conn.rollback()
            return
        if self.statements in (20, 200):
            cursor.execute(
                "insert ignore into `Odd \"t` (a, b, amount) select seq, 'many', seq from seq_10000_to_11499"
            )
            left = 10000 + self.random.randint(1400, 1500)
            cursor.execute('delete from `Odd "t` where a between 10000 and %s', (left,))
        conn.commit()


@contextmanager
def writing(url: str) -> Iterator[list[Writer]]:
    """Keep two writers busy."""
    ended = threading.Event()
    writers = [Writer(url, seed, ended.is_set) for seed in range(2)]
    threads = [threading.Thread(target=one) for one in writers]
    for thread in threads:
        thread.start()
    try:
        yield writers
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)


def remains(source: pymysql.cursors.Cursor, target: psycopg.Connection[Any]) -> list[Any]:
    """What is left of ours on both sides, the ledger apart."""
    source.execute(
        "select table_name from information_schema.tables where table_schema = database()"
        " and table_name like '\\\\_changeover%' union all"
        " select trigger_name from information_schema.triggers where trigger_schema = database()"
        " and event_object_table = 'Odd \"t'"
    )
    schemas = target.execute("select nspname from pg_namespace where nspname like '\\_changeover%'").fetchall()
    return [*source.fetchall(), *schemas]


def twin(source: pymysql.cursors.Cursor) -> tuple[dict[Any, Any], set[str]]:
    """Say what the rows should have become, without the code that has made them; and which are left out."""
    source.execute('select a, b, amount, note, cast(born as char), seen from `Odd "t` where active')
    rows = source.fetchall()
    wanted = {
        (a, b): (a, b, amount, note, born and date.fromisoformat(born), True, seen, f"{a}:{b}")
        for a, b, amount, note, born, seen in rows
        if born != "0000-00-00"
    }
    return wanted, {text(a, b) for a, b, *_, born, _ in rows if born == "0000-00-00"}


def text(a: int, b: str) -> str:
    """A key as notes of rejections have it."""
    return f'("{a}","' + b.replace('"', '""') + '")'


def there(target: psycopg.Connection[Any]) -> dict[Any, Any]:
    """What has come of them."""
    found = target.execute(
        "select a, b, amount, note, born, active, seen at time zone 'UTC', title from odd"
    ).fetchall()
    return {(row[0], row[1]): row for row in found}


def test_every_write_arrives_and_no_statement_fails(
    source: pymysql.cursors.Cursor, target: psycopg.Connection[Any], profile: str, spec: str, maria_database: str
) -> None:
    """Writers go on through copy, gate, swap and beyond: what the swap has not got is noted; nothing else differs."""
    source.execute("set session time_zone = '+00:00'")
    with writing(maria_database) as writers:
        report = cross_database(spec, profile)
        # Some of them, at least, come too late.
        reached = max(one.statements for one in writers) + 20
        while max(one.statements for one in writers) < reached:
            time.sleep(0.01)
    assert report.state is S.COMPLETE
    assert [failure for one in writers for failure in one.failures] == []
    source.execute("select table_name from information_schema.tables where table_name like '\\\\_changeover%notes'"
                   " and table_schema = database()")  # fmt: skip
    ((notes,),) = source.fetchall()
    source.execute(f"select distinct a, binary b from `{notes}`")
    late = {(a, b.decode()) for a, b in source.fetchall()}
    wanted, misfits = twin(source)
    found = there(target)
    assert {key: one for key, one in found.items() if key not in late} == {
        key: one for key, one in wanted.items() if key not in late
    }
    (schema,) = target.execute("select nspname from pg_namespace where nspname like '\\_changeover%'").fetchall()
    left_out = {row[0] for row in target.execute(f'select key from "{schema[0]}"._changeover_rejected'.encode())}
    gone = {text(a, b) for a, b in late}
    assert left_out - gone == misfits - gone
    sums = f'select sum(read) = sum(written) + sum(rejected) from "{schema[0]}"._changeover_account'
    assert target.execute(sums.encode()).fetchone() == (True,)

    # What came after the swap is only in the old table: nobody takes it back, or ends the migration, without looking.
    assert late
    with pytest.raises(StateError, match="writes since the swap"):
        rollback("odd", profile, "shop")
    with pytest.raises(GateError, match="nothing was written"):
        contract("odd", profile, "shop")
    with engine_of(profile, "shop", "odd", "").connect("test") as conn:
        until = datetime.now(UTC) + timedelta(hours=1)
        check = f'nothing was written to {conn.database}.Odd "t since the swap'
        waive(conn, "odd", load(conn, "odd").plan.digest, "after_swap", check, "Grace", "they are known", until)
    assert contract("odd", profile, "shop").state is S.CONTRACTED
    assert remains(source, target) == []
    assert there(target) == found


@pytest.mark.every_leg
def test_a_rollback_with_what_is_lost(
    source: pymysql.cursors.Cursor, target: psycopg.Connection[Any], profile: str, spec: str
) -> None:
    """What the new application wrote is lost, by name; of ours nothing is left, and the old one writes as before."""
    source.execute('delete from `Odd "t` where a > 3')
    assert cross_database(spec, profile).state is S.COMPLETE
    target.execute("update odd set title = 'new' where a = 1")
    with pytest.raises(StateError, match="1 writes since the swap"):
        rollback("odd", profile, "shop")
    assert rollback("odd", profile, "shop", accept_loss=True).state is S.ROLLED_BACK
    assert remains(source, target) == []
    source.execute("insert into `Odd \"t` (a, b, amount) values (1, 'z', 7)")
