# ruff: noqa: E501 - one case a line reads better than one folded
"""What MariaDB does at once, in the table itself: over, back, and over again to the contract; and what is no such thing."""

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pymysql
import pytest

from profiles.model import Limits
from tasks.model.errors import ChangeoverError, DriftError, LockTimeoutError, PreflightError, SpecError
from tasks.model.steps import Phase
from tests.conformance.maria import BEFORE_SWAP, Shadow
from tests.legs import EVERY_LEG
from tests.servers.mariadb import connected, run

ORDERS = """
    create table orders (
        id int not null auto_increment primary key,
        customer varchar(40) collate utf8mb4_bin not null default 'no''body' comment 'who, `customer`',
        `odd ``name` decimal(10,2) null check (`odd ``name` is null or `odd ``name` > -1000),
        status varchar(20) not null default 'new',
        note text null,
        at timestamp(3) not null default current_timestamp(3) on update current_timestamp(3),
        doubled decimal(12,2) as (`odd ``name` * 2) stored,
        key by_customer (customer), key by_at (at)
    ) engine=InnoDB character set utf8mb4
"""
TOTAL = {"add_column": {"table": "orders", "column": {"name": "total", "type": "bigint", "default": "7"}}}
BUYER = {"rename_column": {"table": "orders", "from": "customer", "to": "buyer`s"}}
DEFAULT = {"alter_column": {"table": "orders", "column": "status", "default": "'seen'", "comment": "it's `so`"}}
NOTE = {"drop_column": {"table": "orders", "column": "note"}}
BY_AT = {"drop_index": {"name": "by_at"}}
CASE = {"rename_column": {"table": "orders", "from": "status", "to": "Status"}}


@pytest.fixture
def orders(maria_database: str) -> str:
    run(maria_database, ORDERS, "insert into orders (`odd ``name`, note) select seq, 'n' from seq_1_to_20")
    return maria_database


def in_place(url: str, *operations: Mapping[str, Any], name: str = "m", limits: Limits | None = None) -> Shadow:
    return Shadow(url, operations, name=name, strategy="expand_contract", limits=limits)


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([TOTAL, BUYER, DEFAULT, NOTE, BY_AT], ["`total`", "`buyer``s`", "'seen'", "it''s `so`"]),
        ([CASE], ["`Status`"]),
        ([NOTE], []),
    ],
)
def test_over_back_and_over_again(operations: Sequence[Mapping[str, Any]], expected: list[str], orders: str) -> None:
    before = run(orders, "show create table orders")[0][1]
    rows = run(orders, "select id, `odd ``name`, at, doubled from orders order by id")
    change = in_place(orders, *operations)
    plan = change.begin()
    assert run(orders, "show create table orders")[0][1] == before
    assert [step.phase for step in plan.steps][:1] == [Phase.SWAP]
    change.forward(Phase.SWAP)
    after = run(orders, "show create table orders")[0][1]
    assert [word for word in expected if word not in after] == []
    assert "`note` text" in after
    assert "KEY `by_at`" in after
    assert run(orders, "select id, `odd ``name`, at, doubled from orders order by id") == rows
    run(orders, "insert into orders (`odd ``name`) values (99)")
    assert change.violations("after_swap") == 0
    change.back()
    assert run(orders, "show create table orders")[0][1] == before.replace("AUTO_INCREMENT=32", "AUTO_INCREMENT=33")
    assert run(orders, "select count(*) from orders where `odd ``name` = 99") == [(1,)]
    again = in_place(orders, *operations, name="again")
    again.begin()
    again.forward(Phase.SWAP)
    again.forward(Phase.CONTRACT)
    done = run(orders, "show create table orders")[0][1]
    assert ("`note`" in done, "`by_at`" in done) == (NOTE not in operations, BY_AT not in operations)
    assert run(orders, "select count(*) from orders") == [(21,)]
    assert run(orders, "show tables like '%\\_changeover\\_%'") == []
    again.forward(Phase.CONTRACT)


