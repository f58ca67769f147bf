"""`kill -9` of a collection that is made anew, there and back: whatever was acknowledged is there, once."""

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from tests.acceptance.documents import everything, fill, writing
from tests.faults.runs import Run, Runs
from tests.faults.test_documents import Migration, through_an_election
from tests.legs import SEED, kills
from tests.servers.remains import soon

SPEC = """
migration: moved
strategy: shadow_table
documents:
  collection: users
  operations:
    - rebuild_collection:
        compressor: zstd
        up: [{$set: {shape: 2}}]
        down: [{$unset: shape}]
    - create_index: {name: by_n, keys: {n: 1}}
"""
STEP = "select 1 from changeover.steps where key like '{}%' and state <> 'pending'"
SWAPPING = "select 1 from changeover.steps where key = 'swap/all' and state = 'running'"
BACK = "select 1 from changeover.migrations where state = 'rolling back'"

pytestmark = [pytest.mark.timeout(900), pytest.mark.every_leg]


class Rebuild(Migration):
    """The same for a collection that is made anew."""

    def __init__(self, runs: Runs, ledger: str, documents: str, folder: Path) -> None:
        super().__init__(runs, ledger, documents, folder)
        self.spec.write_text(SPEC)

    def start(self, command: str) -> Run:
        """Begin, or go on."""
        what, flow = (self.spec, "shadow") if command == "run" else ("moved", command)
        return self.runs.start(flow, what, self.profile, self.ledger, DOCUMENTS_URL=self.documents)


@pytest.fixture
def migration(runs: Runs, database: str, documents: str, tmp_path: Path) -> Rebuild:
    return Rebuild(runs, database, documents, tmp_path)


@pytest.fixture
def target(documents: str) -> Iterator[Database[Any]]:
    with MongoClient(documents) as client:
        yield client.get_default_database()


def as_old(target: Database[Any]) -> list[Any]:
    """Leave out what an application had read before a swap, and has written back after it."""
    return [{key: value for key, value in one.items() if key != "shape"} for one in everything(target, "users")]


def roll_back(migration: Rebuild, target: Database[Any]) -> None:
    """Complete it; what was written back after the swap would not come back as it is, and the next run refuses it."""
    migration.complete("rollback", "rolled back")
    target.users.update_many({}, {"$unset": {"shape": 1}})


def test_killed_at_every_step(migration: Rebuild, target: Database[Any]) -> None:
    fill(target, "users", "twin")
    with writing(migration.documents) as writers:
        for at in [*(STEP.format(one) for one in ("expand", "dual_write", "backfill", "index")), SWAPPING]:
            migration.kill("run", at)
        migration.complete("run", "complete")
        migration.kill("rollback", BACK)
        roll_back(migration, target)
    assert [failed for one in writers for failed in one.failed] == []
    assert as_old(target) == everything(target, "twin")
    assert sorted(target.list_collection_names()) == ["twin", "users"]
    assert list(target.users.index_information()) == ["_id_"]
    with writing(migration.documents) as writers:
        migration.complete("run", "complete")
        migration.kill("contract", "select 1 from changeover.migrations where state = 'contracting'")
        migration.complete("contract", "contracted")
    assert [failed for one in writers for failed in one.failed] == []
    assert as_old(target) == everything(target, "twin")
    assert sorted(target.list_collection_names()) == ["twin", "users"]


def test_killed_at_random(migration: Rebuild, target: Database[Any]) -> None:
    """At any moment, several times, most of them about the swap; there and back."""
    dice = random.Random(SEED)
    fill(target, "users", "twin")
    with writing(migration.documents) as writers:
        for number in range(kills(12)):
            run = migration.start("run")
            if number % 3:
                soon(lambda run=run: run.ended or bool(migration.asked(SWAPPING)), seconds=60)
                time.sleep(dice.uniform(0, 0.6))
            else:
                time.sleep(dice.uniform(0.5, 6.0))
            run.kill()
            if migration.asked("select 1 from changeover.migrations where state = 'complete'"):
                back = migration.start("rollback")
                soon(lambda run=back: run.ended or bool(migration.asked(BACK)), seconds=60)
                time.sleep(dice.uniform(0, 0.6))
                back.kill()
                roll_back(migration, target)
        migration.complete("run", "complete")
        roll_back(migration, target)
    assert [failed for one in writers for failed in one.failed] == []
    assert as_old(target) == everything(target, "twin")
    assert sorted(target.list_collection_names()) == ["twin", "users"]


def test_a_run_that_wakes_up_changes_nothing_any_more(migration: Rebuild, target: Database[Any]) -> None:
    """Stopped about the swap, taken for dead, and awake again while another is on its way, or when that is done."""
    fill(target, "users", "twin")
    dice = random.Random(SEED)
    for number in range(kills(4)):
        old = migration.start("run")
        try:
            with writing(migration.documents) as writers:
                soon(lambda run=old: run.ended or bool(migration.asked(SWAPPING)), seconds=180)
                time.sleep(dice.uniform(0, 0.25))
                old.signal(signal.SIGSTOP)
                guard = "application_name like 'changeover % guard'"
                migration.asked(f"select pg_terminate_backend(pid) from pg_stat_activity where {guard}")
                if number % 2:
                    migration.complete("run", "complete")
                    old.signal(signal.SIGCONT)
                else:
                    other = migration.start("run")
                    time.sleep(dice.uniform(8, 14))
                    old.signal(signal.SIGCONT)
                    outcome = other.wait(240)
                    assert outcome.state == "complete", str(outcome)
                soon(lambda run=old: run.ended, seconds=120)
            assert as_old(target) == everything(target, "twin")
            roll_back(migration, target)
        finally:
            # A process that is stopped would keep the one it was forked from.
            old.kill()
        assert [failed for one in writers for failed in one.failed] == []
        assert as_old(target) == everything(target, "twin")
        assert sorted(target.list_collection_names()) == ["twin", "users"]


def test_the_primary_is_killed(runs: Runs, database: str, tmp_path: Path) -> None:
    """In the moment of the swap: another member is elected, the run goes on, and what was acknowledged is there."""
    through_an_election(
        lambda url: Rebuild(runs, database, url, tmp_path),
        SWAPPING,
        ("rollback", "rolled back"),
        lambda one: one["address"]["town"],
        after=0.1,
    )
