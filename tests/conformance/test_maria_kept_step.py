"""After the swap on MariaDB: which of the old rows that differ were refused, which rounded, and which are lost."""

from tasks.model.steps import Phase
from tests.conformance.maria import BEFORE_SWAP, Shadow
from tests.conformance.test_maria_shadow import WIDEN
from tests.servers.mariadb import run

FINER = {
    "at": ("datetime", "datetime(6)", "'2026-01-01 10:00:00.6'"),
    "noon": ("time", "time(3)", "'11:59:59.9996'"),
    "seen": ("timestamp null", "timestamp(6) null", "'2026-01-01 10:00:00.6'"),
    "born": ("date", "datetime", "'2026-01-01 23:00:00'"),
    "price": ("decimal(10,2)", "decimal(12,4)", "1.2350"),
    "size": ("int", "decimal(12,2)", "-2.5"),
    "rate": ("float", "double", "1.123456789012345e0"),
    "cost": ("decimal(9,2)", "double", "1.005e0"),
    "code": ("char(5)", "varchar(9)", "'a  '"),
    "mark": ("binary(3)", "varbinary(9)", "'a'"),
}


def test_a_row_that_was_refused_often_makes_no_room_for_others(maria_database: str) -> None:
    """A rejection is a write, not a row: it excuses the row of that write, whatever its key, and no other."""
    run(
        maria_database,
        "create table orders (id int, part char(9) collate utf8mb4_general_ci, v int, primary key (id, part))",
        "insert into orders select seq, 'é', 0 from seq_1_to_30",
    )
    shadow = Shadow(maria_database, [WIDEN, {"alter_column": {"table": "orders", "column": "v", "type": "bigint"}}])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP, Phase.SWAP)
    run(maria_database, "insert into orders values (1, 'É1', 3000000000)",
        "update orders set id = 3000000000 where id = 2",
        *["update orders set v = v + 3000000000 where id = 3"] * 30)  # fmt: skip
    assert shadow.violations("after_swap") == 0
    assert shadow.violations("before_rollback") == 0
    (old,) = (table for (table,) in run(maria_database, "show tables") if table.endswith("_old"))
    run(maria_database, f"update {old} set v = 7 where id between 3 and 23", f"delete from {old} where id = 30")
    assert shadow.violations("after_swap") == 21
    assert shadow.violations("before_rollback") == 21


def test_what_a_coarser_old_type_rounds_is_a_matter_of_the_rollback(maria_database: str) -> None:
    """No write is refused for it: the old table could never be dropped. Any other difference is found."""
    run(
        maria_database,
        "create table orders (id int primary key, "
        f"{', '.join(f'{name} {old}' for name, (old, _, _) in FINER.items())})",
        "insert into orders (id) values (1), (2)",
    )
    shadow = Shadow(maria_database, [
        {"alter_column": {"table": "orders", "column": name, "type": new.removesuffix(" null")}}
        for name, (_, new, _) in FINER.items()
    ])  # fmt: skip
    shadow.begin()
    shadow.forward(*BEFORE_SWAP, Phase.SWAP)
    for row, (name, (_, _, value)) in enumerate(FINER.items(), 10):
        run(maria_database, f"insert into orders (id, {name}) values ({row}, {value})")
    run(maria_database, f"update orders set {', '.join(f'{n} = {v}' for n, (_, _, v) in FINER.items())} where id = 2")
    (old,) = (table for (table,) in run(maria_database, "show tables") if table.endswith("_old"))
    assert run(maria_database, "select count(*) from changeover_rejections") == [(0,)]
    assert shadow.violations("after_swap") == 0
    assert shadow.violations("before_rollback") == len(FINER) + 1
    run(maria_database, "insert into orders (id, price) values (50, 99999999.9999)",
        "insert into orders (id, cost) values (51, 1e300)",
        "insert into orders (id, rate) values (52, 1e300)")  # fmt: skip
    assert run(maria_database, "select count(*) from changeover_rejections") == [(3,)]
    assert shadow.violations("after_swap") == 0, "no warning of the server, and none of what was refused"
    run(maria_database, *(f"update {old} set {name} = null where id = {10 + row}" for row, name in enumerate(FINER)))
    assert shadow.violations("after_swap") == len(FINER)
