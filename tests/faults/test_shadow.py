"""A shadow table under `kill -9`, a lost connection and a reader that does not end, with the application alive."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tasks.ledger.install import install
from tasks.model.errors import LockTimeoutError
from tasks.model.steps import Phase
from tests.conformance.crowd import Crowd, Member
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.tables import leftovers
from tests.faults.shop import MIGRATION, RESUMABLE, Shop, assert_untroubled
from tests.legs import EVERY_LEG
from tests.servers.postgres import PostgresServer, fresh_database

PHASES = ["expand", "dual_write", "backfill", "index", "reconcile", "swap"]
READS = 3.0
"""Seconds that the reader takes."""
WIDEN = [{"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}]
PARTS = {"strategy": "hash", "columns": ["id"], "partitions": [{"name": f"orders_{n}"} for n in range(3)]}
CHANGES: dict[str, list[dict[str, object]]] = {
    "widened": WIDEN,
    "divided": [{"rebuild_table": {"table": "orders", "partition_by": PARTS}}],
}
KILLS = (
    # Of a partitioned shadow all indexes are there from the beginning.
    [(change, phase) for change in CHANGES for phase in PHASES if (change, phase) != ("divided", "index")]
    if EVERY_LEG
    else [("widened", "backfill"), ("divided", "swap")]
)

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize(("change", "phase"), KILLS)
def test_killed_in_a_phase(change: str, phase: str, shops: Callable[[], Shop]) -> None:
    """Run again, done; and the way back, killed too, the same."""
    shop = shops()
    spec = Path(shop.folder) / "shadow.json"
    spec.write_text(json.dumps({"migration": MIGRATION, "strategy": "shadow_table", "operations": CHANGES[change]}))
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
        # It may have said its last word to the database, and not to us.
        if back.kill() and shop.state() != "rolled back":
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


class Timed(Member):
    """Writes one row, and knows how long the slowest write took."""

    slowest = 0.0

    def thinks(self, took: float) -> float:
        """Not at all: no wait is missed."""
        return 0.0

    def transaction(self, conn: Connection) -> None:
        """Write."""
        began = time.monotonic()
        # It prepares nothing: the table is another one after the swap.
        conn.execute("update orders set a = 'y' where id = 7", prepare=False)
        self.slowest = max(self.slowest, time.monotonic() - began)


def test_a_reader_at_the_swap_stalls_nobody_beyond_the_budget(small: str) -> None:
    """The swap waits for it, and says for whom; the application does not."""
    migration = Migration(small, WIDEN, strategy="shadow_table", lock_patience=READS - 1.0)
    migration.begin()
    migration.run(*BEFORE_SWAP)
    writer = Timed(small, "writer", "1")
    with Crowd([writer]):
        with psycopg.connect(small) as reader:
            reader.execute("select count(*) from orders")
            with pytest.raises(LockTimeoutError, match="blocked by pid"):
                migration.run(Phase.SWAP)
            reader.rollback()
        migration.swap()
    # The budget is 300 ms; a transaction more, and what a busy machine adds. The reader held the table for READS.
    assert writer.slowest < READS / 2
    assert writer.committed > 3
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
