"""A copy of documents into rows beside writers: kills at random, an election, an oplog that has rolled over."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from tests.acceptance.streamed import INTO_MARIA, SPEC, InMaria, InPostgres, There, fill, writing
from tests.faults.runs import Run, Runs
from tests.legs import SEED, kills
from tests.servers import mariadb
from tests.servers.mongodb import replica_set
from tests.servers.remains import soon

pytestmark = [pytest.mark.every_leg, pytest.mark.timeout(900)]

PROFILE = """
name = "two"
on_failure = "keep"
evidence = "{folder}/evidence"
[databases.rows]
url_env = "CHANGEOVER_URL"
[databases.main]
url_env = "SOURCE_URL"
ledger = "rows"
[databases.maria]
url_env = "MARIA_URL"
"""
Begin = Callable[[str], Run]
TAKERS = pytest.mark.parametrize("taker", ["postgresql", "mariadb"])


Copying = Callable[..., AbstractContextManager[tuple[Begin, There, Database[Any]]]]


@pytest.fixture
def copying(runs: Runs, database: str, tmp_path: Path, request: pytest.FixtureRequest) -> Copying:
    """Give what starts a command, the target, and the source, with people in it."""

    @contextmanager
    def begun(documents: str, taker: str) -> Iterator[tuple[Begin, There, Database[Any]]]:
        profile, spec, urls = tmp_path / "two.toml", tmp_path / "people.yaml", {"SOURCE_URL": documents}
        profile.write_text(PROFILE.format(folder=tmp_path))
        written = SPEC.replace("database: main", "database: rows")
        with ExitStack() as opened:
            there: There = InPostgres(opened.enter_context(psycopg.connect(database, autocommit=True)))
            urls["MARIA_URL"] = database
            if taker == "mariadb":
                urls["MARIA_URL"] = request.getfixturevalue("maria_database")
                written = INTO_MARIA.replace("database: rows", "database: maria")
                there = InMaria(opened.enter_context(mariadb.connected(urls["MARIA_URL"])))
            spec.write_text(written.replace("database: shop", "database: main"))

            def begin(command: str) -> Run:
                return runs.start(command, spec if command == "cross" else "people", profile, database, **urls)

            source = opened.enter_context(MongoClient(documents, w="majority")).get_default_database()
            fill(source, 3000)
            yield begin, there, source

    return begun


def settled(there: There, source: Database[Any], begin: Begin) -> None:
    """Let the contract ask the stream, and look whether nothing but what it tells of differs."""
    refused = begin("contract").wait(240)
    assert "nothing was written" in str(refused.said), str(refused)
    late = there.noted
    assert there.differences(source, late) == []
    # Not all of it, or there is nothing to compare.
    assert len(late) < 1000


@TAKERS
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_while_applications_write(taker: str, seed: int, documents: str, copying: Copying) -> None:
    """At any moment, again and again, then to the end: what the swap has not got is told, and nothing else differs."""
    dice = random.Random(SEED * 1013 + seed)
    with copying(documents, taker) as (begin, there, source):
        with writing(documents, pause=0.02) as writers:
            killed = 0
            for _ in range(kills(6)):
                run = begin("cross")
                time.sleep(dice.uniform(0.5, 12.0 if killed else 4.0))
                killed += run.kill()
                if there.asked("select 1 from people limit 1"):
                    # Whatever is written from here on comes too late.
                    break
            outcome = begin("cross").wait(300)
        assert killed
        assert outcome.state == "complete", str(outcome)
        assert [failure for one in writers for failure in one.failures] == []
        source.people.update_one({"_id": "k1"}, {"$set": {"note": "late"}}, upsert=True)
        settled(there, source, begin)


class Stubborn(threading.Thread):
    """An application that writes each value until the server says that a majority has it."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.ended, self.writes = url, threading.Event(), 0

    def run(self) -> None:
        with MongoClient(self.url, w="majority", serverSelectionTimeoutMS=30_000) as client:
            people, unknown = client.get_default_database().people, False
            while unknown or not self.ended.is_set():
                key = {"_id": f"k{self.writes % 500}"}
                try:
                    if self.writes % 5:
                        people.update_one(key, {"$set": {"amount": self.writes, "active": True}}, upsert=True)
                    else:
                        people.delete_one(key)
                except PyMongoError:
                    # It may have been written: the same once more.
                    unknown = True
                    continue
                self.writes, unknown = self.writes + 1, False
                self.ended.wait(0.01)


@TAKERS
@pytest.mark.parametrize("at", ["backfill", "swap"])
def test_the_primary_is_killed(taker: str, at: str, database: str, copying: Copying) -> None:
    """A set of three: another member is elected, the run goes on, and every write that was acknowledged is there."""
    reached = {
        "backfill": "select 1 from changeover.steps where key like 'backfill/%' and state <> 'pending'",
        "swap": "select 1 from changeover.steps where key like 'backfill/%' and state = 'done'",
    }[at]
    with (
        replica_set(3) as (server, processes),
        copying(server.url_of("shop"), taker) as (begin, there, source),
        psycopg.connect(database, autocommit=True) as ledger,
    ):
        writer = Stubborn(server.url_of("shop"))
        writer.start()
        try:
            run = begin("cross")
            assert soon(lambda: _there(ledger, reached), seconds=180), run.log
            assert source.client.primary is not None
            processes[source.client.primary[1]].kill()
            outcome = run.wait(300)
        finally:
            writer.ended.set()
            writer.join(60)
        assert outcome.state == "complete", str(outcome)
        assert writer.writes > 100
        source.people.update_one({"_id": "k1"}, {"$set": {"note": "late"}}, upsert=True)
        settled(there, source, begin)


@TAKERS
def test_an_oplog_that_has_rolled_over(taker: str, database: str, copying: Copying) -> None:
    """While no run was there: a clear stop, nothing wrong, and a way on."""
    with (
        # Nothing goes that a restart would need, which is what came after the last checkpoint: one comes each second.
        replica_set(1, "--syncdelay", "1") as (server, _),
        copying(server.url_of("shop"), taker) as (begin, there, source),
        psycopg.connect(database, autocommit=True) as ledger,
    ):
        run = begin("cross")
        assert soon(lambda: _there(ledger, "select 1 from changeover.steps where key like 'dual%' and state = 'done'")
                    or run.ended, seconds=180), run.log  # fmt: skip
        assert run.kill(), run.log
        source.people.update_one({"_id": "k1"}, {"$set": {"note": "forgotten"}})
        source.client.admin.command({"replSetResizeOplog": 1, "size": 990.0})
        large = [{"v": "x" * 1_000_000} for _ in range(20)]
        oplog = source.client.local["oplog.rs"]
        # What was written above is to go.
        before = oplog.find_one({}, sort=[("$natural", -1)])
        for _ in range(120):
            source.other.insert_many([dict(one) for one in large])
            first = oplog.find_one({}, sort=[("$natural", 1)])
            if before is not None and first is not None and first["ts"] > before["ts"]:
                break
        source.other.drop()
        outcome = begin("cross").wait(240)
        assert "its oplog does not reach back so far" in outcome.said.get("what", ""), str(outcome)
        assert "Roll back, then run again" in outcome.said["hint"]
        assert begin("rollback").wait(240).state == "rolled back"
        outcome = begin("cross").wait(240)
        assert outcome.state == "complete", str(outcome)
        assert there.asked("select note from people where _id = 'k1'") == [("forgotten",)]


def _there(ledger: Any, query: str) -> bool:
    try:
        return ledger.execute(query).fetchone() is not None
    except psycopg.errors.UndefinedTable:
        return False
