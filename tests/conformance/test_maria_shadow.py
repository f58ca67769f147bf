"""Shadow table on MariaDB, leg by leg: over, swapped, back; and the cases in which peers lose rows."""

from collections.abc import Mapping
from typing import Any

import pymysql
import pytest

from profiles.model import Limits
from tasks.engines.mysql.session import connect
from tasks.ledger.gates import count_rejections
from tasks.model.errors import GateError, PreflightError, SpecError, StepError
from tasks.model.step_costs import locks_of, rows_of
from tasks.model.steps import LockMode, Phase
from tests.conformance.maria import BEFORE_SWAP, Shadow
from tests.servers.mariadb import run

ORDERS = """
    create table orders (
        id int not null auto_increment primary key,
        customer varchar(40) not null default 'nobody',
        `odd ``name` decimal(10,2) null,
        note text collate utf8mb4_bin,
        at timestamp(3) not null default current_timestamp(3) on update current_timestamp(3),
        doubled decimal(12,2) as (`odd ``name` * 2) stored,
        key by_customer (customer),
        check (`odd ``name` is null or `odd ``name` > -1000)
    ) engine=InnoDB character set utf8mb4 comment='what people''s orders are'
"""
WIDEN = {"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}


def write(url: str, table: str = "orders") -> None:
    """Insert, update, move keys and delete, with NULLs, quotes and backslashes."""
    run(
        url,
        f"insert into {table} (customer, `odd ``name`, note) values ('a', 1.5, 'x\\\\y''z'), ('b', null, null)",
        f"update {table} set note = 'changed', `odd ``name` = null where id = 3",
        f"update {table} set id = 900 + id where id in (5, 6)",
        f"delete from {table} where id in (7, 8)",
        f"insert into {table} (id, customer) values (7, 'again')",
    )


@pytest.fixture
def orders(maria_database: str) -> str:
    run(
        maria_database,
        ORDERS,
        "insert into orders (customer, `odd ``name`, note)"
        " select concat('c', seq), if(seq % 3 = 0, null, seq), if(seq % 4 = 0, null, repeat('é', seq))"
        " from seq_1_to_30",
        "insert into orders (id) values (100)",
        "delete from orders where id = 100",
    )
    return maria_database


def test_over_swapped_and_back(orders: str) -> None:
    """int to bigint under a primary key; everything attached arrives; what is written since stays after a rollback."""
    before = run(orders, "show create table orders")[0][1]
    shadow = Shadow(orders, [WIDEN])
    plan = shadow.begin()
    told = {step.key: (locks_of(step), rows_of(step, plan)) for step in plan.steps}
    assert [lock.mode for lock in told["swap/all"][0]] == [LockMode.ACCESS_EXCLUSIVE]
    assert told[f"backfill/{plan.tables[0]}/copy"][1] == plan.estimates[0].rows
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE)
    write(orders)
    shadow.forward(Phase.BACKFILL, Phase.INDEX)
    write_later = "update orders set customer = 'late' where id = 20"
    run(orders, write_later, "delete from orders where id = 21")
    rows = run(orders, "select * from orders order by id")
    shadow.swap()
    assert run(orders, "select * from orders order by id") == rows
    assert run(orders, "select distinct attempts from changeover_steps where state = 'done'") == [(1,)]
    after = run(orders, "show create table orders")[0][1]
    assert after.replace("`id` bigint(20)", "`id` int(11)") == before.replace(
        "AUTO_INCREMENT=101", "AUTO_INCREMENT=907"
    )
    run(orders, "insert into orders (customer) values ('after')", "update orders set note = 'n' where id = 1",
        "delete from orders where id = 2", "update orders set id = 2000 where id = 3")  # fmt: skip
    rows = run(orders, "select * from orders order by id")
    assert shadow.gate("after_swap").passed
    shadow.back()
    assert run(orders, "select * from orders order by id") == rows
    now = run(orders, "show create table orders")[0][1]
    assert now.replace("AUTO_INCREMENT=2001", "AUTO_INCREMENT=101") == before
    assert run(orders, "show tables like '%\\_changeover\\_%'") == []


