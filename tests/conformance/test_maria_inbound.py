"""Shadow table on MariaDB of a table to which foreign keys refer: they hold in every leg, and come along."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pymysql
import pytest

from profiles.model import Limits
from tasks.engines.mysql.beside import Quiet, beside
from tasks.engines.mysql.session import MariaSession, connect
from tasks.model.errors import DriftError, GateError, LockTimeoutError, PreflightError, SpecError
from tasks.model.steps import LockMode, Phase, SelfCommitting, Step
from tests.conformance.maria import BEFORE_SWAP, Shadow
from tests.conformance.maria_parents import Parents, difference, prepare, triggers_of
from tests.conformance.maria_writers import prepared
from tests.servers.mariadb import connected, run

WIDEN = {"alter_column": {"table": "orders", "column": "n", "type": "bigint"}}
CHILDREN = ("orders_lines", "orders_notes")


def shapes(url: str) -> list[str]:
    """Return the children as the server prints them, but for the next number."""
    texts = [str(run(url, f"show create table {name}")[0][1]) for name in CHILDREN]
    return [" ".join(word for word in text.split() if not word.startswith("AUTO_INCREMENT=")) for text in texts]


def test_all_the_way_under_writers(maria_database: str) -> None:
    """Over, swapped, back, over again and to the end: what refuses refuses, what cascades does, triggers act once."""
    prepare(maria_database, 120, triggers=True)
    before, theirs = shapes(maria_database), triggers_of(maria_database)
    assert len(theirs) == 4
    with Parents(maria_database, 120, pause=0.01) as parents:
        shadow = Shadow(maria_database, [WIDEN], batch_rows=40)
        shadow.begin()
        shadow.forward(*BEFORE_SWAP, Phase.SWAP)
        assert shapes(maria_database) == before
        time.sleep(0.2)
        shadow.back()
        assert (shapes(maria_database), triggers_of(maria_database)) == (before, theirs)
        again = Shadow(maria_database, [WIDEN], name="again", batch_rows=40)
        again.begin()
        again.forward(*BEFORE_SWAP, Phase.SWAP)
        time.sleep(0.2)
        assert again.violations("after_swap") == 0
        again.forward(Phase.CONTRACT)
    assert parents.failures == []
    assert parents.refused == {0, 1451, 1452}
    assert parents.transactions > 100
    assert parents.longest < 1.0
    assert difference(maria_database) == 0
    assert (shapes(maria_database), triggers_of(maria_database)) == (before, theirs)


def steps_of(shadow: Shadow, phase: Phase) -> list[Step]:
    """Return the steps of a phase."""
    assert shadow.plan is not None
    return list(shadow.plan.phase(phase))


def refused(url: str, code: int, *statements: str) -> None:
    """See each refused by this error."""
    for statement in statements:
        with pytest.raises(pymysql.err.IntegrityError, match=f"^.{code}"):
            run(url, statement)


def rules_hold(url: str, first: int, number: int = 7) -> None:
    """Write to parents and children as if nothing were between; the old table may have no place for the number."""
    one, two, three = range(first, first + 3)
    run(url, f"insert into orders_lines values (null, {one})", f"update orders set n = {number} where id = {one}")
    refused(url, 1451, f"delete from orders where id = {one}", f"update orders set id = {first + 90} where id = {one}")
    refused(url, 1452, f"insert into orders_lines values (null, {first + 90})")
    run(url, f"insert into orders_notes values ({first}, {two}, 'c{three}')",
        f"update orders set id = {first + 80}, n = {number} where id = {two}",
        f"update orders set code = 'd{first}', n = {number} where id = {three}")  # fmt: skip
    assert run(url, f"select parent, code from orders_notes where id = {first}") == [(first + 80, f"d{first}")]
    run(url, f"delete from orders where id = {three}")
    assert run(url, f"select code from orders_notes where id = {first}") == [(None,)]
    run(url, "delete orders, orders_notes from orders join orders_notes on parent = orders.id"
        f" where orders.id = {first + 80}")  # fmt: skip
    assert run(url, f"select * from orders_notes where id = {first}") == []
    run(url, f"delete from orders_lines where parent = {one}", f"update orders set n = 1 where id = {one}",
        f"insert into orders values ({first + 93}, 'e{first}', 1, null)",
        f"insert into orders_lines values (null, {first + 93})")  # fmt: skip


def test_in_the_moments_in_which_they_refer_to_the_other_table(maria_database: str) -> None:
    """Each statement that makes them refer elsewhere is done twice: who did it first has not told the ledger."""
    prepare(maria_database, 0)
    run(maria_database, *(f"insert into orders select seq, concat('c', seq), 1, null from seq_{first}_to_{first + 2}"
                          for first in (100, 300, 500, 700)),
        "alter table orders_notes add index both_of_them (parent, code)")  # fmt: skip
    before = shapes(maria_database)
    shadow = Shadow(maria_database, [WIDEN])
    shadow.begin()
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL)
    for step in steps_of(shadow, Phase.INDEX):
        if "/foreign key " in step.key:
            assert isinstance(step.action, SelfCommitting)
            run(maria_database, *step.action.forward)
        shadow.step(step)
    rules_hold(maria_database, 100)
    shadow.forward(Phase.RECONCILE)
    assert shadow.violations("before_swap") == 0
    swap, *last = steps_of(shadow, Phase.SWAP)
    assert swap.key == "swap/all"
    shadow.step(swap)
    # A RENAME has taken them along.
    assert run(maria_database, KEYS) == []
    rules_hold(maria_database, 300, 5_000_000_000)
    for step in last:
        assert isinstance(step.action, SelfCommitting)
        run(maria_database, *step.action.forward)
        shadow.step(step)
    assert shapes(maria_database) == before
    rules_hold(maria_database, 500, 5_000_000_000)
    run(maria_database, "truncate changeover_rejections")
    for step in [*reversed(last), swap]:
        if step is not swap:
            assert isinstance(step.action, SelfCommitting)
            run(maria_database, *step.action.inverse)
        shadow.revert(step)
    rules_hold(maria_database, 700)
    shadow.back()
    assert shapes(maria_database) == before
    ((orphans,),) = run(maria_database, "select count(*) from orders_lines left join orders on parent = orders.id"
                        " where orders.id is null")  # fmt: skip
    assert orphans == 0
    refused(maria_database, 1451, "delete from orders where id = 193")


ODD, QUOTED = "o'd`\\", "`o'd``\\`"


def test_names_of_every_kind_and_a_table_between_two(maria_database: str) -> None:
    """Composite, quoted, renamed; NULLs; and the table refers to another one itself, which deletes through both.

    To lock a child against all would lock the table, too: by its trigger, or because the table refers to it.
    """
    run(maria_database, "create table tops (id int primary key)", "insert into tops values (1), (2), (3)",
        f"create table {QUOTED} (id int primary key, `c``1` int, `d'2` varchar(9), top int, unique (`c``1`, `d'2`),"
        " constraint of_top foreign key (top) references tops (id) on delete cascade)",
        f"insert into {QUOTED} values (1, 1, 'x', 1), (2, 2, 'y', 2), (3, null, 'z', 3)",
        "create table `ki``d` (id int primary key, `p'1` int, p2 varchar(9), constraint `f'``k` foreign key (`p'1`, p2)"
        f" references {QUOTED} (`C``1`, `D'2`) on delete set null on update cascade)",
        "insert into `ki``d` values (1, 1, 'x'), (2, 2, 'y'), (3, null, 'q'), (4, 1, null)",
        f"create trigger told after insert on `ki``d` for each row update {QUOTED} set top = 3 where id = new.id",
        f"create table ring (id int primary key, one int, foreign key (one) references {QUOTED} (id))",
        f"alter table {QUOTED} add column ring int, add foreign key (ring) references ring (id)")  # fmt: skip
    before = run(maria_database, "show create table `ki``d`")[0][1]
    operations = [{"rename_column": {"table": ODD, "from": "c`1", "to": "z`9"}},
                  {"add_column": {"table": ODD, "column": {"name": "n", "type": "int", "nullable": True}}}]  # fmt: skip
    shadow = Shadow(maria_database, operations)
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    run(maria_database, f"update {QUOTED} set `c``1` = 5 where id = 1", "delete from tops where id = 2")
    kids = [(1, 5, "x"), (2, None, None), (3, None, "q"), (4, 1, None)]
    assert run(maria_database, "select * from `ki``d` order by id") == kids
    assert shadow.violations("before_swap") == 0
    swap, *last = (step for step in steps_of(shadow, Phase.SWAP) if "foreign keys" not in step.key)
    for step in steps_of(shadow, Phase.SWAP):
        shadow.step(step)
        if step is swap:
            run(maria_database, f"update {QUOTED} set `z``9` = 6 where id = 1")
    assert len(last) == 2
    # As it was told in the letters of the parent's columns, or in those of the catalogue.
    after = run(maria_database, "show create table `ki``d`")[0][1]
    assert after.lower() == before.lower().replace("(`c``1`", "(`z``9`")
    assert shadow.violations("after_swap") == 0
    run(maria_database, f"insert into {QUOTED} (id, `z``9`, `d'2`, top) values (9, 9, '9', 3)",
        "insert into `ki``d` values (9, 9, '9')", f"update {QUOTED} set `z``9` = 8 where id = 9",
        "delete from tops where id = 1")  # fmt: skip
    shadow.back()
    assert run(maria_database, "show create table `ki``d`")[0][1] == before
    kids = [(1, None, None), *kids[1:], (9, 8, "9")]
    assert run(maria_database, "select * from `ki``d` order by id") == kids


def test_whoever_makes_or_drops_a_foreign_key_meanwhile_is_not_overruled(maria_database: str) -> None:
    """Before the swap it is refused; after it, what is dropped stays away; and no row is left without its parent."""
    prepare(maria_database, 9)
    shadow = Shadow(maria_database, [WIDEN])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    run(maria_database, "create table later (id int, constraint theirs foreign key (id) references orders (id))")
    with pytest.raises(DriftError, match="theirs"):
        shadow.forward(Phase.SWAP)
    run(maria_database, "drop table later")
    (key,) = (key for key, name in run(maria_database, KEYS) if name == "orders_lines")
    run(maria_database, f"alter table orders_lines drop foreign key {key}")
    with pytest.raises(DriftError, match=key):
        shadow.forward(Phase.SWAP)
    run(maria_database, f"alter table orders_lines add constraint {key} foreign key (parent) references orders (id)")
    theirs = "alter table orders_lines add constraint orders_lines_ibfk_1 foreign key (id) references later (id)"
    run(
        maria_database,
        "create table later (id int primary key)",
        "insert into later select id from orders_lines",
        theirs,
    )
    assert shadow.plan is not None
    asked = [one for one in shadow.plan.requirements if one.kind == "structure"]
    assert {one.gate for one in asked if run(maria_database, one.violations)} == {"before_swap", "before_rollback"}
    run(maria_database, "alter table orders_lines drop foreign key orders_lines_ibfk_1")
    swap, *last = steps_of(shadow, Phase.SWAP)
    shadow.step(swap)
    run(maria_database, theirs, f"alter table orders_notes drop foreign key {last[1].key.rpartition(' ')[2]}")
    run(maria_database, "create table kept as select * from orders", "truncate orders")
    with pytest.raises(GateError, match="TRUNCATE"):
        shadow.step(last[0])
    run(maria_database, "insert into orders select * from kept")
    with pytest.raises(pymysql.err.MySQLError, match="orders_lines_ibfk_1"):
        shadow.step(last[0])
    run(maria_database, "alter table orders_lines drop foreign key orders_lines_ibfk_1")
    hurried = Shadow(maria_database, [WIDEN], limits=Limits(lock_patience=0.1))
    hurried.epoch = shadow.epoch
    insert = "insert into orders_lines (parent) values (1)"
    with connected(maria_database, autocommit=False) as conn, prepared(maria_database, insert) as name:
        conn.query(insert)
        waiting = threading.Thread(target=hurried.step, args=(last[0],))
        waiting.start()
        time.sleep(0.5)
        run(maria_database, f"xa commit '{name}'")
        time.sleep(0.5)
        assert waiting.is_alive()
        conn.commit()
    waiting.join()
    assert len(run(maria_database, KEYS)) == 1
    for step in last[1:]:
        shadow.step(step)
    assert sorted(name for _, name in run(maria_database, KEYS)) == ["orders_lines", "orders_notes"]
    assert not any(run(maria_database, one.violations) for one in asked)
    (old,) = run(maria_database, "select table_name from information_schema.tables where table_schema = database()"
                 " and table_name like '%changeover%old'")[0]  # fmt: skip
    run(maria_database, f"alter table later add constraint odd foreign key (id) references `{old}` (id)")
    assert shadow.violations("before_contract") == 1
    run(maria_database, "drop table later")
    run(maria_database, "insert into orders values (50, 'c50', 5000000000, null)",
        "insert into orders_lines values (50, 50)", "set foreign_key_checks = 0",
        "insert into orders_lines values (70, 999)")  # fmt: skip
    assert shadow.violations("before_rollback") == 1
    run(maria_database, "delete from orders_lines where id = 50", "delete from orders where id = 50")
    assert shadow.violations("before_rollback") == 0
    run(maria_database, "alter table orders_notes drop foreign key orders_parent",
        "insert into orders values (60, 'c60', 5000000000, null)")  # fmt: skip
    for step in reversed(last):
        shadow.revert(step)
    run(maria_database, "insert into orders_lines values (60, 60)")
    shadow.revert(swap)
    run(maria_database, "insert into orders_lines values (61, 60)")
    for _ in range(2):
        with pytest.raises(GateError, match="rows of orders_lines refer by orders_lines_ibfk_1 to"):
            shadow.back()
    refused(maria_database, 1452, "insert into orders_lines values (62, 60)")
    run(maria_database, "delete from orders_lines where id in (60, 61)")
    with pytest.raises(AssertionError, match=r"orders_code of .* is gone.*orders_parent of .* is gone"):
        shadow.back()
    assert [name for _, name in run(maria_database, KEYS)] == ["orders_lines"]
    assert run(maria_database, "select parent from orders_lines where id = 70") == [(999,)]


HOLDERS = (
    "insert into orders_lines (parent) values (1)",
    "insert into of_line values (3)",
    "select * from orders_lines where id = 3 lock in share mode",
    "insert into report select id from orders_notes",
)
"""Each holds rows of a child, or of the table, until its transaction ends."""


def test_who_holds_rows_of_a_child_keeps_nobody_from_the_table_while_the_swap_waits(maria_database: str) -> None:
    """He holds rows, and not the table: a RENAME would have that, and wait for him in the database, for a second."""
    prepare(maria_database, 9)
    run(maria_database, "create table report (id int)")
    shadow = Shadow(maria_database, [WIDEN])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    swap = steps_of(shadow, Phase.SWAP)[0]
    assert isinstance(swap.action, SelfCommitting)
    assert [lock.mode for lock in swap.action.locks] == [LockMode.ACCESS_EXCLUSIVE] * 3
    # Nobody had it when the plan was made.
    run(maria_database, "create table of_line (id int, foreign key (id) references orders_lines (id))")
    queueing = Shadow(maria_database, [WIDEN], limits=Limits(lock_patience=1, ddl_queues=True))
    queueing.epoch = shadow.epoch
    for table in ("orders", "orders_lines"):
        with connected(maria_database, autocommit=False) as conn, ThreadPoolExecutor(1) as pool:
            # It has no view of rows, which the swap would outlast before it tries.
            conn.query("set session transaction isolation level read committed")
            conn.query(f"select * from {table}")
            tried = pool.submit(queueing.step, swap)
            # The budget, and what a busy machine adds: the server's own limit is a whole second.
            assert longest_of_writes(maria_database, 1.2) < 0.7
            with pytest.raises(LockTimeoutError) as late:
                tried.result()
            assert "pause these writers" in str(late.value.hint)
    for act, statements in ((shadow.step, HOLDERS[1:]), (shadow.revert, HOLDERS[:2])):
        waiting, longest = threading.Thread(target=act, args=(swap,)), 0.0
        with ExitStack() as stack:
            former = None
            for statement in statements:
                conn = stack.enter_context(connected(maria_database, autocommit=False))
                conn.query("set session transaction isolation level repeatable read")
                conn.query(statement)
                if former is None:
                    waiting.start()
                else:
                    former.commit()
                longest, former = max(longest, longest_of_writes(maria_database, 0.7)), conn
            assert waiting.is_alive()
        waiting.join()
        assert longest < 0.5
    shadow.back()


def test_what_a_rename_has_met_is_told_also_when_the_session_beside_it_is_lost(maria_database: str) -> None:
    """The server ends it when it says nothing for a second; the next try has another one."""
    prepare(maria_database, 1)
    opened: list[MariaSession] = []

    def open_session() -> MariaSession:
        opened.append(connect(maria_database))
        return opened[-1]

    def meet(quiet: Quiet) -> None:
        with quiet("rename", False):
            with pytest.raises(pymysql.err.OperationalError, match="1205"):
                run(maria_database, "set lock_wait_timeout = 0", "select * from orders_lines")
            opened[-1].cut()
            # The server lets go of what it held when it has seen that, and not before.
            alive = f"select 1 from information_schema.processlist where id = {opened[-1].raw.thread_id()}"
            until = time.monotonic() + 10
            while run(maria_database, alive) and time.monotonic() < until:
                time.sleep(0.02)
            raise TimeoutError

    with beside(open_session, SelfCommitting(table="orders", beside=("orders_lines",)), Limits()) as quiet:
        for tries in (1, 2):
            with pytest.raises(TimeoutError):
                meet(quiet)
            assert len(opened) == tries


def longest_of_writes(url: str, seconds: float) -> float:
    """Write for a while, and return how long it took at most."""
    until, longest = time.monotonic() + seconds, 0.0
    while time.monotonic() < until:
        began = time.monotonic()
        run(url, "update orders set body = 'meanwhile' where id = 2", "select * from orders_lines")
        longest = max(longest, time.monotonic() - began)
    return longest


KEYS = """
    select constraint_name, table_name from information_schema.referential_constraints
     where constraint_schema = database() and referenced_table_name = 'orders'
