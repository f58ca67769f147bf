"""Foreign keys of a table on MariaDB: on the shadow before its first row, because what a parent does fires no trigger.

gh-ost refuses such tables; pt-online-schema-change leaves another name behind (`_fk`).
"""

import threading
import time
from dataclasses import replace

import pytest

from profiles.model import Limits
from tasks.engines.mysql.session import connect
from tasks.ledger.gates import count_rejections
from tasks.model.errors import LockTimeoutError, SpecError
from tasks.model.plan import LockMode, Phase
from tasks.model.step_costs import locks_of
from tests.conformance.maria import BEFORE_SWAP, Shadow
from tests.servers.mariadb import connected, run

SHOP = (
    "create table `p'` (id int primary key, region int not null, unique (region, id))",
    "insert into `p'` select seq, seq % 3 from seq_1_to_40",
    """create table orders (
        id int primary key auto_increment, customer int null, region int null, other int null, note varchar(20),
        key (region, customer),
        foreign key (other) references `p'` (id) on delete set null on update cascade,
        constraint `my ``own` foreign key (region, customer) references `p'` (region, id)
            on delete cascade on update cascade
    )""",
    "insert into orders (customer, region, other, note)"
    " select seq, seq % 3, if(seq % 4, seq + 1, null), concat('n', seq) from seq_1_to_39",
)
WIDEN = {"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}
LONGER = {"alter_column": {"table": "orders", "column": "note", "type": "varchar(99)"}}


@pytest.fixture
def shop(maria_database: str) -> str:
    run(maria_database, *SHOP)
    return maria_database


def test_what_parents_do_is_done_to_both_tables(shop: str) -> None:
    """Rows that go, or change, with their parent: before they are copied, after it, and on either side of the swap."""
    before = run(shop, "show create table orders")[0][1]
    shadow = Shadow(shop, [WIDEN, LONGER, {"rename_column": {"table": "orders", "from": "other", "to": "referrer"}}])
    plan = shadow.begin()
    swap = next(step for step in plan.steps if step.key == "swap/all")
    assert [lock.mode for lock in locks_of(swap)] == [LockMode.ACCESS_EXCLUSIVE, LockMode.SHARE]
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE)
    parents = (
        "update `p'` set id = {0} where id = {1}0", "delete from `p'` where id = {1}1",
        "delete from orders where other = {1}5", "insert into orders (customer, region, {2}) values (2, 2, 3)",
    )  # fmt: skip
    run(shop, *(one.format(101, 1, "other") for one in parents[:2]))
    shadow.forward(Phase.BACKFILL, Phase.INDEX)
    run(shop, *(one.format(102, 2, "other") for one in parents))
    shadow.forward(Phase.RECONCILE)
    assert shadow.violations("before_swap") == 0
    shadow.forward(Phase.SWAP)
    now = run(shop, "show create table orders")[0][1]
    assert "CONSTRAINT `orders_ibfk_1` FOREIGN KEY (`referrer`)" in now
    run(shop, *(one.replace("where other", "where referrer").format(103, 3, "referrer") for one in parents))
    assert shadow.violations("after_swap") == 0
    rows = run(shop, "select * from orders order by id")
    assert len(rows) == 39 - 3 - 1 + 2
    shadow.back()
    assert run(shop, "select * from orders order by id") == rows
    assert run(shop, "show create table orders")[0][1].split("AUTO")[0] == before.split("AUTO")[0]
    with connect(shop) as conn:
        assert count_rejections(conn, "m") == 0


def test_after_the_contract_they_are_called_as_before(shop: str) -> None:
    """What is not numbered by the server cannot have the same name twice, so it gets it when the old table is gone."""
    before = run(shop, "show create table orders")[0][1]
    shadow = Shadow(shop, [WIDEN])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP, Phase.SWAP)
    shadow.forward(Phase.CONTRACT)
    run(shop, "update `p'` set id = 200 where id = 12")
    after = run(shop, "show create table orders")[0][1]
    assert after.replace("`id` bigint(20)", "`id` int(11)") == before
    assert run(shop, "select count(*) from orders where other = 200") == [(1,)]
    with pytest.raises(Exception, match="foreign key constraint fails"):
        run(shop, "insert into orders (customer, region) values (9, 9)")


