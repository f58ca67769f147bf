"""Shadow table on MariaDB under applications that go on writing: no statement fails, no row differs."""

import threading
import time
from dataclasses import replace

import pymysql
import pytest

from profiles.model import Limits
from tasks.engines.mysql.session import connect
from tasks.ledger.gates import count_rejections
from tasks.model.errors import DriftError, GateError, LockTimeoutError
from tasks.model.status import StepState
from tasks.model.steps import Phase, SelfCommitting
from tests.conformance.maria import BEFORE_SWAP, Shadow
from tests.conformance.maria_writers import Writers, difference, is_big, prepare
from tests.servers.mariadb import connected, run

WIDEN = {"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}


@pytest.mark.every_leg
def test_over_and_back_and_over_while_applications_write(maria_database: str) -> None:
    """Deletes race the copy, keys move under it, and none of it comes back or gets lost."""
    prepare(maria_database, 6000)
    shadow = Shadow(maria_database, [WIDEN], batch_rows=300)
    with Writers(maria_database) as writers:
        shadow.begin()
        shadow.forward(*BEFORE_SWAP)
        assert shadow.violations("before_swap") == 0
        shadow.forward(Phase.SWAP)
        time.sleep(0.5)
        assert shadow.violations("after_swap") == 0
        before = writers.transactions
        shadow.back()
        time.sleep(0.3)
        assert writers.transactions > before
        again = Shadow(maria_database, [WIDEN], name="again", batch_rows=300)
        again.begin()
        again.forward(*BEFORE_SWAP, Phase.SWAP)
        assert again.violations("after_swap") == 0
        again.forward(Phase.CONTRACT)
        time.sleep(0.2)
    assert writers.failures == []
    assert difference(maria_database) == 0
    assert writers.transactions > 100
    # Nobody waits much longer than for the lock budget of 300 ms; a busy machine adds the rest.
    assert writers.longest < 3.0
    with connect(maria_database) as conn:
        assert count_rejections(conn, "m") == count_rejections(conn, "again") == 0


def test_a_long_reader_delays_the_swap_and_nobody_else(maria_database: str) -> None:
    """No try waits; it says who may block, and is made again."""
    prepare(maria_database, 50)
    budget = Limits(batch_rows=100, lock_budget=200, lock_patience=3.0)
    shadow = Shadow(maria_database, [WIDEN], limits=budget)
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    with connected(maria_database, autocommit=False) as reader, reader.cursor() as cursor:
        # At the default level it would be waited for as a snapshot, before any lock is asked for.
        cursor.execute("set session transaction isolation level read committed")
        cursor.execute("select count(*) from orders")
        with (
            Writers(maria_database, threads=1) as writers,
            pytest.raises(LockTimeoutError, match="blocked by one of: connection"),
        ):
            shadow.forward(Phase.SWAP)
        reader.rollback()
    assert writers.failures == []
    # The budget, and what a busy machine adds; the reader held the table for 3 s.
    assert writers.longest < 1.5
    shadow.forward(Phase.SWAP)
    assert shadow.violations("after_swap") == 0


def test_ddl_queues_only_where_the_profile_allows_it(maria_database: str) -> None:
    """Readers that follow each other leave no moment for a swap that does not wait."""
    prepare(maria_database, 50)
    over, queues, turn, begun = threading.Event(), threading.Event(), threading.Condition(), 0

    def read() -> None:
        nonlocal begun
        with connected(maria_database, autocommit=False) as conn, conn.cursor() as cursor:
            while not over.is_set():
                cursor.execute("select count(*) from orders")
                with turn:
                    begun += 1
                    mine = begun
                    turn.notify_all()
                    # Nobody ends before the next one has begun, unless that one stands behind DDL which queues.
                    patience = 0.5 if queues.is_set() else 30
                    turn.wait_for(lambda: begun > mine or over.is_set(), timeout=patience)  # noqa: B023
                over.wait(0.02)
                conn.commit()

    impatient = Limits(batch_rows=100, lock_budget=1000, lock_patience=2.0)
    shadow = Shadow(maria_database, [WIDEN], limits=impatient)
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        with turn:
            assert turn.wait_for(lambda: begun > 2, timeout=30)
        with pytest.raises(LockTimeoutError) as blocked:
            shadow.forward(Phase.SWAP)
        assert "ddl_queues = true" in blocked.value.hint
        queues.set()
        shadow.engine = replace(
            shadow.engine, limits=impatient.model_copy(update={"ddl_queues": True, "lock_patience": 6.0})
        )
        shadow.forward(Phase.SWAP)
    finally:
        over.set()
        with turn:
            turn.notify_all()
        for reader in readers:
            reader.join()
    assert shadow.violations("after_swap") == 0


def test_a_transaction_that_began_before_the_swap_writes_on_after_it(maria_database: str) -> None:
    """A transaction that is older than the swap does not make dual write believe that there was none."""
    prepare(maria_database, 50)
    shadow = Shadow(maria_database, [WIDEN])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    with connected(maria_database, autocommit=False) as old, old.cursor() as cursor:
        cursor.execute("set session transaction isolation level read committed")
        cursor.execute("select count(*) from twin")
        shadow.forward(Phase.SWAP)
        cursor.execute("update orders set body = 'late' where id = 7")
        cursor.execute("delete from orders where id = 8")
        old.commit()
    assert shadow.violations("after_swap") == 0
    shadow.back()
    with connected(maria_database) as conn, conn.cursor() as cursor:
        cursor.execute("select id, body from orders where id in (7, 8)")
        assert cursor.fetchall() == ((7, "late"),)


def test_five_thousand_rows_in_flight_are_waited_for(maria_database: str) -> None:
    """pg-osc drops 4,000 of 5,000 rows of a transaction that is in flight at the swap."""
    prepare(maria_database, 50)
    shadow = Shadow(maria_database, [WIDEN])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    with connected(maria_database, autocommit=False) as large, large.cursor() as cursor:
        cursor.execute("insert into orders select seq, 'large', 1 from seq_1000_to_5999")
        swap = threading.Thread(target=shadow.forward, args=(Phase.SWAP,))
        swap.start()
        time.sleep(1.0)
        large.commit()
        swap.join()
    assert shadow.violations("after_swap") == 0
    with connected(maria_database) as conn, conn.cursor() as cursor:
        cursor.execute("select count(*) from orders where body = 'large'")
        assert cursor.fetchall() == ((5000,),)


def test_applications_that_delete_and_insert_do_not_wait_for_each_other(maria_database: str) -> None:
    """Deleting what is not copied yet takes no lock on a gap of the shadow, in which another's insert would wait."""
    prepare(maria_database, 50)
    shadow = Shadow(maria_database, [WIDEN])
    shadow.begin()
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE)
    with (
        connected(maria_database, autocommit=False, init_command="set innodb_lock_wait_timeout = 2") as one,
        connected(maria_database, autocommit=False, init_command="set innodb_lock_wait_timeout = 2") as two,
        one.cursor() as first,
        two.cursor() as second,
    ):
        first.execute("delete from orders where id = 10")
        second.execute("delete from orders where id = 20")
        first.execute("insert into orders (id) values (1000)")
        second.execute("insert into orders (id) values (1001)")
        one.commit()
        two.commit()
    shadow.forward(Phase.BACKFILL)
    assert shadow.violations("before_swap") == 0


