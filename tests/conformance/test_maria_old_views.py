"""The swap on MariaDB beside transactions whose snapshot is older than the copy: they never see a part of the table."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pymysql
import pytest

from profiles.model import Limits
from tasks.model.errors import LockTimeoutError
from tasks.model.steps import Phase
from tests.conformance.maria import BEFORE_SWAP, Shadow
from tests.conformance.test_maria_shadow import WIDEN
from tests.servers.mariadb import connected, run

COUNT = "select count(*) from orders"


@pytest.fixture
def orders(maria_database: str) -> str:
    run(
        maria_database,
        "create table orders (id int primary key)",
        "create table other (id int primary key)",
        "insert into orders select seq from seq_1_to_30",
    )
    return maria_database


class Reader:
    """An application that has begun, and has not come to the table yet."""

    def __init__(self, conn: "pymysql.Connection[pymysql.cursors.Cursor]", isolation: str) -> None:
        self.conn, self.id = conn, conn.thread_id()
        with conn.cursor() as cursor:
            cursor.execute(f"set session transaction isolation level {isolation}")
            cursor.execute("start transaction with consistent snapshot")
            cursor.execute("select count(*) from other")

    def count(self) -> int:
        """Read the table."""
        with self.conn.cursor() as cursor:
            cursor.execute(COUNT)
            return int(cursor.fetchall()[0][0])


@contextmanager
def reading(url: str, isolation: str = "repeatable read") -> Iterator[Reader]:
    """Have one for as long as the context lasts."""
    with connected(url, autocommit=False) as conn:
        yield Reader(conn, isolation)


def is_swapped(url: str) -> bool:
    """Tell which table applications use."""
    return "bigint" in run(url, "show create table orders")[0][1]


def test_the_swap_waits_for_a_snapshot_that_is_older_than_the_copy_and_for_no_other(orders: str) -> None:
    shadow = Shadow(orders, [WIDEN])
    shadow.begin()
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE)
    swap = threading.Thread(target=lambda: shadow.forward(Phase.SWAP))
    with reading(orders) as old, reading(orders, "read committed") as current:
        shadow.forward(Phase.BACKFILL, Phase.INDEX)
        swap.start()
        time.sleep(1.0)
        assert not is_swapped(orders)
        with reading(orders) as young:
            assert old.count() == 30
            old.conn.rollback()
            swap.join(30)
            assert is_swapped(orders)
            assert young.count() == 30
        assert current.count() == 30


def test_who_does_not_end_is_named_and_the_old_table_stays(orders: str) -> None:
    """Nobody is in the way once all is so long over that he is not older, not even by a clock put back.

    What the comparison carries over counts as the copy does: whoever began in between sees neither.
    """
    shadow = Shadow(orders, [WIDEN], limits=Limits(batch_rows=7, snapshot_age=0.5))
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    with reading(orders) as old:
        with pytest.raises(LockTimeoutError, match=rf"connection {old.id} \(root, Sleep, \d+\.\d s\)"):
            shadow.forward(Phase.SWAP)
        assert not is_swapped(orders)
        earlier = "update changeover_steps set finished_at = finished_at - interval 2 hour where `key` like '%/{}'"
        run(orders, earlier.format("copy"))
        with pytest.raises(LockTimeoutError, match=rf"only a part of the new table: connection {old.id} "):
            shadow.forward(Phase.SWAP)
        run(orders, earlier.format("rows"))
        shadow.forward(Phase.SWAP)
        assert is_swapped(orders)
        shadow.back()


def test_a_user_who_does_not_see_transactions_is_told_so(orders: str) -> None:
    run(orders, "create user blind@'%' identified by 'p'", "grant all on *.* to blind@'%'",
        "revoke process on *.* from blind@'%'")  # fmt: skip
    try:
        limits = Limits(batch_rows=7, lock_patience=0.5)
        shadow = Shadow(orders.replace("root@", "blind:p@"), [WIDEN], limits=limits)
        plan = shadow.begin()
        assert "MYS-06" in [finding.rule for finding in shadow.engine.preflight(plan)]
        assert "MYS-06" not in [finding.rule for finding in Shadow(orders, [WIDEN]).engine.preflight(plan)]
        shadow.forward(*BEFORE_SWAP)
        with reading(orders) as old:
            old.count()
            with pytest.raises(LockTimeoutError, match="lacks PROCESS"):
                shadow.forward(Phase.SWAP)
            old.conn.rollback()
        with reading(orders):
            shadow.forward(Phase.SWAP)
    finally:
        run(orders, "drop user blind@'%'")