def test_contract_leaves_nothing_but_the_new_table(orders: str) -> None:
    shadow = Shadow(orders, [WIDEN])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    shadow.swap()
    write(orders)
    rows = run(orders, "select * from orders order by id")
    shadow.forward(Phase.CONTRACT)
    assert run(orders, "select * from orders order by id") == rows
    assert run(orders, "show triggers like 'orders'") == []
    assert [t for (t,) in run(orders, "show tables") if not t.startswith("changeover_")] == ["orders"]


@pytest.mark.parametrize(
    "operation",
    [
        {"add_column": {"table": "orders", "column": {"name": "total", "type": "decimal(12,1)", "nullable": True},
                        "up": "`odd ``name` * 1.21"}},
        {"alter_column": {"table": "orders", "column": "customer", "type": "varchar(80)",
                          "up": "concat(customer, '/', id)", "down": "substring_index(customer, '/', 1)"}},
        {"rebuild_table": {"table": "orders", "options": "partition by hash (id) partitions 3"}},
        *(pytest.param(operation, marks=pytest.mark.every_leg) for operation in (
            {"rename_column": {"table": "orders", "from": "customer", "to": "buyer"}},
            {"drop_column": {"table": "orders", "column": "note"}},
            {"rebuild_table": {"table": "orders"}},
            {"rebuild_table": {"table": "orders", "options": "row_format=compressed"}},
            {"alter_column": {"table": "orders", "column": "note", "type": "text character set latin1"}},
        )),
    ],
    ids=lambda one: str(next(iter(one))),
)  # fmt: skip
def test_each_change_is_carried_under_writers(orders: str, operation: Mapping[str, Any]) -> None:
    shadow = Shadow(orders, [operation])
    shadow.begin()
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE)
    write(orders)
    shadow.forward(Phase.BACKFILL, Phase.INDEX)
    before = run(orders, "select id, customer, note from orders order by id")
    assert shadow.violations("before_swap") == 0
    shadow.forward(Phase.SWAP)
    assert shadow.violations("after_swap") == 0
    run(orders, "delete from orders where id = 10", "insert into orders (id) values (5000)")
    assert shadow.violations("after_swap") == 0
    shadow.back()
    now = run(orders, "select id, customer, note from orders order by id")
    assert [row for row in now if row[0] != 5000] == [row for row in before if row[0] != 10]
    assert now[-1][0] == 5000
    with connect(orders) as conn:
        assert count_rejections(conn, "m") == 0


def test_a_column_that_is_altered_keeps_all_that_it_has(maria_database: str) -> None:
    """MODIFY drops in silence what it does not name: a check of the column, and that it is invisible."""
    run(
        maria_database,
        "create table odd (id int primary key, `n``\\` int invisible default 5 comment 'a \\\\ b' check (`n``\\` > 0),"
        " at timestamp(3) not null default now(3) on update now(3) invisible check (at <> '2000-01-01'))",
    )
    before = run(maria_database, "show create table odd")[0][1]
    asked = {"n`\\": {"type": "bigint"}, "at": {"comment": "when"}}
    shadow = Shadow(
        maria_database, [{"alter_column": {"table": "odd", "column": name} | what} for name, what in asked.items()]
    )
    shadow.begin()
    shadow.forward(Phase.EXPAND)
    (new,) = (table for (table,) in run(maria_database, "show tables") if table.endswith("_new"))
    after = run(maria_database, f"show create table `{new}`")[0][1]
    assert after.replace(new, "odd").replace("bigint(20)", "int(11)").replace(" COMMENT 'when'", "") == before


def test_a_truncate_after_the_swap_keeps_it_from_being_rolled_back(orders: str) -> None:
    """TRUNCATE fires no trigger: a rollback would bring all rows back."""
    shadow = Shadow(orders, [WIDEN])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP, Phase.SWAP)
    assert shadow.violations("before_rollback") == 0
    run(orders, "truncate table orders")
    assert shadow.violations("before_rollback") == 30


