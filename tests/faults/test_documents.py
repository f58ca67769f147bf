"""`kill -9` of a change of documents, again and again, and on again: what was written is there, on both ways."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from tasks.ledger.verify import verify
from tests.acceptance.documents import as_new, everything, fill, writing
from tests.faults.runs import Run, Runs
from tests.legs import EVERY_LEG, SEED, kills
from tests.servers.mongodb import replica_set
from tests.servers.remains import soon

SPEC = """
migration: moved
documents:
  collection: users
  operations:
    - rename_field: {from: address.town, to: place.city}
    - create_index: {name: by_city, keys: {place.city: 1}}
"""

pytestmark = pytest.mark.timeout(900)


class Migration:
    """A migration that is started, killed and gone on with."""

    def __init__(self, runs: Runs, ledger: str, documents: str, folder: Path) -> None:
        self.runs, self.ledger, self.documents = runs, ledger, documents
        self.profile, self.spec = folder / "two.toml", folder / "moved.yaml"
        self.spec.write_text(SPEC)
        self.profile.write_text(
            f'name = "two"\nevidence = "{folder}/evidence"\non_failure = "keep"\n'
            '[databases.ledger]\nurl_env = "CHANGEOVER_URL"\n'
            '[databases.main]\nurl_env = "DOCUMENTS_URL"\nledger = "ledger"\n'
        )

    def start(self, command: str) -> Run:
        """Begin, or go on."""
        what = self.spec if command == "run" else "moved"
        return self.runs.start(command, what, self.profile, self.ledger, DOCUMENTS_URL=self.documents)

    def complete(self, command: str, state: str) -> None:
        """Go on to the end."""
        outcome = self.start(command).wait(240)
        assert outcome.state == state, str(outcome)

    def asked(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the ledger; nothing as long as there is none."""
        with psycopg.connect(self.ledger, autocommit=True) as conn:
            try:
                return conn.execute(query.encode()).fetchall()
            except psycopg.errors.UndefinedTable:
                return []

    def kill(self, command: str, at: str) -> None:
        """Begin, or go on, and kill it once a query gives something, before its end."""
        run = self.start(command)
        assert soon(lambda: run.ended or bool(self.asked(at)), seconds=180), run.log
        assert run.kill(), run.log


@pytest.fixture
def migration(runs: Runs, database: str, documents: str, tmp_path: Path) -> Migration:
    return Migration(runs, database, documents, tmp_path)


@pytest.fixture
def target(documents: str) -> Iterator[Database[Any]]:
    with MongoClient(documents) as client:
        yield client.get_default_database()


@contextmanager
def held(target: Database[Any]) -> Iterator[None]:
    """Hold a document that no writer knows: whoever changes all of them does not come to an end."""
    with target.client.start_session() as session, session.start_transaction():
        target.users.update_one({"_id": "held"}, {"$set": {"n": 0}}, session=session)
        yield
        session.abort_transaction()


STEP = "select 1 from changeover.steps where key like '{}/%' and state <> 'pending'"
PLACES = [STEP.format(phase) for phase in ("dual_write", "backfill", "index", "swap")]


def test_killed_at_every_step(migration: Migration, target: Database[Any]) -> None:
    """Before and after each step of the way there, in the way back, and in the contract; old applications write."""
    fill(target, "users", "twin")
    for name in ("users", "twin"):
        target[name].insert_one({"_id": "held", "address": {"town": "held"}})
    places = PLACES if EVERY_LEG else PLACES[1:2]
    with writing(migration.documents) as writers:
        for at in places:
            migration.kill("run", at)
        migration.complete("run", "complete")
        with held(target):
            migration.kill("rollback", "select 1 from changeover.migrations where state = 'rolling back'")
        migration.complete("rollback", "rolled back")
    assert [failed for one in writers for failed in one.failed] == []
    assert everything(target, "users") == everything(target, "twin")
    assert sorted(target.list_collection_names()) == ["twin", "users"]
    assert list(target.users.index_information()) == ["_id_"]

    with writing(migration.documents) as writers:
        migration.complete("run", "complete")
    assert [failed for one in writers for failed in one.failed] == []
    with held(target):
        migration.kill("contract", "select 1 from changeover.migrations where state = 'contracting'")
    migration.complete("contract", "contracted")
    assert everything(target, "users") == [as_new(one) for one in everything(target, "twin")]
    with psycopg.connect(migration.ledger, autocommit=True) as conn:
        assert verify(conn, None).problems == ()