def test_it_never_queues_and_who_blocks_is_told(orders: str) -> None:
    """A transaction has read the table: whoever comes meanwhile does not wait, and the change waits for its end."""
    change = in_place(orders, TOTAL, limits=Limits(lock_patience=3.0))
    change.begin()
    assert change.violations("before_swap") == 0
    with connected(orders, autocommit=False) as other, other.cursor() as cursor:
        cursor.execute("select count(*) from orders")
        slowest, stop = [0.0], threading.Event()

        def write() -> None:
            with connected(orders) as conn, conn.cursor() as mine:
                while not stop.is_set():
                    started = time.monotonic()
                    mine.execute("update orders set note = 'w' where id = 1")
                    slowest[0] = max(slowest[0], time.monotonic() - started)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            with pytest.raises(LockTimeoutError, match=r"no lock on .*orders within 3 s"):
                change.forward(Phase.SWAP)
        finally:
            stop.set()
            writer.join()
        # The budget, and what a busy machine adds; the reader held the table for 3 s.
        assert slowest[0] < 1.5
        assert run(orders, "show columns from orders like 'total'") == []
    change.forward(Phase.SWAP)
    assert run(orders, "show columns from orders like 'total'") != []


def test_what_somebody_changed_meanwhile_is_not_run_over(orders: str) -> None:
    change = in_place(orders, DEFAULT)
    change.begin()
    assert change.violations("before_swap") == 0
    run(orders, "alter table orders modify status varchar(60) not null default 'other'")
    assert change.violations("before_swap") == 1
    with pytest.raises(DriftError, match="column status"):
        change.forward(Phase.SWAP)
    assert "'other'" in run(orders, "show create table orders")[0][1]


def test_a_shape_of_somebody_else_is_not_recorded_as_undone(orders: str) -> None:
    """The column that was added has another default since: neither the new shape, nor the old one."""
    before = run(orders, "show create table orders")
    change = in_place(orders, TOTAL, BUYER)
    change.begin()
    change.forward(Phase.SWAP)
    run(orders, "alter table orders modify total bigint default 8")
    with pytest.raises(DriftError, match="column total"):
        change.back()
    assert run(orders, "show columns from orders like 'total'") != []
    run(orders, "alter table orders modify total bigint not null default 7")
    change.back()
    assert run(orders, "show create table orders") == before


def test_a_step_whose_answer_was_lost_is_found_done(orders: str) -> None:
    """The statement was carried out, and nobody heard of it: another run asks the catalogue, and does nothing twice."""
    change = in_place(orders, TOTAL, BUYER)
    plan = change.begin()
    assert change.violations("before_swap") == 0
    step = plan.steps[0]
    run(orders, *step.action.forward)  # type: ignore[union-attr]
    assert change.engine.happened(step, recorded=False)
    change.forward(Phase.SWAP)
    change.back()


VIEW = "create view v as select id, customer from orders"
TRIGGER = "create trigger g before insert on orders for each row set new.note = concat(new.customer, '!')"
OTHER = "create table o (customer varchar(40) collate utf8mb4_bin, foreign key o_fk (customer) references orders (customer))"

OWN = (
    "create table c (name varchar(40) collate utf8mb4_bin primary key); insert into c values ('no''body');"
    " alter table orders add constraint own_fk foreign key (customer) references c (name)"
)
BY_CUSTOMER = {"drop_index": {"name": "by_customer"}}