def test_after_the_swap_a_difference_is_found_and_nothing_else(orders: str) -> None:
    """In a column that keeps its values, in one that does not, in a row that is on one side only."""
    noted = {"alter_column": {"table": "orders", "column": "note", "up": "concat('<', note, '>')",
                              "down": "substr(note, 2, char_length(note) - 2)"}}  # fmt: skip
    shadow = Shadow(orders, [WIDEN, noted])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP, Phase.SWAP)
    run(orders, "update orders set note = '<new>' where id < 9", "insert into orders (customer) values ('c')",
        "update orders set id = id + 100 where id = 9", "delete from orders where id = 10")  # fmt: skip
    assert shadow.violations("after_swap") == 0
    (old,) = (table for (table,) in run(orders, "show tables") if table.endswith("_old"))
    planted = (
        "update {old} set note = 'other' where id = 1",
        "update {old} set customer = 'C2' where id = 2",
        "update {old} set customer = 'C30', note = null where id = 30",
        "delete from {old} where id = 8",
        "delete from {old} where id = 109",
        "insert into {old} (id, customer) values (-1, 'x')",
    )
    for number, statement in enumerate(planted, 1):
        run(orders, statement.format(old=old))
        assert shadow.violations("after_swap") == number, statement
    run(orders, f"insert into {old} (id, customer) values (-2, 'x')")
    assert shadow.violations("after_swap") == 5, "both have as many: what is too many is found when none is missing"
    run(orders, f"delete from {old} where id < 0")
    assert shadow.violations("after_swap") == 5


def test_what_a_type_writes_in_its_own_way_is_no_difference(maria_database: str) -> None:
    """Padding that is not read back, and values of a list in letters of another case; in both directions."""
    run(
        maria_database,
        "create table t (id int primary key, c char(5), mood enum('sad','glad'), v varchar(9), w varchar(9))",
        "insert into t values (1, 'a', 'sad', 'b ', 'SAD'), (2, 'c', 'glad', 'd', 'glad'), (3, null, null, null, null)",
    )
    changes: dict[str, dict[str, Any]] = {
        "c": {"type": "varchar(9)", "up": "concat('<', c)", "down": "concat(substr(c, 2), '  ')"},
        "mood": {"type": "varchar(9)", "up": "upper(mood)", "down": "mood"},
        "v": {"type": "char(9)", "up": "concat(v, ' ')", "down": "v", "lossy": True},
        "w": {"type": "enum('sad','glad')", "up": "upper(w)", "down": "lower(w)", "lossy": True},
    }
    shadow = Shadow(maria_database, [{"alter_column": {"table": "t", "column": n, **c}} for n, c in changes.items()])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    assert shadow.violations("before_swap") == 0
    shadow.forward(Phase.SWAP)
    run(maria_database, "update t set c = '<new', mood = 'GLAD', v = 'new', w = 'SAD' where id in (1, 3)")
    assert shadow.violations("after_swap") == 0
    assert shadow.violations("before_rollback") == 0


def test_what_is_only_carried_over_is_compared_byte_by_byte(maria_database: str) -> None:
    """Nobody has said that a blank, or the case of a letter, means nothing."""
    run(maria_database, "create table t (id int primary key, v varchar(9), w varchar(9)) character set utf8mb4",
        "insert into t values (1, 'b', 'sad'), (2, 'b ', 'sad'), (3, 'b', 'SAD'), (4, null, null)")  # fmt: skip
    types = {"v": "char(9)", "w": "enum('sad','glad')"}
    shadow = Shadow(
        maria_database, [{"alter_column": {"table": "t", "column": c, "type": k}} for c, k in types.items()]
    )
    shadow.begin()
    with pytest.raises(StepError, match=r"2 rows .* do not become equal"):
        shadow.forward(*BEFORE_SWAP)
    assert shadow.violations("before_swap") == 2


def test_what_the_old_table_refuses_does_not_keep_it_from_being_dropped(orders: str) -> None:
    """A new application may write what is too large for the old type: noted, and only a rollback would lose it."""
    shadow = Shadow(orders, [WIDEN])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP, Phase.SWAP)
    run(orders, "insert into orders (id, customer) values (3000000000, 'late')")
    with connect(orders) as conn:
        assert count_rejections(conn, "m", direction="down") == 1
    assert shadow.violations("after_swap") == 0
    run(orders, "truncate table orders")
    assert shadow.violations("after_swap") == 30