@pytest.mark.every_leg
def test_killed_at_random(migration: Migration, target: Database[Any]) -> None:
    """At any moment, several times; then to the end."""
    dice = random.Random(SEED)
    fill(target, "users", "twin")
    with writing(migration.documents) as writers:
        for _ in range(kills(20)):
            run = migration.start("run")
            time.sleep(dice.uniform(0.5, 8.0))
            run.kill()
        migration.complete("run", "complete")
        migration.complete("rollback", "rolled back")
    assert [failed for one in writers for failed in one.failed] == []
    assert everything(target, "users") == everything(target, "twin")


def test_a_run_that_wakes_up_changes_nothing_any_more(migration: Migration, target: Database[Any]) -> None:
    """Stopped, taken for dead, and awake again when another has contracted: the old fields do not come back."""
    fill(target, "users")
    old = migration.start("run")
    try:
        with writing(migration.documents):
            assert soon(lambda: bool(migration.asked(STEP.format("backfill"))), seconds=180), old.log
            old.signal(signal.SIGSTOP)
            # What the hint says to whoever takes it for dead.
            guard = "application_name like 'changeover % guard'"
            assert migration.asked(f"select pg_terminate_backend(pid) from pg_stat_activity where {guard}")
            migration.complete("run", "complete")
        migration.complete("contract", "contracted")
        after = everything(target, "users")
        assert not any("town" in (one.get("address") or {}) for one in after)
        old.signal(signal.SIGCONT)
        assert soon(lambda: old.ended, seconds=120), old.log
        assert everything(target, "users") == after
    finally:
        # A process that is stopped would keep the one it was forked from.
        old.kill()


class Stubborn(threading.Thread):
    """An old application that writes each value until the server says that a majority has it."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.ended, self.said = url, threading.Event(), dict[int, int]()

    def run(self) -> None:
        with MongoClient(self.url, w="majority", serverSelectionTimeoutMS=30_000) as client:
            users, number, unknown = client.get_default_database().users, 1, False
            while unknown or not self.ended.is_set():
                try:
                    users.update_one({"_id": number % 500}, {"$set": {"address.town": number}})
                except PyMongoError:
                    # It may have been written: the same once more.
                    unknown = True
                    continue
                self.said[number % 500], number, unknown = number, number + 1, False
                self.ended.wait(0.01)


def through_an_election(
    make: Callable[[str], Migration], at: str, last: tuple[str, str], read: Callable[[Any], Any], after: float = 0
) -> None:
    """Kill the primary of three, so long after a query of the ledger gives something; nothing acknowledged is lost.

    `make` gives the migration of a database, `last` the command that follows the run and what becomes of it, and `read`
    what was written to a document then.
    """
    with replica_set(3) as (server, processes):
        url = server.url_of("shop")
        migration = make(url)
        with MongoClient(url, w="majority") as client:
            users = client.get_default_database().users
            users.insert_many([{"_id": number, "address": {"town": 0}} for number in range(500)])
            writer = Stubborn(url)
            writer.start()
            try:
                run = migration.start("run")
                assert soon(lambda: run.ended or bool(migration.asked(at)), seconds=180), run.log
                time.sleep(after)
                assert client.primary is not None
                processes[client.primary[1]].kill()
                outcome = run.wait(300)
            finally:
                writer.ended.set()
                writer.join(60)
            assert outcome.state == "complete", str(outcome)
            migration.complete(*last)
            found = {one["_id"]: read(one) for one in users.find()}
            assert found == dict.fromkeys(range(500), 0) | writer.said
            assert len(writer.said) > 100


def test_the_primary_is_killed(runs: Runs, database: str, tmp_path: Path) -> None:
    """Another member is elected, the run goes on, and every write that was acknowledged is there."""
    through_an_election(
        lambda url: Migration(runs, database, url, tmp_path),
        STEP.format("dual_write"),
        ("contract", "contracted"),
        lambda one: one["place"]["city"],
    )