def test_whoever_has_written_to_a_parent_delays_the_swap_and_nobody_waits(shop: str) -> None:
    shadow = Shadow(shop, [WIDEN], limits=Limits(lock_patience=0.5))
    expand = shadow.begin().phase(Phase.EXPAND)
    with connected(shop, autocommit=False) as writing, writing.cursor() as cursor:
        # At the default level it would be waited for as a snapshot.
        cursor.execute("set session transaction isolation level read committed")
        cursor.execute("update `p'` set id = 200 where id = 40")
        # Neither to add them to the new table nor to take them from it.
        shadow.forward(Phase.EXPAND)
        for step in reversed(expand):
            shadow.revert(step)
        with pytest.raises(LockTimeoutError):
            shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE)
        writing.rollback()
        shadow.forward(*BEFORE_SWAP)
        cursor.execute("update `p'` set id = 200 where id = 40")
        with pytest.raises(LockTimeoutError):
            shadow.forward(Phase.SWAP)
        shadow.engine = replace(shadow.engine, limits=Limits(lock_patience=20.0))
        swap = threading.Thread(target=shadow.forward, args=(Phase.SWAP,))
        swap.start()
        time.sleep(0.2)
        began = time.monotonic()
        run(shop, "update `p'` set id = 201 where id = 20")
        assert time.monotonic() - began < 1.5
        writing.commit()
        swap.join()
    assert shadow.violations("after_swap") == 0


def test_whoever_changes_a_child_does_not_lock_its_parent_for_us(shop: str) -> None:
    """Two that delete a child that is not copied yet, and go on to its parent, would be each other's deadlock."""
    shadow = Shadow(shop, [WIDEN])
    shadow.begin()
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE)
    run(shop, "update orders set customer = 4, region = 1 where id in (7, 10)")
    with (
        connected(shop, autocommit=False) as one,
        connected(shop, autocommit=False) as two,
        one.cursor() as first,
        two.cursor() as second,
    ):
        first.execute("delete from orders where id = 7")
        second.execute("update orders set note = 'n' where id = 10")
        second.execute("set statement innodb_lock_wait_timeout = 1 for update `p'` set id = 300 where id = 40")
        first.execute("set statement innodb_lock_wait_timeout = 1 for delete from `p'` where id = 13")
        two.commit()
        first.execute("update `p'` set region = 5 where id = 4")
        one.commit()
    shadow.forward(Phase.BACKFILL, Phase.INDEX, Phase.RECONCILE)
    assert shadow.violations("before_swap") == 0


def test_a_row_without_its_parent_is_found_before_the_run(shop: str) -> None:
    """Somebody has once loaded rows with foreign_key_checks = 0."""
    shadow = Shadow(shop, [WIDEN], limits=Limits(room=1))
    plan = shadow.begin()
    assert [finding.rule for finding in shadow.engine.preflight(plan) if finding.severity == "error"] == ["SHD-10"]
    assert shadow.engine.examine(plan, values_in_reports=False).passed
    run(shop, "set foreign_key_checks = 0", "insert into orders (id, other) values (900, 999), (901, null)")
    found = shadow.engine.examine(plan, values_in_reports=True)
    assert [(check.unexpected, check.examples) for check in found.checks if not check.passed] == [(1, ("900",))]


@pytest.mark.parametrize(
    ("operations", "reason"),
    [
        ([{"alter_column": {"table": "orders", "column": "other", "type": "bigint"}}], "not be the same column"),
        ([{"drop_column": {"table": "orders", "column": "other"}}], "part of the index"),
        ([{"rebuild_table": {"table": "orders", "options": "drop index other"}}], "no index is left"),
        ([{"alter_column": {"table": "orders", "column": "note", "up": "concat(note, other)", "down": "note"}}],
         "without a trigger"),
        ([{"rebuild_table": {"table": "orders", "options": "add column d int as (other + 1) stored"}}],
         "without a trigger"),
    ],
)  # fmt: skip
def test_what_would_not_be_the_same_key_is_refused(
    shop: str, operations: list[dict[str, dict[str, str]]], reason: str
) -> None:
    tables = run(shop, "show tables")
    with pytest.raises(SpecError, match=reason) as refused:
        Shadow(shop, operations).begin()
    assert refused.value.hint
    assert run(shop, "show tables") == tables