"""
OTHERWISE = "would get another type"
REFUSED: tuple[tuple[dict[str, object], str], ...] = (
    ({"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}, OTHERWISE),
    ({"alter_column": {"table": "orders", "column": "code", "type": "varchar(90)"}}, OTHERWISE),
    ({"rebuild_table": {"table": "orders", "options": "drop index by_code partition by hash (id)"}},
     "that is partitioned"),
    ({"rebuild_table": {"table": "orders", "options": "drop index by_code"}}, "does not let it refer to the new shape"),
    ({"rebuild_table": {"table": "orders", "options": "drop column code", "dropped": ["code"], "down": {"code": "id"}}},
     "is dropped"),
    ({"alter_column": {"table": "orders", "column": "code", "up": "upper(code)", "down": "lower(code)"}}, "the values"),
)  # fmt: skip


def test_what_cannot_be_led_to_the_new_table_is_refused(maria_database: str) -> None:
    """Before anything is done, and nothing is left of what was tried."""
    prepare(maria_database, 3)
    tables = run(maria_database, "show tables")

    def see(operation: dict[str, object], reason: str) -> None:
        with pytest.raises(SpecError, match=reason) as error:
            Shadow(maria_database, [operation]).begin()
        assert error.value.hint
        assert run(maria_database, "show tables") == tables

    for operation, reason in REFUSED:
        see(operation, reason)
    other = f"{maria_database.rpartition('/')[2]}_other"
    run(maria_database, f"create database {other}", f"create table {other}.far (id int, foreign key (id) references"
        f" {maria_database.rpartition('/')[2]}.orders (id))")  # fmt: skip
    try:
        see(WIDEN, "of far: it is one of a table in another database")
        run(maria_database, f"drop table {other}.far", f"create table {other}.far (id int, foreign key (id) references"
            f" {maria_database.rpartition('/')[2]}.orders_lines (id))")  # fmt: skip
        see(WIDEN, "far, which is in another database, refers to that table")
    finally:
        run(maria_database, f"drop database {other}")
    run(maria_database, "create table `~changeover_1_1_old` (id int, foreign key (id) references orders (id))")
    tables = run(maria_database, "show tables")
    see(WIDEN, "that table is one of another migration")
    run(maria_database, "drop table `~changeover_1_1_old`",
        "create table `x.far` (id int, foreign key (id) references orders (id))")  # fmt: skip
    tables = run(maria_database, "show tables")
    see(WIDEN, "that table has a dot in its name")
    run(maria_database, "drop table `x.far`")
    under_way = Shadow(maria_database, [WIDEN])
    under_way.begin()
    under_way.forward(*BEFORE_SWAP)
    tables = run(maria_database, "show tables")
    see(WIDEN, "is under another migration")


def test_who_may_not_lock_children_is_refused_before_the_run(maria_database: str) -> None:
    """A RENAME would be too late: all rows have been copied then."""
    database = maria_database.rpartition("/")[2]
    prepare(maria_database, 1)
    plan = Shadow(maria_database, [WIDEN]).begin()
    run(maria_database, "create user poor@'%' identified by 'p'", "grant super, process on *.* to poor@'%'",
        "grant select, insert, update, delete, create, drop, alter, index, trigger"
        f" on `{database}`.* to poor@'%'")  # fmt: skip
    try:
        engine = Shadow(maria_database.replace("root@", "poor:p@"), [WIDEN]).engine
        with pytest.raises(PreflightError, match="lacks LOCK TABLES"):
            engine.preflight(plan)
    finally:
        run(maria_database, "drop user poor@'%'")


def test_a_table_that_refers_to_itself_has_its_keys_widened_at_once(maria_database: str) -> None:
    """Each of both tables refers to itself: by a key that cascades, one that refuses, and one to another column."""
    run(maria_database, "create table orders (id int primary key, code int, above int, beside int, same int, unique"
        " (code), foreign key (Above) references orders (ID) on delete cascade, constraint next_to foreign key (beside)"
        " references orders (id), foreign key (same) references orders (code) on delete set null)",
        "insert into orders select seq, seq, null, null, seq from seq_1_to_20",
        "update orders set above = 1 + id % 3 where id > 4", "update orders set beside = 5 where id < 5")  # fmt: skip
    before = run(maria_database, "show create table orders")[0][1]
    operations = [{"alter_column": {"table": "orders", "column": name, "type": "bigint"}}
                  for name in ("id", "above", "beside")]  # fmt: skip
    operations.append({"rename_column": {"table": "orders", "from": "code", "to": "number"}})
    shadow = Shadow(maria_database, operations)
    shadow.begin()
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL)
    run(maria_database, "insert into orders values (30, 30, 3, 4, 30), (31, 31, 30, 30, 30)",
        "update orders set id = 33 where id = 20")  # fmt: skip
    refused(maria_database, 1451, "delete from orders where id = 5", "update orders set id = 90 where id = 30")
    run(maria_database, "update orders set beside = null where id = 31", "delete from orders where id = 30")
    shadow.forward(Phase.INDEX)
    run(maria_database, "update orders set id = 34 where id = 33", "delete from orders where id = 6")
    shadow.forward(Phase.RECONCILE)
    assert shadow.violations("before_swap") == 0
    shadow.forward(Phase.SWAP)
    assert shadow.violations("before_rollback") == 0
    after = run(maria_database, "select * from orders order by id")
    run(maria_database, "update orders set id = 5000000000 where id = 34", "delete from orders where id = 1",
        "insert into orders values (41, 41, 2, 2, 41), (42, 42, 41, null, 41), (43, 43, null, 42, 42)",
        "update orders set number = 44 where id = 43")  # fmt: skip
    refused(maria_database, 1451, "delete from orders where id = 42", "update orders set id = 90 where id = 2")
    refused(maria_database, 1452, "update orders set above = 99 where id = 2")
    run(maria_database, "delete from orders where id = 43", "delete from orders where id = 41")
    assert shadow.violations("after_swap") == 0
    run(maria_database, "delete from orders where id = 5000000000")
    assert shadow.violations("before_rollback") == 0
    rows = run(maria_database, "select * from orders order by id")
    assert len(rows) < len(after)
    shadow.back()
    assert run(maria_database, "show create table orders")[0][1] == before
    assert run(maria_database, "select * from orders order by id") == rows
    refused(maria_database, 1451, "delete from orders where id = 5")
    again = Shadow(maria_database, operations, name="again")
    again.begin()
    again.forward(*BEFORE_SWAP, Phase.SWAP, Phase.CONTRACT)
    wider = str(run(maria_database, "show create table orders")[0][1])
    for name in ("orders_ibfk_1", "next_to", "orders_ibfk_2"):
        (line,) = (one for one in before.splitlines() if f"CONSTRAINT `{name}`" in one)
        assert line.strip(" ,").lower().replace("`code`", "`number`") in wider.lower()
