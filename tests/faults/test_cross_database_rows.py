"""A copy from MariaDB into PostgreSQL under `kill -9`: at random, and between the swap and its entry."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.faults.runs import Run, Runs
from tests.legs import EVERY_LEG
from tests.servers.mariadb import connected
from tests.servers.remains import soon

KILLS = int(os.environ.get("CHANGEOVER_FAULT_RUNS", "8" if EVERY_LEG else "2"))
SEED = int(os.environ.get("CHANGEOVER_FAULT_SEED", "20"))
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
    profile, spec = tmp_path / "two.toml", tmp_path / "people.yaml"
    profile.write_text(
        f'name = "two"\non_failure = "keep"\nevidence = "{tmp_path}/evidence"\n[runner]\nshards = 2\n'
        '[databases.main]\nurl_env = "CHANGEOVER_URL"\n[databases.shop]\nurl_env = "SOURCE_URL"\n'
    )
    spec.write_text(SPEC)
    return lambda: runs.start("cross", spec, profile, database, SOURCE_URL=maria_database)


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
            time.sleep(dice.uniform(0.0, 3.0))
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