@pytest.mark.parametrize(
    ("more", "operations", "reason", "hint"),
    [
        ("", [{"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}], "Cannot change column type", "shadow_table"),
        ("", [{"alter_column": {"table": "orders", "column": "status", "type": "varchar(30)"}}], "at once.*Cannot change", "shadow_table"),
        ("", [{"create_index": {"table": "orders", "name": "i", "columns": ["status"]}}], "ADD INDEX", "shadow_table"),
        ("", [{"add_column": {**TOTAL["add_column"], "up": "id"}}], "values of total are computed", "shadow_table"),
        ("", [{"add_column": {"table": "orders", "column": {"name": "no", "type": "serial"}}}], "unique bigint unsigned", "rebuild_table"),
        ("", [{"add_column": {"table": "orders", "column": {"name": "no", "type": "int", "generated": {"expression": "1"}}}}], "no fills itself", "rebuild_table"),
        ("", [{"add_column": {"table": "orders", "column": {"name": "no", "type": "int", "nullable": True, "check": {"name": "c", "constraint": "no > 0", "no_inherit": True}}}}],
         "inherits from another", "Remove no_inherit"),
        ("", [{"drop_column": {"table": "orders", "column": "status"}}], None, None),
        ("alter table orders alter status drop default", [{"drop_column": {"table": "orders", "column": "status"}}], "could write no row", "default"),
        ("", [{"drop_column": {"table": "orders", "column": "at"}}], "part of the index 'by_at'", "Drop that index"),
        (VIEW, [BUYER], "the view v names 'customer'", "Drop it"),
        (TRIGGER, [BUYER], "the trigger g names 'customer'", "Drop it"),
        (TRIGGER, [TOTAL], None, None),
        (OTHER, [BUYER], "belongs to the foreign key o_fk", "Drop the foreign key"),
        (OTHER, [TOTAL, DEFAULT], None, None),
        (OTHER, [NOTE, BY_CUSTOMER], "no index is left for the foreign key o_fk", "another index"),
        (f"{OTHER}; alter table orders add key by_both (customer, id)", [NOTE, BY_CUSTOMER], None, None),
        (f"{OTHER}; alter table orders add key by_part (customer(9), id)", [NOTE, BY_CUSTOMER], "no index is left", "another index"),
        (OWN, [NOTE, BY_CUSTOMER], "no index is left for the foreign key own_fk", "another index"),
        (OWN, [TOTAL, DEFAULT, BY_AT], None, None),
    ],
)  # fmt: skip
def test_what_is_no_such_thing_is_refused(
    more: str, operations: list[dict[str, Any]], reason: str | None, hint: str, orders: str
) -> None:
    run(orders, *(more or "select 1").split("; "))
    before = run(orders, "show create table orders")
    change = in_place(orders, *operations)
    if reason is None:
        change.begin()
        change.forward(Phase.SWAP)
        change.back()
    else:
        with pytest.raises(SpecError, match=reason) as refused:
            change.begin()
        assert hint in str(refused.value.hint)
    assert run(orders, "show create table orders") == before
    assert run(orders, "show tables like '%\\_changeover\\_%'") == []


def test_a_shadow_table_that_need_not_be_is_told(orders: str) -> None:
    found = [finding.rule for finding in Shadow(orders, [TOTAL]).begin().findings]
    assert "MYS-05" in found
    assert "MYS-05" not in [
        f.rule for f in Shadow(orders, [{"rebuild_table": {"table": "orders"}}], name="n").begin().findings
    ]


def test_a_view_of_a_column_that_goes_refuses_a_shadow_table_too(orders: str) -> None:
    # A view that is broken already is nobody's reason to warn.
    run(orders, VIEW, "create table x (id int)", "create view w as select id from x", "drop table x")
    with pytest.raises(SpecError, match="the view v names 'customer'"):
        Shadow(orders, [BUYER]).begin()
    Shadow(orders, [TOTAL]).begin()


def test_the_server_is_asked_about_the_way_back_too(orders: str) -> None:
    """A longer text is there at once; a shorter one is not."""
    wider = {"alter_column": {"table": "orders", "column": "note", "comment": "c", "nullable": True}}
    in_place(orders, wider).begin()
    with pytest.raises(SpecError, match="change column `status` `status`"):
        in_place(
            orders, {"alter_column": {"table": "orders", "column": "status", "type": "varchar(30)"}}, name="n"
        ).begin()


def test_a_dead_statement_is_no_change(orders: str) -> None:
    """The sessions of the run are killed while it waits for its turn: it goes on by itself, or the next run does it."""
    change = in_place(orders, TOTAL)
    change.begin()
    assert change.violations("before_swap") == 0
    with connected(orders, autocommit=False) as other, other.cursor() as cursor:
        cursor.execute("select connection_id(), count(*) from orders")
        own = cursor.fetchall()[0][0]
        failed: list[BaseException] = []

        def swap() -> None:
            try:
                change.forward(Phase.SWAP)
            except (ChangeoverError, pymysql.err.MySQLError) as error:
                failed.append(error)

        runner = threading.Thread(target=swap)
        runner.start()
        time.sleep(0.5)
        for (session,) in run(
            orders,
            "select id from information_schema.processlist where db = database() and id <> connection_id()"
            f" and id <> {own}",
        ):
            # It may have ended by itself.
            with suppress(pymysql.err.OperationalError):
                run(orders, f"kill {session}")
        assert run(orders, "show columns from orders like 'total'") == []
        cursor.execute("rollback")
        runner.join(timeout=60)
    if failed:
        change.forward(Phase.SWAP)
    assert run(orders, "show columns from orders like 'total'") != []


def test_nobody_waits_for_a_child_that_somebody_has_locked(orders: str) -> None:
    """Whoever has written to a child holds no table but that; the server would wait for him, and hold the parent."""
    run(orders, "create table child (id int primary key, parent int, foreign key (parent) references orders (id))",
        "insert into child values (1, 1)")  # fmt: skip
    change = in_place(orders, TOTAL, limits=Limits(lock_patience=1.5))
    change.begin()
    with connected(orders, autocommit=False) as other, other.cursor() as cursor:
        cursor.execute("insert into child values (2, 2)")
        failed: list[str] = []

        def swap() -> None:
            try:
                change.forward(Phase.SWAP)
            except LockTimeoutError as error:
                failed.append(error.what)

        runner = threading.Thread(target=swap)
        runner.start()
        longest = 0.0
        with connected(orders) as conn, conn.cursor() as reader:
            while runner.is_alive():
                began = time.monotonic()
                reader.execute("select count(*) from orders")
                longest = max(longest, time.monotonic() - began)
                time.sleep(0.01)
        runner.join()
    assert "no lock on" in failed[0]
    assert longest < 0.7
    change.forward(Phase.SWAP)
    change.back()


def test_what_a_user_is_not_shown_is_no_proof(orders: str) -> None:
    """A user with the rights that the tables need, who sees no event, and of the views of others no text."""
    database = orders.rpartition("/")[2].partition("?")[0]
    rights = "select, insert, update, delete, create, drop, alter, index, trigger"
    run(orders, "create user seer@'%' identified by 'p'", f"grant {rights} on `{database}`.* to seer@'%'",
        "create procedure p() select 1")  # fmt: skip
    change = in_place(orders.replace("root@", "seer:p@"), BUYER)
    try:
        with pytest.raises(PreflightError, match="lacks SHOW VIEW, EXECUTE, EVENT"):
            change.engine.plan(change.spec)
        run(orders, f"grant show view, execute, event on `{database}`.* to seer@'%'")
        with pytest.raises(SpecError, match="the procedure p, of which this user is not shown"):
            change.engine.plan(change.spec)
        run(orders, "drop procedure p")
        # With a binary log it takes more to make triggers; a change in place makes none.
        assert change.engine.preflight(change.engine.plan(change.spec)) == ()
        shadow = Shadow(change.engine.url, [TOTAL])
        with pytest.raises(PreflightError, match="lets only a user with SUPER make triggers"):
            shadow.engine.preflight(shadow.engine.plan(shadow.spec))
    finally:
        run(orders, "drop user seer@'%'")


BUILT = {
    "view": "create view seen as select id, note, customer from orders",
    "view of an alias": "create view seen as select o.note, o.customer from orders as o",
    "trigger": "create trigger seen before insert on orders for each row set new.note = new.customer",
    "routine": "create procedure seen() update orders set note = customer",
    "event": "create event seen on schedule every 1 year do update orders set note = customer",
}
AFTERWARDS = {
    "view": "create view later as select total from orders",
    "routine": "create procedure later() update orders set TOTAL = 1",
}


@pytest.mark.parametrize("strategy", ["expand_contract", "shadow_table"])
def test_what_others_build_meanwhile_is_found_before_a_column_goes(strategy: str, orders: str) -> None:
    """Between plan and swap, before the contract, and before a rollback what they built on a column that came."""
    run(orders, "create procedure unchanged() select total from orders")
    change = Shadow(orders, [TOTAL, BUYER, NOTE], strategy=strategy)
    plan = change.begin()
    asked = next(r.violations for r in plan.requirements if r.gate == "before_swap" and r.kind == "structure")
    for kind, made in BUILT.items() if strategy == "expand_contract" or EVERY_LEG else [("trigger", BUILT["trigger"])]:
        run(orders, made)
        found = {str(row[0]) for row in run(orders, asked)}
        what = {"view of an alias": "view", "routine": "procedure"}.get(kind, kind)
        assert found == {f"the {what} seen names 'note'", f"the {what} seen names 'customer'"}
        run(orders, f"drop {what} seen")
    assert run(orders, asked) == []
    change.forward(*BEFORE_SWAP, Phase.SWAP)
    assert run(orders, asked) == []
    assert change.violations("before_contract") == 0
    assert change.violations("before_rollback") == 0
    for kind, made in AFTERWARDS.items():
        run(orders, made)
        assert change.violations("before_rollback") == 1
        run(orders, f"drop {kind.replace('routine', 'procedure')} later")
    if strategy == "expand_contract":
        run(orders, BUILT["view"].replace(", customer", ""))
        assert change.violations("before_contract") == 1
        run(orders, "drop view seen")
    change.back()
