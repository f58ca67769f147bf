"""A copy from MariaDB into PostgreSQL under `kill -9`: at random, between two commits, and while others write."""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from tests.faults.runs import Run, Runs
from tests.faults.writing import Application, killed_while_writing
from tests.legs import EVERY_LEG, SEED
from tests.servers.mariadb import connected
from tests.servers.remains import soon
from tests.two_databases import write_profile

KILLS = int(os.environ.get("CHANGEOVER_FAULT_RUNS", "8" if EVERY_LEG else "2"))
ROWS = 30_000
SPEC = """
migration: people
database: shop
strategy: cross_database
transfer:
  table: people
  to: {database: main, table: people}
  columns:
    born: {column: born, unfit: reject}
"""


@pytest.fixture
def begin(runs: Runs, database: str, maria_database: str, tmp_path: Path) -> Callable[[], Run]:
    """Start the copy."""
    profile = write_profile(tmp_path, on_failure="keep", main="CHANGEOVER_URL", shop="SOURCE_URL")
    spec = tmp_path / "people.yaml"
    spec.write_text(SPEC)
    return lambda: runs.start("cross", spec, profile, database, SOURCE_URL=maria_database)


@pytest.mark.every_leg
@pytest.mark.timeout(900)
def test_killed_at_random_and_after_the_swap(begin: Callable[[], Run], database: str, maria_database: str) -> None:
    """Run again, done: no row is lost, doubled or stale, and what was written since the swap stays."""
    dice = random.Random(SEED)
    with (
        connected(maria_database) as maria,
        maria.cursor() as source,
        psycopg.connect(database, autocommit=True) as target,
    ):
        source.execute("set session sql_mode = ''")
        source.execute("create table people (id int auto_increment primary key, name varchar(40), born date)")
        source.execute(
            f"insert into people (name, born) select concat('p', seq), if(seq % 1000, '2001-02-03', '0000-00-00')"
            f" from seq_1_to_{ROWS}"
        )
        killed = 0
        for _ in range(KILLS):
            run = begin()
            if not killed:
                assert soon(lambda: _is_there(target, "_changeover_transfer"), seconds=60), run.log
            # The first one surely before the end.
            time.sleep(dice.uniform(0.0, 3.0 if killed else 0.1))
            killed += run.kill()
            if _is_there(target, "public"):
                break
        assert killed

        if not _is_there(target, "public"):
            with connected(maria_database, autocommit=False) as other, other.cursor() as blocker:
                run = begin()
                assert soon(lambda: _gate_passed(source), seconds=120), run.log
                blocker.execute("select 1 from changeover_migrations for update")
                assert soon(lambda: _is_there(target, "public"), seconds=60), run.log
                assert run.kill()
                other.rollback()
        target.execute("insert into people (name) values ('of the new application')")

        outcome = begin().wait()
        assert outcome.state == "complete", str(outcome)
        kept = target.execute("select id, name, born::text from people where id <= %s order by id", (ROWS,)).fetchall()
        assert kept == [(n, f"p{n}", "2001-02-03") for n in range(1, ROWS + 1) if n % 1000]
        written = target.execute("select name from people where id > %s", (ROWS,)).fetchall()
        assert written == [("of the new application",)]
        schema = target.execute("select nspname from pg_namespace where nspname ~ '^_changeover_transfer'").fetchone()
        assert schema is not None
        sums = f'select sum(read), sum(written), sum(rejected) from "{schema[0]}"._changeover_account'
        assert target.execute(sums.encode()).fetchone() == (ROWS, ROWS - ROWS // 1000, ROWS // 1000)


def _is_there(target: psycopg.Connection[Any], schema: str) -> bool:
    found = (
        "select 1 from pg_class c join pg_namespace n on n.oid = relnamespace where relname = 'people' and nspname ~ %s"
    )
    return target.execute(found, (f"^{schema}",)).fetchone() is not None


def _gate_passed(source: Any) -> bool:
    return bool(source.execute("select 1 from changeover_gates where gate = 'before_swap'"))


CAPTURED = SPEC.replace("transfer:", "transfer:\n  capture: triggers")


def _writing(cursor: Any) -> list[int]:
    cursor.execute(
        "select p.id from information_schema.processlist p join information_schema.innodb_trx t"
        " on t.trx_mysql_thread_id = p.id where p.id <> connection_id() and p.db = database()"
    )
    return [session for (session,) in cursor.fetchall()]


@contextmanager
def no_commit(url: str) -> Iterator[None]:
    """Let nothing commit in MariaDB; what wanted to is ended, and so rolled back."""
    with connected(url) as conn, conn.cursor() as cursor:
        for stage in ("start", "flush", "block_ddl", "block_commit"):
            cursor.execute(f"backup stage {stage}")
        try:
            yield
            # Whoever has a transaction open: it may not have come as far as to wait for this.
            while sessions := _writing(cursor):
                for session in sessions:
                    # It may have ended by itself.
                    with suppress(pymysql.err.MySQLError):
                        cursor.execute(f"kill {session}")
                # Else it may be let through before it hears that it was ended.
                time.sleep(0.02)
        finally:
            cursor.execute("backup stage end")


@contextmanager
def holding(url: str, statement: str) -> Iterator[None]:
    """Hold a lock in PostgreSQL, so that what wants it stands still."""
    with psycopg.connect(url) as conn:
        conn.execute(statement.encode())
        yield
        conn.rollback()


@pytest.mark.timeout(900)
def test_killed_while_applications_write(
    begin: Callable[[], Run], database: str, maria_database: str, tmp_path: Path
) -> None:
    """Killed where PostgreSQL has what was carried, and the swap, and MariaDB does not say so."""
    (tmp_path / "people.yaml").write_text(CAPTURED)
    # Whoever is made to wait here waits, and does not try again.
    with (tmp_path / "two.toml").open("a") as profile:
        profile.write("[limits]\nlock_budget = 30000\n")
    with (
        connected(maria_database) as maria,
        maria.cursor() as source,
        psycopg.connect(database, autocommit=True) as target,
        ExitStack() as stopped,
    ):
        source.execute("create table people (id int auto_increment primary key, name varchar(40), born date)")
        source.execute("insert into people (name) select concat('p', seq) from seq_1_to_3000")
        run = begin()
        assert soon(lambda: _is_there(target, "_changeover_transfer"), seconds=60), run.log
        schema = _schema(target)
        # The copy has no use for this table, where everything fits.
        with holding(database, f'lock table "{schema}"._changeover_rejected in access exclusive mode'):
            assert soon(lambda: _copied(source), seconds=60), run.log
            source.execute("update people set name = 'late' where id <= 10")
            source.execute("delete from people where id = 11")
            source.execute("update people set id = 4000 where id = 12")
            assert soon(lambda: _waits(target), seconds=60), run.log
            stopped.enter_context(no_commit(maria_database))
        assert soon(lambda: _late(target, schema) == 10, seconds=60), run.log
        assert run.kill()
        stopped.close()
        assert _notes(source) > 0
        source.execute("update people set name = 'later' where id = 1")

        run = begin()
        with holding(database, f'lock table "{schema}".people in access share mode'):
            # Nothing but the swap wants to have it alone.
            assert soon(lambda: _gate_passed(source), seconds=120), run.log
            assert soon(lambda: _waits(target), seconds=60), run.log
            stopped.enter_context(no_commit(maria_database))
        assert soon(lambda: _is_there(target, "public"), seconds=60), run.log
        assert run.kill()
        stopped.close()
        # The old application has never been told to stop.
        source.execute("update people set name = 'last' where id = 2")
        source.execute("insert into people (id, name) values (5000, 'last')")
        source.execute("insert into people (name) values ('numbered there')")

        outcome = begin().wait()
        assert outcome.state == "complete", str(outcome)
        source.execute("select id, name from people order by id")
        kept = target.execute("select id, name from people order by id").fetchall()
        assert kept == list(source.fetchall())
        assert _notes(source) == 0
        # The new application numbers after the rows of the old one, also after those that came when it was put.
        numbered = target.execute("insert into people (name) values ('numbered here') returning id").fetchone()
        assert numbered == (5002,)


class Writer(Application):
    """An application that writes rows of its own choice, and keys, until it is told to stop."""

    def run(self) -> None:
        with connected(self.url, autocommit=False) as conn, conn.cursor() as cursor:
            cursor.execute("set session sql_mode = ''")
            while not self.ended.is_set():
                time.sleep(0.01)
                key, other = self.random.randint(1, 2000), self.random.randint(1, 2000)
                statement, values = self.random.choice(
                    [
                        ("update people set name = %s where id = %s", (f"w{other}", key)),
                        ("update people set born = '0000-00-00' where id between %s and %s + 2", (key, key)),
                        ("update people set born = '2001-02-03' where id between %s and %s + 2", (key, key)),
                        ("delete from people where id = %s", (key,)),
                        ("replace into people (id, name) values (%s, 'again')", (key,)),
                        ("update people set id = %s where id = %s", (other, key)),
                        ("update people set name = left(concat(name, 'x'), 40) where id between %s and %s + 5",
                         (key, key)),
                    ]
                )  # fmt: skip
                try:
                    cursor.execute(statement, values)
                    if self.random.random() < 0.1:
                        conn.rollback()
                    conn.commit()
                except pymysql.err.MySQLError as error:
                    conn.rollback()
                    # Deadlocks and duplicates: the writers do it to each other.
                    if error.args[0] not in (1213, 1062):
                        self.failures.append(str(error))


@pytest.mark.timeout(900)
@pytest.mark.every_leg
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_random_while_applications_write(
    seed: int, begin: Callable[[], Run], database: str, maria_database: str, tmp_path: Path
) -> None:
    """At any moment, again and again, then to the end: what the swap has not got is noted, and nothing else differs."""
    (tmp_path / "people.yaml").write_text(CAPTURED)
    dice = random.Random(SEED * 1009 + seed)
    with (
        connected(maria_database) as maria,
        maria.cursor() as source,
        psycopg.connect(database, autocommit=True) as target,
    ):
        source.execute("create table people (id int auto_increment primary key, name varchar(40), born date)")
        source.execute("insert into people (name, born) select concat('p', seq), '2001-02-03' from seq_1_to_1500")
        writers = [Writer(maria_database, number) for number in range(2)]
        killed_while_writing(begin, writers, dice, times=8, longest=9.0)
        source.execute(f"select distinct id from `{_notes_table(source)}`")
        late = {row[0] for row in source.fetchall()}
        source.execute("select id, name, cast(born as char) from people")
        rows = {row[0]: row for row in source.fetchall() if row[0] not in late}
        found = {row[0]: row for row in target.execute("select id, name, born::text from people") if row[0] not in late}
        assert found == {key: row for key, row in rows.items() if row[2] != "0000-00-00"}
        query = f'select key from "{_schema(target)}"._changeover_rejected'
        left_out = {int(row[0]) for row in target.execute(query.encode())} - late
        assert left_out == {key for key, row in rows.items() if row[2] == "0000-00-00"}


def _schema(target: psycopg.Connection[Any]) -> str:
    row = target.execute("select nspname from pg_namespace where nspname ~ '^_changeover_transfer'").fetchone()
    assert row is not None
    return str(row[0])


def _copied(source: Any) -> bool:
    return bool(source.execute("select 1 from changeover_steps where phase = 'backfill' and state = 'done'"))


def _waits(target: psycopg.Connection[Any]) -> bool:
    """Tell whether a session of ours waits for somebody else."""
    blocked = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and application_name like 'changeover %'"
    return target.execute(blocked.encode()).fetchone() is not None


def _late(target: psycopg.Connection[Any], schema: str) -> int:
    row = target.execute(f"select count(*) from \"{schema}\".people where name = 'late'".encode()).fetchone()
    return int(row[0]) if row else 0


def _notes_table(source: Any) -> str:
    source.execute(
        "select table_name from information_schema.tables where table_schema = database()"
        " and table_name like '\\\\_changeover%notes'"
    )
    return str(source.fetchall()[0][0])


def _notes(source: Any) -> int:
    source.execute(f"select count(*) from `{_notes_table(source)}`")
    return int(source.fetchall()[0][0])