def test_what_holds_the_old_rows_is_never_dropped_as_a_switch(orders: str) -> None:
    """Whatever the ledger says, a step does not drop what it has not made."""
    shadow = Shadow(orders, [WIDEN])
    plan = shadow.begin()
    shadow.forward(*BEFORE_SWAP, Phase.SWAP)
    switch = next(step for step in plan.steps if step.key.endswith("/switch"))
    with pytest.raises(StepError, match="not what this step made"):
        shadow.revert(switch)
    shadow.back()


def test_a_row_that_does_not_fit_is_found_before_anything_is_done(orders: str) -> None:
    """pt-online-schema-change shortens, or drops by INSERT IGNORE what collides, and reports success."""
    shorter = {"alter_column": {"table": "orders", "column": "customer", "type": "varchar(1)", "default": "'n'",
                                "unique": {"name": "one_each"}}}  # fmt: skip
    shadow = Shadow(orders, [shorter])
    plan = shadow.begin()
    found = shadow.engine.examine(plan, values_in_reports=False)
    assert [check.passed for check in found.checks] == [True, False]
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE)
    with pytest.raises(StepError, match="does not fit"):
        shadow.forward(Phase.BACKFILL)
    shadow.back()


def test_a_batch_is_ended_at_the_lock_budget(orders: str) -> None:
    """Its rows are locked for as long as it runs. What only takes long is smaller the next time."""
    slow = {"alter_column": {"table": "orders", "column": "note", "up": "concat(note, sleep(0.02))", "down": "note"}}
    shadow = Shadow(orders, [slow], batch_rows=30, limits=Limits(lock_budget=150, lock_patience=20.0))
    shadow.begin()
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE)
    sizes: list[int] = []
    shadow.forward(Phase.BACKFILL, between=sizes.append)
    assert sizes[:2] == [30, 7]


def test_what_is_not_the_fault_of_a_row_is_not_called_so(orders: str) -> None:
    shadow = Shadow(orders, [WIDEN])
    shadow.begin()
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE)
    (new,) = (table for (table,) in run(orders, "show tables") if table.endswith("_new"))
    run(orders, f"alter table {new} drop column note")
    with pytest.raises(pymysql.err.MySQLError, match="1054"):
        shadow.forward(Phase.BACKFILL)


def test_a_write_that_cannot_be_carried_is_noted_and_the_application_goes_on(orders: str) -> None:
    """Under a new unique key, two rows that collide are never made one."""
    unique = {"create_index": {"table": "orders", "name": "one_note", "columns": ["customer"], "unique": True}}
    shadow = Shadow(orders, [unique])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    run(
        orders, "insert into orders (id, customer) values (200, 'c1')", "update orders set customer = 'c2' where id = 3"
    )
    assert run(orders, "select count(*) from orders where customer in ('c1', 'c2')") == [(4,)]
    with connect(orders) as conn:
        assert count_rejections(conn, "m", direction="up") == 2
    assert shadow.violations("before_swap") == 2
    run(orders, "update orders set customer = 'free' where id in (200)", "delete from orders where id = 3")
    assert shadow.violations("before_swap") == 0


@pytest.mark.parametrize("collation", ["utf8mb4_general_ci", "utf8mb4_bin", "latin1_german1_ci"])
def test_a_composite_key_with_texts_is_deleted_whole(maria_database: str, collation: str) -> None:
    """pg-osc empties a table by the first column of a composite key."""
    run(
        maria_database,
        f"create table parts (a varchar(20) collate {collation}, b int, v int, primary key (a, b))",
        "insert into parts select concat('k', seq div 4), seq % 4, seq from seq_1_to_40",
    )
    shadow = Shadow(
        maria_database, [{"alter_column": {"table": "parts", "column": "v", "type": "bigint"}}], batch_rows=3
    )
    shadow.begin()
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE)
    run(
        maria_database,
        "delete from parts where a = 'k3' and b = 2",
        "update parts set a = 'K4' where a = 'k4' and b = 1",
    )
    shadow.forward(Phase.BACKFILL, Phase.INDEX)
    run(
        maria_database,
        "delete from parts where a = 'k5' and b = 2",
        "update parts set a = 'K6' where a = 'k6' and b = 1",
    )
    assert shadow.violations("before_swap") == 0
    assert run(maria_database, "select count(*) from parts where a = 'k3'") == [(3,)]
    shadow.forward(Phase.SWAP)
    assert run(maria_database, "select count(*), sum(v) from parts") == [(38, sum(range(1, 41)) - 14 - 22)]


