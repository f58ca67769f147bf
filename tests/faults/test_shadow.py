"""A shadow table under `kill -9`, a lost connection and a reader that does not end, with the application alive."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tasks.ledger.install import install
from tasks.model.errors import LockTimeoutError
from tasks.model.plan import Phase
from tests.conformance.drive import BEFORE_SWAP, Migration
from tests.conformance.tables import leftovers
from tests.faults.shop import MIGRATION, RESUMABLE, Shop, assert_untroubled
from tests.servers.postgres import PostgresServer, fresh_database

EVERY = bool(os.environ.get("CHANGEOVER_EVERY_LEG"))
PHASES = ["expand", "dual_write", "backfill", "index", "reconcile", "swap"] if EVERY else ["backfill", "swap"]
READS = 30.0 if EVERY else 3.0
"""Seconds that the reader takes."""
WIDEN = [{"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}]

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("phase", PHASES)
def test_killed_in_a_phase(phase: str, shops: Callable[[], Shop]) -> None:
    """Run again, done; and the way back, killed too, the same."""
    shop = shops()
    spec = Path(shop.folder) / "shadow.json"
    spec.write_text(json.dumps({"migration": MIGRATION, "strategy": "shadow_table", "operations": WIDEN}))
    with shop.application() as application:
        run = shop.runs.start("shadow", spec, shop.profile, shop.url)
        shop.await_phase(run, phase)
        run.kill()
        for _ in range(5):
            outcome = shop.runs.start("shadow", spec, shop.profile, shop.url).wait()
            if outcome.exit_code == 0:
                break
            assert outcome.said.get("type") in RESUMABLE, str(outcome)
        assert outcome.state == "complete", str(outcome)
        back = shop.start("rollback")
        time.sleep(1.0)
        if back.kill():
            shop.complete("rollback")
    shop.assert_rolled_back()
    assert_untroubled(application.report)


@pytest.fixture
def small(postgres: PostgresServer) -> Iterator[str]:
    """URL of a database with a ledger and a small table."""
    with fresh_database(postgres) as url:
        with psycopg.connect(url, autocommit=True) as conn:
            install(conn, actor="test")
            conn.execute("create table orders (id int primary key, a text)")
            conn.execute("insert into orders select i, 'x' from generate_series(1, 500) i")
        yield url


def test_a_reader_at_the_swap_stalls_nobody_beyond_the_budget(small: str) -> None:
    """The swap waits for it, and says for whom; the application does not."""
    migration = Migration(small, WIDEN, strategy="shadow_table", lock_patience=READS - 1.0)
    migration.begin()
    migration.run(*BEFORE_SWAP)
    slowest, over = 0.0, threading.Event()

    def apply() -> None:
        nonlocal slowest
        with psycopg.connect(small, autocommit=True, prepare_threshold=None) as conn:
            while not over.is_set():
                began = time.monotonic()
                conn.execute("update orders set a = 'y' where id = 7")
                slowest = max(slowest, time.monotonic() - began)

    writer = threading.Thread(target=apply, daemon=True)
    with psycopg.connect(small) as reader:
        reader.execute("select count(*) from orders")
        writer.start()
        with pytest.raises(LockTimeoutError, match="blocked by pid"):
            migration.run(Phase.SWAP)
        time.sleep(0.2)
        reader.rollback()
    migration.swap()
    over.set()
    writer.join(10)
    # The budget is 300 ms; a transaction more, and what a busy machine adds.
    assert slowest < 1.0
    migration.roll_back()


def test_a_connection_lost_in_the_swap_leaves_nothing_half_done(small: str) -> None:
    """The whole transaction is tried again, on a new session."""
    migration = Migration(small, WIDEN, strategy="shadow_table")
    migration.begin()
    migration.before_swap()
    with psycopg.connect(small, autocommit=True) as conn:
        cuts = migration.swap_with_a_cut(conn)
        assert cuts == 1
        migration.swap()
        assert conn.execute("select pg_typeof(id)::text, count(*) from orders group by 1").fetchone() == ("bigint", 500)
        migration.contract()
        assert leftovers(conn) == []
