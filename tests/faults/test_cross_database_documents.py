"""A copy from MongoDB into PostgreSQL under `kill -9`, at random: run again, done."""

import os
import random
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pymongo import MongoClient

from tests.faults.runs import Run, Runs
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
  to: {database: main, table: people}
  columns:
    born: {type: timestamptz, unfit: reject}
"""


@pytest.mark.every_leg
@pytest.mark.timeout(900)
def test_killed_at_random(runs: Runs, database: str, documents: str, tmp_path: Path) -> None:
    """No document is lost, doubled or stale, and those that are rejected are counted once."""
    profile = write_profile(tmp_path, on_failure="keep", ledger_of="shop", main="CHANGEOVER_URL", shop="SOURCE_URL")
    spec = tmp_path / "people.yaml"
    spec.write_text(SPEC)

    def begin() -> Run:
        return runs.start("cross", spec, profile, database, SOURCE_URL=documents)

    dice, killed = random.Random(SEED), 0
    with MongoClient(documents) as client, psycopg.connect(database, autocommit=True) as target:
        source = client.get_default_database()
        moment = {"$toDate": {"$literal": 978_480_000_000}}
        source.people.insert_many({"_id": n, "name": f"p{n}", "born": n} for n in range(1, ROWS + 1))
        source.people.update_many({"_id": {"$mod": [1000, 1]}}, [{"$set": {"born": "never"}}])
        source.people.update_many({"born": {"$type": "number"}}, [{"$set": {"born": moment}}])
        for _ in range(KILLS):
            run = begin()
            if not killed:
                assert soon(lambda: _is_there(target, "_changeover_transfer"), seconds=60), run.log
            time.sleep(dice.uniform(0.0, 3.0))
            killed += run.kill()
            if _is_there(target, "public"):
                break
        assert killed
        outcome = begin().wait()
        assert outcome.state == "complete", str(outcome)
        kept = target.execute("select _id, name, born at time zone 'UTC' from people order by _id").fetchall()
        assert [(row[0], row[1], str(row[2])) for row in kept] == [
            (n, f"p{n}", "2001-01-03 00:00:00") for n in range(1, ROWS + 1) if n % 1000 != 1
        ]
        schema = target.execute("select nspname from pg_namespace where nspname ~ '^_changeover_transfer'").fetchone()
        assert schema is not None
        sums = f'select sum(read), sum(written), sum(rejected) from "{schema[0]}"._changeover_account'
        assert target.execute(sums.encode()).fetchone() == (ROWS, ROWS - ROWS // 1000, ROWS // 1000)


def _is_there(target: psycopg.Connection[Any], schema: str) -> bool:
    found = (
        "select 1 from pg_class c join pg_namespace n on n.oid = relnamespace where relname = 'people' and nspname ~ %s"
    )
    return target.execute(found, (f"^{schema}",)).fetchone() is not None