def test_a_swap_that_was_lost_and_comes_late_changes_nothing(maria_database: str) -> None:
    """A session that is lost while its RENAME waits may still carry it out: a second RENAME would lead back."""
    prepare(maria_database, 50)
    shadow = Shadow(maria_database, [WIDEN])
    plan = shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    action = next(step for step in plan.steps if step.key == "swap/all").action
    assert isinstance(action, SelfCommitting)
    with (
        connected(maria_database, autocommit=False) as reader,
        reader.cursor() as reading,
        connected(maria_database) as lost,
        lost.cursor() as late,
    ):
        reading.execute("select count(*) from orders")
        rename = threading.Thread(target=late.execute, args=(action.forward[0],))
        swap = threading.Thread(target=shadow.forward, args=(Phase.SWAP,))
        rename.start()
        swap.start()
        time.sleep(0.5)
        reader.rollback()
        rename.join()
        swap.join()
        assert shadow.violations("after_swap") == 0
        assert is_big(maria_database)
        with pytest.raises(pymysql.err.ProgrammingError, match="1146"):
            late.execute(action.forward[0])
    assert is_big(maria_database)
    shadow.back()
    assert not is_big(maria_database)


def test_what_somebody_changes_after_the_gate_stops_the_swap(maria_database: str) -> None:
    """A hold may last for days: the catalogue is asked right before the RENAME, and once more after it."""
    prepare(maria_database, 50)
    shadow = Shadow(maria_database, [WIDEN])
    plan = shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    step = next(step for step in plan.steps if step.key == "swap/all")
    with (
        connected(maria_database) as conn,
        conn.cursor() as cursor,
        connected(maria_database, autocommit=False) as reader,
        reader.cursor() as reading,
    ):
        cursor.execute("alter table orders add index by_body (body)")
        with pytest.raises(DriftError, match="by_body"):
            shadow.forward(Phase.SWAP)
        cursor.execute("alter table orders drop index by_body")
        reading.execute("select count(*) from orders")

        def between() -> None:
            # The question was answered, and the RENAME has to wait.
            reader.rollback()
            cursor.execute("alter table orders add index if not exists by_n_too (n)")

        with pytest.raises(DriftError, match="by_n_too"):
            shadow.engine.apply(step, replace(shadow.journal(step, StepState.DONE), between=between))
    assert not is_big(maria_database)


