"""A copy from MariaDB into MongoDB under `kill -9`: where MongoDB has it and MariaDB does not say so, and at random."""

import random
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.faults.runs import Run, Runs
from tests.faults.test_cross_database_rows import Writer, no_commit
from tests.faults.writing import killed_while_writing
from tests.legs import SEED, kills
from tests.servers.mariadb import connected
from tests.servers.remains import soon
from tests.two_databases import write_profile

SPEC = """
migration: people
strategy: cross_database
transfer:
  table: people
  to: {database: documents, collection: people}
  capture: triggers
  fields:
    name: name
    born: {column: born, type: date, unfit: reject}
"""
TABLE = "create table people (id int auto_increment primary key, name varchar(40), born date)"


@pytest.fixture
def begin(runs: Runs, maria_database: str, documents: str, tmp_path: Path) -> Callable[[], Run]:
    """Start the copy."""
    profile = write_profile(tmp_path, on_failure="keep", main="CHANGEOVER_URL", documents="TARGET_URL")
    spec = tmp_path / "people.yaml"
    spec.write_text(SPEC)
    return lambda: runs.start("cross", spec, profile, maria_database, TARGET_URL=documents)


@pytest.mark.timeout(900)
@pytest.mark.every_leg
def test_killed_where_mariadb_does_not_say_so(begin: Callable[[], Run], maria_database: str, documents: str) -> None:
    """Killed when batches are written, and when the collection has its name: the same is done once more."""
    with (
        connected(maria_database) as maria,
        maria.cursor() as source,
        MongoClient[Any](documents) as client,
        ExitStack() as stopped,
    ):
        target = client.get_default_database()
        source.execute(TABLE)
        source.execute("insert into people (name) select concat('p', seq) from seq_1_to_30000")
        run = begin()
        assert soon(lambda: _documents(target) > 0, seconds=60), run.log
        stopped.enter_context(no_commit(maria_database))
        assert run.kill()
        stopped.close()
        source.execute("update people set name = 'late' where id <= 10")
        source.execute("delete from people where id = 11")
        source.execute("update people set id = 40000 where id = 12")

        run = begin()
        assert soon(lambda: _gate_passed(source), seconds=120), run.log
        with connected(maria_database, autocommit=False) as other, other.cursor() as blocker:
            # Nothing but the swap changes this row from here on: it waits when it has been done.
            blocker.execute("select 1 from changeover_migrations for update")
            assert soon(lambda: "people" in target.list_collection_names(), seconds=60), run.log
            assert run.kill()
            other.rollback()
        # The old application has never been told to stop.
        source.execute("update people set name = 'last' where id = 2")
        source.execute("insert into people (id, name) values (50000, 'last')")

        outcome = begin().wait()
        assert outcome.state == "complete", str(outcome)
        assert target.list_collection_names() == ["people"]
        # All of it came before the ledger says that it is swapped.
        assert _late(source) == set()
        source.execute("select id, name from people order by id")
        assert [(one["_id"], one["name"]) for one in target.people.find().sort({"_id": 1})] == list(source.fetchall())


@pytest.mark.timeout(900)
@pytest.mark.every_leg
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_random_while_applications_write(
    seed: int, begin: Callable[[], Run], maria_database: str, documents: str
) -> None:
    """At any moment, again and again, then to the end: what the swap has not got is noted, and nothing else differs."""
    dice = random.Random(SEED * 1009 + seed)
    with (
        connected(maria_database) as maria,
        maria.cursor() as source,
        MongoClient[Any](documents, tz_aware=True) as client,
    ):
        target = client.get_default_database()
        source.execute(TABLE)
        source.execute("insert into people (name, born) select concat('p', seq), '2001-02-03' from seq_1_to_1500")
        writers = [Writer(maria_database, number) for number in range(2)]
        killed_while_writing(begin, writers, dice, times=kills(8), longest=7.0)
        late = _late(source)
        source.execute("select id, name, cast(born as char) from people")
        rows = {row[0]: row for row in source.fetchall() if row[0] not in late}
        assert target.list_collection_names() == ["people"]
        found = {one["_id"]: one for one in target.people.find() if one["_id"] not in late}
        day = datetime(2001, 2, 3, tzinfo=UTC)
        assert found == {
            key: {"_id": key, "name": name, "born": born and day}
            for key, name, born in rows.values()
            if born != "0000-00-00"
        }


def _documents(target: Any) -> int:
    return sum(target[name].count_documents({}) for name in target.list_collection_names())


def _gate_passed(source: Any) -> bool:
    return bool(source.execute("select 1 from changeover_gates where gate = 'before_swap'"))


def _late(source: Any) -> set[int]:
    source.execute(
        "select table_name from information_schema.tables where table_schema = database()"
        " and table_name like '\\\\_changeover%notes'"
    )
    ((notes,),) = source.fetchall()
    source.execute(f"select distinct id from `{notes}`")
    return {row[0] for row in source.fetchall()}