def test_an_empty_table(maria_database: str) -> None:
    run(maria_database, "create table orders (id int primary key)")
    shadow = Shadow(maria_database, [WIDEN])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    shadow.swap()
    shadow.back()


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["create table orders (id int)"], "no primary key"),
        (["create table orders (id int primary key) engine=MyISAM"], "no transactions"),
        (["create table orders (id int primary key)", "create table c (id int primary key references orders (id))"],
         "foreign key"),
        (["create view orders as select 1 as id"], "a view"),
    ],
)  # fmt: skip
def test_what_would_be_lost_is_refused(maria_database: str, statements: list[str], reason: str) -> None:
    run(maria_database, *statements)
    tables = run(maria_database, "show tables")
    with pytest.raises(SpecError, match=reason) as refused:
        Shadow(maria_database, [WIDEN]).begin()
    assert refused.value.hint
    assert run(maria_database, "show tables") == tables


def test_a_name_with_every_quote(maria_database: str) -> None:
    odd = "o'd`\\"
    quoted = "`o'd``\\`"
    run(
        maria_database,
        f"create table {quoted} (id int auto_increment primary key, body varchar(9) comment 'a''b\\\\')",
        f"insert into {quoted} (body) values ('a'), ('b')",
    )
    longer = {"alter_column": {"table": odd, "column": "body", "type": "varchar(20)", "unique": {"name": "one"}}}
    shadow = Shadow(maria_database, [longer])
    plan = shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    run(maria_database, f"insert into {quoted} (body) values ('a')")
    assert run(maria_database, "select substring_index(table_name, '.', -1) from changeover_rejections") == [(odd,)]
    run(maria_database, f"delete from {quoted} where id = 3")
    assert shadow.violations("before_swap") == 0
    asked = [r.violations for r in plan.requirements if r.gate == "before_rollback" and r.kind == "structure"]
    assert run(maria_database, *asked) == []
    shadow.forward(Phase.SWAP)
    assert shadow.violations("before_rollback") == 0
    run(maria_database, f"create trigger later before delete on {quoted} for each row set @gone = old.id")
    assert run(maria_database, *asked) == [(f"the trigger later was made on the new {odd}",)]
    run(maria_database, "drop trigger later", f"alter table {quoted} add column `l'a` int default 1")
    assert run(maria_database, *asked) == [(f"the column l'a was made on the new {odd}",)]
    with pytest.raises(GateError, match="since the gate, and would be dropped with it"):
        shadow.back()
    run(maria_database, f"alter table {quoted} drop column `l'a`",
        f"create table later (one int, constraint back foreign key (one) references {quoted} (id))")  # fmt: skip
    assert run(maria_database, *asked) == [(f"the foreign key back of later was made on the new {odd}",)]
    run(maria_database, "drop table later")
    shadow.back()


def test_a_user_who_may_not_make_triggers_is_refused(maria_database: str) -> None:
    """With a binary log the privilege TRIGGER is not enough: the error would come after the new table was made."""
    run(maria_database, "create user plain@'%' identified by 'p'", "grant all on *.* to plain@'%'",
        "revoke super, binlog admin on *.* from plain@'%'", "create table orders (id int primary key)")  # fmt: skip
    try:
        shadow = Shadow(maria_database.replace("root@", "plain:p@"), [WIDEN])
        with shadow.engine.connect("test") as conn, pytest.raises(PreflightError, match="binary log") as refused:
            shadow.engine.require_privileges(conn, shadow.engine.plan(shadow.spec))
        assert "log_bin_trust_function_creators" in refused.value.hint
    finally:
        run(maria_database, "drop user plain@'%'")


def test_what_the_server_refuses_is_told_in_names_that_people_know(orders: str) -> None:
    wrong = {"rebuild_table": {"table": "orders", "options": "drop system versioning"}}
    shadow = Shadow(orders, [wrong])
    with pytest.raises(SpecError, match=r"4124 .*`orders`"):
        shadow.begin()