def test_a_truncate_after_the_gate_takes_the_swap_back(maria_database: str) -> None:
    """It fires no trigger: the rows that are gone would be there again."""
    prepare(maria_database, 50)
    shadow = Shadow(maria_database, [WIDEN])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    with connected(maria_database) as conn, conn.cursor() as cursor:
        cursor.execute("truncate table orders")
        cursor.execute("insert into orders (id) values (1)")
    with pytest.raises(GateError, match="no trigger saw them go"):
        shadow.forward(Phase.SWAP)
    assert not is_big(maria_database)
    shadow.back()


def test_a_trigger_that_is_made_while_a_rollback_waits_is_not_dropped(maria_database: str) -> None:
    """The gate has not seen it, and the RENAME takes it along; also where nobody lived to look."""
    prepare(maria_database, 20)
    shadow = Shadow(maria_database, [WIDEN])
    plan = shadow.begin()
    shadow.forward(*BEFORE_SWAP, Phase.SWAP)
    step = next(step for step in plan.steps if step.key == "swap/all")
    made = "create trigger later before delete on orders for each row set @gone = old.id"
    with connected(maria_database, autocommit=False) as reader, reader.cursor() as reading:
        reading.execute("select count(*) from orders")
        left = [made]

        def between() -> None:
            reader.rollback()
            run(maria_database, *left)
            left.clear()

        with pytest.raises(GateError, match="the trigger later was made on the new orders since") as refused:
            shadow.engine.revert(step, replace(shadow.journal(step, StepState.UNDONE), between=between))
    assert refused.value.hint
    assert is_big(maria_database)
    assert isinstance(step.action, SelfCommitting)
    run(maria_database, *step.action.inverse)
    with pytest.raises(GateError, match="the trigger later"):
        shadow.revert(step)
    run(maria_database, "drop trigger later")
    shadow.back()
