"""A copy from MongoDB into PostgreSQL or MariaDB under `kill -9`, at random: run again, done."""

import os
import random
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from pymongo import MongoClient

from tests.acceptance.streamed import InMaria, InPostgres, There
from tests.faults.runs import Run, Runs
from tests.servers import mariadb
from tests.servers.remains import soon
from tests.two_databases import write_profile

KILLS = int(os.environ.get("CHANGEOVER_FAULT_RUNS", "8"))
SEED = int(os.environ.get("CHANGEOVER_FAULT_SEED", "21"))
ROWS = 30_000
SPEC = """
migration: people
database: shop
strategy: cross_database
transfer:
  collection: people
  to: {{database: {into}, table: people}}
  columns:
    born: {{type: {type}, unfit: reject}}
"""


@pytest.mark.every_leg
@pytest.mark.timeout(900)
@pytest.mark.parametrize("taker", ["postgresql", "mariadb"])
def test_killed_at_random(
    taker: str, runs: Runs, database: str, documents: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """No document is lost, doubled or stale, and those that are rejected are counted once."""
    profile = write_profile(
        tmp_path, on_failure="keep", ledger_of="shop", main="CHANGEOVER_URL", shop="SOURCE_URL", rows="MARIA_URL"
    )
    spec, urls = tmp_path / "people.yaml", {"SOURCE_URL": documents, "MARIA_URL": database}
    spec.write_text(SPEC.format(into="main", type="timestamptz"))

    def begin() -> Run:
        return runs.start("cross", spec, profile, database, **urls)

    dice, killed = random.Random(SEED), 0
    with ExitStack() as opened:
        there: There = InPostgres(opened.enter_context(psycopg.connect(database, autocommit=True)))
        if taker == "mariadb":
            urls["MARIA_URL"] = request.getfixturevalue("maria_database")
            spec.write_text(SPEC.format(into="rows", type="datetime(3)"))
            there = InMaria(opened.enter_context(mariadb.connected(urls["MARIA_URL"])))
        source = opened.enter_context(MongoClient(documents)).get_default_database()
        moment = {"$toDate": {"$literal": 978_480_000_000}}
        source.people.insert_many({"_id": n, "name": f"p{n}", "born": n} for n in range(1, ROWS + 1))
        source.people.update_many({"_id": {"$mod": [1000, 1]}}, [{"$set": {"born": "never"}}])
        source.people.update_many({"born": {"$type": "number"}}, [{"$set": {"born": moment}}])
        for _ in range(KILLS):
            run = begin()
            if not killed:
                assert soon(lambda: bool(there.leftovers), seconds=60), run.log
            time.sleep(dice.uniform(0.0, 3.0))
            killed += run.kill()
            if there.asked("select 1 from people limit 1"):
                break
        assert killed
        outcome = begin().wait()
        assert outcome.state == "complete", str(outcome)
        born = "born at time zone 'UTC'" if taker == "postgresql" else "born"
        kept = there.asked(f"select _id, name, {born} from people order by _id")
        assert [(row[0], row[1], str(row[2])) for row in kept] == [
            (n, f"p{n}", "2001-01-03 00:00:00") for n in range(1, ROWS + 1) if n % 1000 != 1
        ]
        read = f"{there.quote}read{there.quote}"
        sums = f"select sum({read}), sum(written), sum(rejected) from {there.own('account')}"
        assert there.asked(sums) == [(ROWS, ROWS - ROWS // 1000, ROWS // 1000)]
