"""A copy into MongoDB under `kill -9`: between a write and its cursor, and between the swap and its entry."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pymongo import MongoClient

from tests.faults.runs import Run, Runs
from tests.faults.writing import Application, killed_while_writing
from tests.legs import EVERY_LEG, SEED, kills
from tests.servers.remains import soon
from tests.two_databases import write_profile

SEEDS = 6 if EVERY_LEG else 1

SPEC = """
migration: people
strategy: cross_database
transfer:
  table: people
  to: {database: documents, collection: people}
  fields:
    name: name
    at: {column: at, unfit: tag}
"""
CAPTURED = SPEC.replace("transfer:", "transfer:\n  capture: triggers") + (
    "    parts: {embed: {table: parts, fields: {n: n}}}\n"
)
PARTS = """
create table parts (n int primary key, of int references people on update cascade on delete cascade);
insert into parts select id, id from people;
create index on parts (of)"""
ROWS = 30_000


@pytest.fixture
def begin(runs: Runs, database: str, documents: str, tmp_path: Path) -> Callable[[], Run]:
    """Start the copy."""
    profile = write_profile(tmp_path, on_failure="keep", shards=1, main="CHANGEOVER_URL", documents="TARGET_URL")
    spec = tmp_path / "people.yaml"
    spec.write_text(SPEC)
    return lambda: runs.start("cross", spec, profile, database, TARGET_URL=documents)


@contextmanager
def blocking(url: str, statement: str) -> Iterator[None]:
    """Hold a lock, so that what wants it stands still."""
    with psycopg.connect(url) as conn:
        conn.execute("set lock_timeout = '20s'")
        conn.execute(statement.encode())
        yield
        conn.rollback()


def test_killed_after_mongodb_was_written_and_before_that_was_recorded(
    begin: Callable[[], Run], database: str, documents: str
) -> None:
    """Run again, done: no document is lost, doubled or stale, and what was written since the swap stays."""
    with (
        psycopg.connect(database, autocommit=True) as conn,
        MongoClient[Any](documents) as client,
    ):
        target = client.get_default_database()
        conn.execute("create table people (id int primary key, name text, at timestamptz)")
        conn.execute(
            f"insert into people select i, 'p' || i, '2026-01-01'::timestamptz + i * interval '1 microsecond'"
            f" from generate_series(1, {ROWS}) i".encode()
        )
        run = begin()
        schema = _awaited(conn, "select nspname from pg_namespace where nspname like '\\_changeover\\_transfer%'")
        with blocking(database, f'lock table "{schema}".account in exclusive mode'):
            # Written to MongoDB, and not recorded: more documents than the cursor knows of.
            assert soon(lambda: _documents(target) > _recorded(conn), seconds=60), run.log
            assert run.kill()
        ahead = _documents(target) - _recorded(conn)
        assert ahead > 0

        run = begin()
        again = "select 1 from changeover.steps where migration = 'people' and phase = 'backfill' and attempts > 1"
        _awaited(conn, again)
        # Nothing but the swap changes this row from here on: it waits when it has been done and is to be recorded.
        with blocking(database, "select 1 from changeover.migrations where id = 'people' for no key update"):
            assert soon(lambda: "people" in target.list_collection_names(), seconds=60), run.log
            assert run.kill()
        target.people.insert_one({"_id": "of the new application"})

        outcome = begin().wait()
        assert outcome.state == "complete", str(outcome)
        assert target.list_collection_names() == ["people"]
        assert target.people.count_documents({}) == ROWS + 1
        wrong = [
            one
            for one in target.people.find({"_id": {"$type": "number"}})
            if one["name"] != f"p{one['_id']}" or isinstance(one["at"], dict) != bool(one["_id"] % 1000)
        ]
        assert wrong == []


def test_killed_while_applications_write(
    begin: Callable[[], Run], database: str, documents: str, tmp_path: Path
) -> None:
    """Killed while writes are carried, and when the collection has its name and the ledger does not say so."""
    (tmp_path / "people.yaml").write_text(CAPTURED)
    with (
        psycopg.connect(database, autocommit=True) as conn,
        MongoClient[Any](documents) as client,
    ):
        target = client.get_default_database()
        conn.execute("create table people (id int primary key, name text, at timestamptz)")
        conn.execute("insert into people select i, 'p' || i from generate_series(1, 3000) i")
        conn.execute(PARTS)
        run = begin()
        schema = _awaited(conn, "select nspname from pg_namespace where nspname like '\\_changeover\\_transfer%'")
        _awaited(conn, "select 1 from pg_trigger where tgname like '%changeover%truncate'")
        # The copy has no use for this table, where everything fits.
        with blocking(database, f'lock table "{schema}".rejected in exclusive mode'):
            _awaited(conn, "select 1 from changeover.steps where phase = 'backfill' and state = 'done'")
            conn.execute("update people set name = 'late' where id <= 10; delete from people where id = 11")
            conn.execute("update people set id = 4000 where id = 12")
            conn.execute("update parts set of = 21 where n = 20")
            # In MongoDB, and still noted: the same is done once more. What is gone goes after what is there.
            assert soon(lambda: _late(target) == 10, seconds=60), run.log
            assert run.kill()
        assert _awaited(conn, f'select count(*) from "{schema}".notes') > 0
        conn.execute("update people set name = 'later' where id = 1")

        run = begin()
        # Only the swap changes this row from here on.
        _awaited(conn, "select 1 from changeover.gates where migration = 'people' and gate = 'before_swap'")
        with blocking(database, "select 1 from changeover.migrations where id = 'people' for no key update"):
            assert soon(lambda: "people" in target.list_collection_names(), seconds=60), run.log
            assert run.kill()
        # The old application has never been told to stop.
        conn.execute("update people set name = 'last' where id = 2; insert into people values (5000, 'last')")
        conn.execute("update parts set of = 5000 where n = 30")

        outcome = begin().wait()
        assert outcome.state == "complete", str(outcome)
        assert target.list_collection_names() == ["people"]
        rows = conn.execute(
            "select id, name, array(select n from parts where of = id order by n) from people order by id"
        ).fetchall()
        assert [
            (one["_id"], one["name"], [part["n"] for part in one["parts"]])
            for one in target.people.find().sort({"_id": 1})
        ] == rows
        assert conn.execute(f'select count(*) from "{schema}".notes'.encode()).fetchone() == (0,)


def _late(target: Any) -> int:
    return sum(target[name].count_documents({"name": "late"}) for name in target.list_collection_names())


def _awaited(conn: psycopg.Connection[Any], query: str) -> Any:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            row = conn.execute(query.encode()).fetchone()
        except psycopg.errors.UndefinedTable:
            row = None
        if row is not None:
            return row[0]
        time.sleep(0.01)
    raise AssertionError(query)


def _documents(target: Any) -> int:
    return sum(target[name].count_documents({}) for name in target.list_collection_names())


def _recorded(conn: psycopg.Connection[Any]) -> int:
    row = conn.execute("select coalesce(sum(rows), 0)::bigint from changeover.cursors").fetchone()
    return int(row[0]) if row else 0


class Writer(Application):
    """An application that writes rows of its own choice, and keys, until it is told to stop."""

    def run(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as conn:
            while not self.ended.is_set():
                time.sleep(0.01)
                key, other, name = (
                    self.random.randint(1, 2000),
                    self.random.randint(1, 2000),
                    f"w{self.random.random()}",
                )
                free = "not exists (select from people where id = %s)"
                statement, values = self.random.choice(
                    [
                        ("update people set name = %s where id = %s", (name, key)),
                        ("delete from people where id = %s", (key,)),
                        ("insert into people values (%s, %s, now()) on conflict (id) do update set name = 'again'",
                         (key, name)),
                        (f"update people set id = %s where id = %s and {free}", (other, key, other)),
                        ("update people set name = name || 'x' where id between %s and %s + 5", (key, key)),
                        ("update parts set of = %s where n = %s", (other, key)),
                        ("delete from parts where of = %s", (key,)),
                        ("insert into parts values (%s, %s) on conflict do nothing", (key, other)),
                    ]
                )  # fmt: skip
                try:
                    with conn.transaction() as whole:
                        conn.execute(statement.encode(), values)
                        if self.random.random() < 0.1:
                            raise psycopg.Rollback(whole)
                except (
                    psycopg.errors.DeadlockDetected,
                    psycopg.errors.UniqueViolation,
                    psycopg.errors.ForeignKeyViolation,
                ):
                    # The writers do it to each other.
                    continue
                except psycopg.Error as error:
                    self.failures.append(str(error))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_killed_at_random_while_applications_write(
    seed: int, begin: Callable[[], Run], database: str, documents: str, tmp_path: Path
) -> None:
    """At any moment, again and again, then to the end: what the swap has not got is noted, and nothing else differs."""
    (tmp_path / "people.yaml").write_text(CAPTURED)
    dice = random.Random(SEED * 1009 + seed)
    with psycopg.connect(database, autocommit=True) as conn, MongoClient[Any](documents, tz_aware=True) as client:
        target = client.get_default_database()
        conn.execute("set time zone 'UTC'; create table people (id int primary key, name text, at timestamptz)")
        conn.execute("insert into people select i, 'p' || i, '2026-01-01' from generate_series(1, 1500) i")
        conn.execute(PARTS)
        writers = [Writer(database, number) for number in range(2)]
        killed_while_writing(begin, writers, dice, times=kills(8 if EVERY_LEG else 1), longest=7.0)
        schema = _awaited(conn, "select nspname from pg_namespace where nspname like '\\_changeover\\_transfer%'")
        late = {row[0] for row in conn.execute(f'select id from "{schema}".notes'.encode())}
        rows = conn.execute(
            "select id, name, at, array(select n from parts where of = id order by n) from people"
        ).fetchall()
        assert target.list_collection_names() == ["people"]
        found = {one["_id"]: one for one in target.people.find() if one["_id"] not in late}
        assert found.keys() == {row[0] for row in rows} - late
        for identity, name, at, parts in rows:
            if identity not in late:
                one = found[identity]
                assert (one["name"], [part["n"] for part in one["parts"]]) == (name, parts)
                held = one["at"] if isinstance(one["at"], datetime) else datetime.fromisoformat(one["at"]["pg_text"])
                assert held == at
