"""A copy of the elements of arrays beside writers, killed at random: in the end each element has its row."""

import random
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from pymongo import MongoClient

from tests.acceptance.order_lines import INTO_MARIA, SPEC, differences, fill, writing
from tests.acceptance.streamed import InMaria, InPostgres, There
from tests.faults.runs import Runs
from tests.faults.test_cross_database_documents_writers import PROFILE, TAKERS
from tests.legs import SEED, kills
from tests.servers import mariadb

pytestmark = [pytest.mark.every_leg, pytest.mark.timeout(900)]


@TAKERS
def test_killed_at_random_while_lines_are_written(
    taker: str, runs: Runs, database: str, documents: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """At any moment, again and again, then to the end: what the swap has not got is told, and nothing else differs."""
    dice = random.Random(SEED * 2027)
    profile, spec, urls = tmp_path / "two.toml", tmp_path / "lines.yaml", {"SOURCE_URL": documents}
    profile.write_text(PROFILE.format(folder=tmp_path))
    with ExitStack() as opened:
        written = SPEC.replace("database: main", "database: rows")
        there: There = InPostgres(opened.enter_context(psycopg.connect(database, autocommit=True)))
        urls["MARIA_URL"] = database
        if taker == "mariadb":
            urls["MARIA_URL"] = request.getfixturevalue("maria_database")
            written = INTO_MARIA.replace("database: rows", "database: maria")
            there = InMaria(opened.enter_context(mariadb.connected(urls["MARIA_URL"])))
        spec.write_text(written.replace("database: shop", "database: main"))
        source = opened.enter_context(MongoClient(documents, w="majority")).get_default_database()
        fill(source, 3000)
        with writing(documents, pause=0.02) as writers:
            killed = 0
            for _ in range(kills(4)):
                run = runs.start("cross", spec, profile, database, **urls)
                time.sleep(dice.uniform(0.5, 12.0 if killed else 4.0))
                killed += run.kill()
                if there.asked("select 1 from order_lines limit 1"):
                    # Whatever is written from here on comes too late.
                    break
            outcome = runs.start("cross", spec, profile, database, **urls).wait(300)
        assert killed
        assert outcome.state == "complete", str(outcome)
        assert [failure for one in writers for failure in one.failures] == []
        source.orders.update_one({"_id": "late"}, {"$set": {"lines": [{"sku": "a", "quantity": 1}]}}, upsert=True)
        refused = runs.start("contract", "order_lines", profile, database, **urls).wait(240)
        assert "nothing was written" in str(refused.said), str(refused)
        late = there.noted
        assert differences(there, source, late) == []
        assert len(late) < 700
