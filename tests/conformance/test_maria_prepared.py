"""Shadow table on MariaDB beside prepared transactions (XA), which hold rows, and no table; and its triggers' end."""

import pytest

from profiles.model import Limits
from tasks.model.errors import LockTimeoutError
from tasks.model.steps import Phase, SelfCommitting
from tests.conformance.maria import BEFORE_SWAP, Shadow
from tests.conformance.maria_writers import Writers, difference, prepare, prepared
from tests.servers.mariadb import connected, run

WIDEN = {"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}


def impatient(url: str, budget: int = 300) -> Shadow:
    """Return a migration that gives up after a moment."""
    return Shadow(url, [WIDEN], limits=Limits(batch_rows=7, lock_budget=budget, lock_patience=0.5))


def test_what_was_prepared_before_the_triggers_is_in_the_new_table(maria_database: str) -> None:
    """No trigger has seen it, and beyond the last key the copy does not meet it: committed late, it would be lost."""
    prepare(maria_database, 50)
    shadow = impatient(maria_database)
    with prepared(maria_database, "insert into orders values (1000, 'late', 1), (1001, 'late', 2)") as name:
        plan = shadow.begin()
        (warned,) = (one for one in shadow.engine.preflight(plan) if one.rule == "MYS-07")
        assert name in warned.message
        with pytest.raises(LockTimeoutError, match=f"prepared transactions did not end: .*{name}"):
            shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE)
        run(maria_database, f"xa commit '{name}'")
        shadow.forward(Phase.DUAL_WRITE)
    shadow.forward(Phase.BACKFILL, Phase.INDEX)
    assert shadow.violations("before_swap") == 0
    shadow.forward(Phase.SWAP)
    assert shadow.violations("after_swap") == 0
    assert run(maria_database, "select id from orders where body = 'late'") == [(1000,), (1001,)]


def test_what_is_prepared_keeps_the_tables_from_being_swapped_and_nobody_waits(maria_database: str) -> None:
    """The server would wait for its rows with everybody behind it. There and back; its own row is in both tables."""
    prepare(maria_database, 50)
    shadow = impatient(maria_database, budget=3000)
    plan = shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    (swap,) = plan.phase(Phase.SWAP)
    with Writers(maria_database, threads=1) as writers:
        for row, way in ((500, shadow.step), (501, shadow.revert)):
            insert = f"insert into {{}} values ({row}, 'prepared', 1)"
            with prepared(maria_database, insert.format("orders"), insert.format("twin")) as name:
                with pytest.raises(LockTimeoutError, match=f"prepared transactions .*{name}"):
                    way(swap)
                run(maria_database, f"xa commit '{name}'")
            way(swap)
    assert writers.failures == []
    # It is a second that the server would wait for rows.
    assert writers.longest < 0.9
    assert difference(maria_database) == 0
    assert run(maria_database, "select id from orders where body = 'prepared'") == [(500,), (501,)]
    assert shadow.violations("before_swap") == 0
    shadow.back()


def test_who_has_deleted_a_parent_and_is_prepared_is_waited_for(maria_database: str) -> None:
    """His session holds no table any more: what the foreign key of the table has deleted, the shadow would keep."""
    run(maria_database, "create table parents (id int primary key)", "insert into parents values (1), (2)",
        "create table orders (id int primary key, parent int, constraint of_parent foreign key (parent)"
        " references parents (id) on delete cascade)", "insert into orders values (1, 1), (2, 2)")  # fmt: skip
    shadow = impatient(maria_database)
    shadow.begin()
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL)
    with prepared(maria_database, "delete from parents where id = 1") as name:
        with pytest.raises(LockTimeoutError, match=f"prepared transactions did not end: .*{name}"):
            shadow.forward(Phase.INDEX)
        run(maria_database, f"xa commit '{name}'")
    shadow.forward(Phase.INDEX, Phase.RECONCILE)
    assert shadow.violations("before_swap") == 0
    shadow.forward(Phase.SWAP)
    assert run(maria_database, "select * from orders") == [(2, 2)]


def test_the_way_back_ends_in_one_moment(maria_database: str) -> None:
    """However long it takes to drop its triggers, and wherever that is cut off: what is carried over is whole."""
    prepare(maria_database, 20)
    shadow = impatient(maria_database)
    plan = shadow.begin()
    shadow.forward(*BEFORE_SWAP, Phase.SWAP)
    (old,) = (table for (table,) in run(maria_database, "show tables") if table.endswith("_old"))
    there = f"select * from {old} order by id"
    off, *drops = plan.phase(Phase.CONTRACT)[:4]
    with connected(maria_database, autocommit=False) as conn, conn.cursor() as writer:
        writer.execute("update orders set body = 'first' where id = 1")
        with pytest.raises(LockTimeoutError):
            shadow.step(off)
        # Its next write is carried over like the one before, and nobody has waited.
        writer.execute("delete from orders where id = 2")
        conn.commit()
    assert run(maria_database, there) == run(maria_database, "select * from orders order by id")
    shadow.step(off)
    left = run(maria_database, there)
    for number, drop in enumerate(drops):
        run(maria_database, f"insert into orders values ({100 + number}, 'new', 1)",
            f"update orders set body = 'new' where id = {3 + number}",
            f"update orders set id = {-3 - number} where id = {12 + number}",
            f"delete from orders where id = {6 + number}")  # fmt: skip
        assert run(maria_database, there) == left
        assert isinstance(drop.action, SelfCommitting)
        # Done, and killed before the ledger heard of it.
        run(maria_database, *drop.action.forward)
        shadow.step(drop)
    for step in plan.phase(Phase.CONTRACT)[4:]:
        shadow.step(step)
    assert run(maria_database, "select count(*) from changeover_rejections") == [(0,)]
    assert run(maria_database, "show tables like '%\\_changeover\\_%'") == []
