"""Shadow table on MariaDB of a table with foreign keys: parents are written to in every leg, and no deadlock.

pt-online-schema-change calls those of the new table `_...`, which is before most names: who deletes a parent then locks
the new table first, and whoever writes to the table the old one.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pymysql
import pytest

from tasks.engines.mysql.names import quote
from tasks.model.errors import DriftError, PreflightError, SpecError
from tasks.model.status import StepState
from tasks.model.steps import Phase, SelfCommitting
from tests.conformance.maria import BEFORE_SWAP, Shadow
from tests.conformance.maria_families import Families, difference, prepare
from tests.servers.mariadb import connected, run

WIDEN = {"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}


def table_lines(url: str) -> list[str]:
    """Return the table as the server prints it."""
    return str(run(url, "show create table orders")[0][1]).splitlines()


def shape(url: str) -> str:
    """And but for the next number."""
    text = " ".join(table_lines(url))
    return " ".join(word for word in text.split() if not word.startswith("AUTO_INCREMENT="))


def test_all_the_way_under_writers(maria_database: str) -> None:
    """Over, swapped, back, over again and to the end: rows, names and rules are what they are without us."""
    prepare(maria_database, 400)
    before = shape(maria_database)
    with Families(maria_database) as families:
        shadow = Shadow(maria_database, [WIDEN], batch_rows=40)
        shadow.begin()
        shadow.forward(*BEFORE_SWAP, Phase.SWAP)
        time.sleep(0.3)
        shadow.back()
        assert shape(maria_database) == before
        again = Shadow(maria_database, [WIDEN], name="again", batch_rows=40)
        again.begin()
        again.forward(*BEFORE_SWAP, Phase.SWAP)
        time.sleep(0.3)
        assert again.violations("after_swap") == 0
        again.forward(Phase.CONTRACT)
    assert families.failures == []
    assert families.transactions > 100
    assert families.longest < 1.0
    assert difference(maria_database) == 0
    assert shape(maria_database) == before.replace("`id` int(11)", "`id` bigint(20)")
    assert {table for (table,) in run(maria_database, "show tables") if not table.startswith("changeover_")} == {
        "orders", "twin", "parents", "others"
    }  # fmt: skip


def test_nobody_is_refused_for_the_sake_of_a_row_that_the_table_in_use_has_not(maria_database: str) -> None:
    """Rows of the shadow may be stale until they are compared, and those of the old table from the swap on."""
    names = ("customers", "products", "places")
    for name in names:
        run(maria_database, f"create table {name} (id int primary key)", f"insert into {name} values (1), (2), (3)")
    run(maria_database, "create table orders (id int primary key, customer int, product int, place int, number int,"
        " foreign key (customer) references customers (id) on delete cascade, constraint of_product foreign key"
        " (product) references products (id), foreign key (place) references places (id) on update set null,"
        " unique (place, id))",
        "insert into orders values (1, 1, 1, 1, 0), (2, 2, 2, 2, 0), (3, 3, 3, 3, 0)")  # fmt: skip
    before = shape(maria_database)
    refused = [f"delete from {name} where id = 2" for name in names[1:]]
    refused.append("update customers set id = 9 where id = 2")

    def only_by_the_table_in_use() -> None:
        for statement in refused:
            with pytest.raises(pymysql.err.IntegrityError, match=r"1451.*`orders`"):
                run(maria_database, statement)

    number = {"alter_column": {"table": "orders", "column": "number", "type": "bigint"}}
    shadow = Shadow(maria_database, [number])
    shadow.begin()
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL)
    run(maria_database, "delete from customers where id = 1", "insert into customers values (1)")
    shadow.forward(Phase.INDEX)
    run(maria_database, "delete from products where id = 1", "update customers set id = 8 where id = 1",
        "delete from places where id = 1")  # fmt: skip
    only_by_the_table_in_use()
    killed_before_it_was_recorded(shadow, maria_database, Phase.RECONCILE, Phase.CONSTRAIN)
    assert shadow.violations("before_swap") == 0
    only_by_the_table_in_use()
    assert shadow.plan is not None
    swap = next(step for step in shadow.plan.steps if step.key == "swap/all")
    assert isinstance(swap.action, SelfCommitting)
    new = quote(swap.action.set_aside.replace("_old", "_new"))
    # As one is that `up` has refused: until the swap, for as long as that is held.
    run(maria_database, "insert into products values (4)", f"update {new} set product = 4 where id = 3",
        "delete from products where id = 4", f"update {new} set product = 3 where id = 3")  # fmt: skip
    killed_before_it_was_recorded(shadow, maria_database, Phase.SWAP)
    run(maria_database, "insert into orders values (7, 2, 2, 2, 0)",
        "update orders set number = 5000000000, customer = null, product = 2, place = 2 where id = 3",
        "delete from products where id = 3", "update customers set id = 7 where id = 3",
        "delete from places where id = 3")  # fmt: skip
    only_by_the_table_in_use()
    run(maria_database, *swap.action.inverse[:-1])
    shadow.back()
    assert shape(maria_database) == before
    only_by_the_table_in_use()


@contextmanager
def deleting(url: str, parent: int) -> Iterator[None]:
    """Delete a parent meanwhile, by somebody who waits for whatever has to be waited for."""
    failed: list[str] = []

    def delete() -> None:
        try:
            run(url, f"delete from parents where id = {parent}")
        except Exception as error:  # noqa: BLE001 - the test looks at it
            failed.append(repr(error))

    thread = threading.Thread(target=delete)
    thread.start()
    time.sleep(0.2)
    yield
    thread.join()
    assert failed == []


@pytest.mark.parametrize("key", ["id", "parent, id"])
def test_who_deletes_a_parent_and_who_writes_to_its_child_lock_in_one_order(maria_database: str, key: str) -> None:
    """Before the swap, and after it: the row of the table that is in use first, then that of the other one.

    Where the primary key stands for the foreign key, too, a trigger that looked for the parent would wait for it.
    """
    run(maria_database, "create table parents (id int primary key)", "insert into parents select seq from seq_1_to_9",
        f"create table orders (id int, parent int, body varchar(9), primary key ({key}), constraint of_parent"
        " foreign key (parent) references parents (id) on delete cascade)",
        "insert into orders select seq, seq, null from seq_1_to_9")  # fmt: skip
    shadow = Shadow(maria_database, [WIDEN])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    with connected(maria_database, autocommit=False) as conn, conn.cursor() as cursor:
        for row, phase in ((1, Phase.SWAP), (2, Phase.CONTRACT)):
            cursor.execute(f"select * from orders where id = {row} for update")
            with deleting(maria_database, row):
                cursor.execute(f"update orders set body = 'mine' where id = {row}")
                conn.commit()
            assert run(maria_database, f"select * from orders where parent = {row}") == []
            shadow.forward(phase)


@pytest.mark.parametrize("clause", ["", pytest.param("constraint of_parent ", marks=pytest.mark.every_leg)])
def test_who_has_deleted_a_parent_before_the_shadow_had_foreign_keys_is_waited_for(
    maria_database: str, clause: str
) -> None:
    """Compared before he commits, the row would be in both; afterwards it would be in the shadow alone."""
    run(maria_database, "create table parents (id int primary key)", "insert into parents values (1), (2)",
        f"create table orders (id int primary key, parent int, {clause}foreign key (parent) references parents (id)"
        " on delete cascade)", "insert into orders values (1, 1), (2, 2), (3, 2)")  # fmt: skip
    shadow = Shadow(maria_database, [WIDEN])
    shadow.begin()
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL)
    with connected(maria_database, autocommit=False) as conn, conn.cursor() as cursor:
        cursor.execute("delete from parents where id = 1")
        forward = threading.Thread(target=shadow.forward, args=(Phase.INDEX, Phase.RECONCILE))
        forward.start()
        time.sleep(0.5)
        assert forward.is_alive()
        conn.commit()
        forward.join()
    assert shadow.violations("before_swap") == 0
    shadow.forward(Phase.SWAP)
    assert run(maria_database, "select id from orders order by id") == [(2,), (3,)]
    shadow.back()


def test_what_differs_and_is_deleted_before_it_is_repaired_is_dealt_with(maria_database: str) -> None:
    """What the shadow has of it names another parent, so no foreign key deletes that: it is one too many then."""
    prepare(maria_database, 30)
    shadow = Shadow(maria_database, [WIDEN])
    shadow.begin()
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL)
    run(maria_database, "update parents set id = id + 500 where id < 20 order by id desc",
        "delete from parents where id = 20")  # fmt: skip
    shadow.forward(Phase.INDEX)
    assert shadow.plan is not None
    (step,) = shadow.plan.phase(Phase.RECONCILE)
    parents = iter(range(502, 520))

    def between() -> None:
        run(maria_database, f"delete from parents where id = {next(parents, 0)}")

    shadow.engine.apply(step, replace(shadow.journal(step, StepState.DONE), between=between))
    assert shadow.violations("before_swap") == 0


def test_whoever_drops_a_foreign_key_is_not_overruled(maria_database: str) -> None:
    """Before the swap, which is refused then, and before the contract, after which the others have their names."""
    prepare(maria_database, 10)
    shadow = Shadow(maria_database, [WIDEN])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    run(maria_database, "alter table orders drop foreign key orders_ibfk_1")
    with pytest.raises(DriftError, match="orders_ibfk_1"):
        shadow.forward(Phase.SWAP)
    with pytest.raises(AssertionError, match="orders_ibfk_1 is gone"):
        shadow.back()
    assert "orders_of_parent" in shape(maria_database)
    run(maria_database, "alter table orders add constraint theirs foreign key (other) references others (id)")
    again = Shadow(maria_database, [WIDEN], name="again")
    again.begin()
    again.forward(*BEFORE_SWAP, Phase.SWAP)
    (dropped,) = (line.split("`")[1] for line in table_lines(maria_database) if "FOREIGN KEY (`parent`)" in line)
    run(maria_database, f"alter table orders drop foreign key {dropped}")
    again.forward(Phase.CONTRACT)
    (left,) = (line for line in table_lines(maria_database) if "FOREIGN KEY" in line)
    assert "CONSTRAINT `theirs` FOREIGN KEY (`other`)" in left


ODD, QUOTED = "o'd`\\", "`o'd``\\`"


def killed_before_it_was_recorded(shadow: Shadow, url: str, *phases: Phase) -> None:
    """Carry out phases, and what is about foreign keys twice: whoever did it the first time has not told the ledger."""
    assert shadow.plan is not None
    for step in (step for phase in phases for step in shadow.plan.phase(phase)):
        if "foreign keys" in step.key:
            assert isinstance(step.action, SelfCommitting)
            run(url, *step.action.forward)
        shadow.step(step)


def test_names_of_every_kind_and_statements_that_were_not_recorded(maria_database: str) -> None:
    """Composite, quoted, renamed; of a parent in another database; indexes that the server has made; NULLs."""
    other = f"{maria_database.rpartition('/')[2]}_other"
    run(maria_database, f"create database {other}",
        f"create table {other}.`p'a``r` (a int, b varchar(9), primary key (a, b)) character set utf8mb4",
        f"insert into {other}.`p'a``r` values (1, 'x'), (2, 'y'), (3, 'z')",
        f"create table {QUOTED} (id int primary key, `c``1` int, `d'2` varchar(9), constraint `f``'k` foreign key"
        f" (`c``1`, `d'2`) references {other}.`p'a``r` (a, b) on delete set null on update cascade)",
        f"insert into {QUOTED} values (1, 1, 'x'), (2, 2, 'y'), (3, null, null)")  # fmt: skip
    before = run(maria_database, f"show create table {QUOTED}")[0][1]
    operations = [{"rename_column": {"table": ODD, "from": "c`1", "to": "z`9"}},
                  {"alter_column": {"table": ODD, "column": "id", "type": "bigint"}}]  # fmt: skip
    try:
        shadow = Shadow(maria_database, operations)
        plan = shadow.begin()
        killed_before_it_was_recorded(shadow, maria_database, *BEFORE_SWAP)
        run(maria_database, f"update {other}.`p'a``r` set a = 5 where a = 1",
            f"insert into {QUOTED} values (4, 3, 'z')")  # fmt: skip
        assert shadow.violations("before_swap") == 0
        shadow.forward(Phase.SWAP)
        run(maria_database, f"delete from {other}.`p'a``r` where a = 3",
            f"update {other}.`p'a``r` set a = 6 where a = 5")  # fmt: skip
        assert shadow.violations("after_swap") == 0
        shadow.revert(next(step for step in plan.steps if step.key == "swap/all"))
        for step in reversed(plan.phase(Phase.INDEX)):
            if "foreign keys" in step.key and isinstance(step.action, SelfCommitting):
                run(maria_database, *step.action.inverse)
        shadow.back()
        assert run(maria_database, f"show create table {QUOTED}")[0][1] == before
        rows = [(1, 6, "x"), (2, 2, "y"), (3, None, None), (4, None, None)]
        assert run(maria_database, f"select * from {QUOTED} order by id") == rows
        again = Shadow(maria_database, operations, name="again")
        again.begin()
        again.forward(*BEFORE_SWAP, Phase.SWAP)
        killed_before_it_was_recorded(again, maria_database, Phase.CONTRACT)
        assert run(maria_database, f"select * from {QUOTED} order by id") == rows
        after = run(maria_database, f"show create table {QUOTED}")[0][1]
        assert after == before.replace("`id` int(11)", "`id` bigint(20)").replace("`c``1`", "`z``9`")
    finally:
        run(maria_database, f"drop table {QUOTED}", f"drop database {other}")


DROPPED = {"rebuild_table": {"table": "orders", "options": "drop column late", "dropped": ["late"]}}
REFUSED: tuple[tuple[Mapping[str, Any], str], ...] = (
    (DROPPED, "orders_ibfk_2: a column of it is dropped"),
    ({"rebuild_table": {"table": "orders", "options": "partition by hash (id) partitions 2"}}, "is partitioned"),
    ({"alter_column": {"table": "orders", "column": "body", "up": "concat(body, Other)", "down": "'x'"}},
     "orders_ibfk_1: the server changes its columns by itself"),
    ({"alter_column": {"table": "orders", "column": "parent", "up": "parent + 1", "down": "parent - 1"}},
     "would change the values of its columns"),
    ({"alter_column": {"table": "orders", "column": "parent", "unique": {"name": "one"}}}, "are in a unique key"),
    ({"alter_column": {"table": "orders", "column": "parent", "type": "bigint"}}, "the server refuses the new shape"),
    ({"alter_column": {"table": "orders", "column": "other", "type": "int", "nullable": False}}, "the server refuses"),
    ({"rebuild_table": {"table": "orders", "options": "drop index by_other"}}, "no index for each foreign key"),
    ({"rebuild_table": {"table": "orders", "options": "add foreign key (id) references parents (id)"}},
     "adds no foreign keys"),
)  # fmt: skip


def test_what_cannot_have_its_foreign_keys_is_refused(maria_database: str) -> None:
    """Before anything is done, and nothing is left of what was tried."""
    prepare(maria_database, 10)
    run(maria_database, "set foreign_key_checks = 0", "alter table orders add column late int",
        "alter table orders add foreign key (LATE) references others (id), algorithm = inplace")  # fmt: skip
    longer = "o" * 60
    for name in ("`ö`", "texts", longer):
        run(maria_database, f"create table {name} (id varchar(9) primary key, parent int, constraint of_{len(name)}"
            " foreign key (parent) references parents (id) on delete cascade) character set latin1")  # fmt: skip
    run(maria_database, "create table mine (id int primary key, parent int, constraint of_mine foreign key (parent)"
        " references parents (id), key by_parent (parent))", "alter table twin add constraint mine_ibfk_1"
        " foreign key (other) references others (id)")  # fmt: skip
    run(maria_database, "create table big (id int primary key, parent int, constraint BIG_IBFK_1 foreign key (parent)"
        " references parents (id))",
        "create table made (id int primary key, parent int, twice int as (parent * 2) stored,"
        " constraint of_made foreign key (parent) references parents (id) on delete cascade)")  # fmt: skip
    tables = run(maria_database, "show tables")
    widened = {"alter_column": {"table": "made", "column": "id", "type": "bigint"}}
    left = {"rebuild_table": {"table": "made", "options": "drop column twice", "dropped": ["twice"]}}
    wide = {"options": "convert to character set utf8mb4"}
    others = (("ö", "no table of ours comes after"), ("texts", "the order of its primary key changes"),
              (longer, "which is too long"), ("mine", "called mine_ibfk_1 meanwhile, and that of twin is"),
              ("big", "but for the case of letters"))  # fmt: skip
    rebuilt = (({"rebuild_table": {"table": name, **wide}}, reason) for name, reason in others)
    generated = ((one, "does not let it cascade there") for one in (widened, left))
    for operation, reason in (*REFUSED, *rebuilt, *generated):
        with pytest.raises(SpecError, match=reason) as refused:
            Shadow(maria_database, [operation]).begin()
        assert refused.value.hint
        assert run(maria_database, "show tables") == tables


def test_who_may_not_make_what_foreign_keys_need_is_refused_before_the_run(maria_database: str) -> None:
    """They are made when all rows have been copied. LOCK TABLES is needed only where no index can be named anew."""
    database = maria_database.rpartition("/")[2]
    every = "select, insert, update, delete, create, drop, alter, index, trigger"
    run(maria_database, "create table parents (id int primary key)", "create table orders (id int, parent int,"
        " primary key (parent, id), foreign key (parent) references parents (id) on delete cascade)",
        "create user poor@'%' identified by 'p'", f"grant {every} on `{database}`.* to poor@'%'",
        "grant super, process on *.* to poor@'%'")  # fmt: skip
    shadow = Shadow(maria_database, [WIDEN])
    plan = shadow.begin()
    (step,) = [step for step in plan.phase(Phase.INDEX) if step.key.endswith("/parents")]
    assert isinstance(step.action, SelfCommitting)
    assert not step.action.outlasts_prepared
    try:
        engine = Shadow(maria_database.replace("root@", "poor:p@"), [WIDEN]).engine
        with pytest.raises(PreflightError, match="lacks LOCK TABLES"):
            engine.preflight(plan)
        run(maria_database, f"grant lock tables on `{database}`.* to poor@'%'")
        engine.preflight(plan)
    finally:
        run(maria_database, "drop user poor@'%'")
    run(maria_database, "alter table orders add index (id)")
    again = Shadow(maria_database, [WIDEN], name="again").engine.plan(shadow.spec)
    assert "lock tables" not in again.model_dump_json()
    run(maria_database, "alter table orders drop index id, drop foreign key orders_ibfk_1",
        "alter table orders add foreign key (parent) references parents (id)")  # fmt: skip
    idle = Shadow(maria_database, [WIDEN], name="idle").engine.plan(shadow.spec)
    assert [step.key for step in idle.phase(Phase.INDEX) if step.key.endswith(("/parents", "/prepared"))] == []
