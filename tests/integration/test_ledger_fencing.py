"""Fencing: one run at a time, without shards waiting for each other and without waiting for ever."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial

import psycopg
import pytest

from tasks.ledger import audit
from tasks.ledger.approvals import approve
from tasks.ledger.controls import set_control
from tasks.ledger.cursors import advance, create_cursors, cursors
from tasks.ledger.fencing import fence, take_over
from tasks.ledger.gates import record_gate
from tasks.ledger.install import install
from tasks.ledger.state import create, summary
from tasks.ledger.steps import begin_step, finish_step
from tasks.ledger.transitions import transition
from tasks.ledger.verify import verify
from tasks.model.errors import DataChanged, FencedError, StateError, StepError
from tasks.model.status import GateResult, MigrationState, StepState
from tests.integration.ledger_samples import a_plan, at_once, wait_for_a_waiter

M, STEP = "widen_ids", "expand/t/a"


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as conn:
        install(conn)
        create(conn, a_plan(), "local", "ana")
        yield conn


def test_each_run_raises_the_epoch_and_signs(conn: psycopg.Connection) -> None:
    assert take_over(conn, M, "run 1", executor="ana", flow_run_id="f1") == 1
    assert take_over(conn, M, "run 2", executor="ben") == 2
    record = summary(conn, M)
    assert (record.epoch, record.run_id, record.flow_run_id, record.executor) == (2, "run 2", None, "ben")
    newest = audit.head(conn)
    assert newest is not None
    assert (newest.action, newest.actor, newest.detail) == ("take over", "ben", {"epoch": 2, "run": "run 2"})


def test_many_that_take_over_at_once_get_an_epoch_each(conn: psycopg.Connection, database: str) -> None:
    epochs: list[int] = []

    def work() -> None:
        with psycopg.connect(database, autocommit=True) as own:
            epochs.append(take_over(own, M, "run", executor="ana"))

    assert at_once(*[work] * 6) == []
    assert sorted(epochs) == [1, 2, 3, 4, 5, 6]


def test_the_present_run_passes_and_learns_its_executor(conn: psycopg.Connection) -> None:
    epoch = take_over(conn, M, "run", executor="ana")
    with conn.transaction():
        assert fence(conn, M, epoch) == "ana"


@pytest.mark.parametrize(
    "act",
    [
        lambda conn: fence(conn, M, 1),
        lambda conn: begin_step(conn, M, 1, STEP),
        lambda conn: finish_step(conn, M, 1, STEP, StepState.DONE),
        lambda conn: transition(conn, M, 1, MigrationState.RUNNING),
        lambda conn: record_gate(conn, M, 1, GateResult(gate="before_swap", checks=()), 0),
    ],
    ids=["fence", "begin", "finish", "transition", "gate"],
)
def test_the_run_before_cannot_do_anything(
    conn: psycopg.Connection, act: Callable[[psycopg.Connection], object]
) -> None:
    take_over(conn, M, "run 1", executor="ana")
    take_over(conn, M, "run 2", executor="ben")
    head = audit.head(conn)
    with pytest.raises(FencedError, match="epoch 1, the migration 2") as caught, conn.transaction():
        act(conn)
    assert caught.value.changed is DataChanged.ROLLED_BACK
    assert audit.head(conn) == head


def test_a_run_from_the_future_is_fenced_too(conn: psycopg.Connection) -> None:
    """As after a restore of the database, while a run goes on."""
    with pytest.raises(FencedError), conn.transaction():
        fence(conn, M, 7)


def test_taking_over_waits_for_a_batch_in_flight(conn: psycopg.Connection, database: str) -> None:
    epoch = take_over(conn, M, "run 1", executor="ana")
    create_cursors(conn, M, STEP, [(None, ("900",))])
    seen: list[object] = []

    def successor() -> None:
        with psycopg.connect(database, autocommit=True) as own:
            take_over(own, M, "run 2", executor="ben")
            seen.extend(cursor.position for cursor in cursors(own, M, STEP))

    with psycopg.connect(database) as orphan:
        fence(orphan, M, epoch)
        thread = threading.Thread(target=successor)
        thread.start()
        wait_for_a_waiter(conn)
        assert summary(conn, M).epoch == 1
        advance(orphan, M, STEP, 0, ("100",), 100, 100)
        orphan.commit()
        thread.join()
        assert seen == [("100",)]
        with pytest.raises(FencedError):
            fence(orphan, M, epoch)


def test_a_batch_that_comes_while_another_takes_over_is_fenced(conn: psycopg.Connection, database: str) -> None:
    """It waits behind the one who takes over, and must then see the epoch as it is after the wait."""
    epoch = take_over(conn, M, "run 1", executor="ana")
    late: list[BaseException] = []

    def orphan() -> None:
        with psycopg.connect(database) as own:
            own.execute("select 1")
            late.extend(at_once(partial(fence, own, M, epoch)))

    with psycopg.connect(database) as successor:
        take_over(successor, M, "run 2", executor="ben")
        thread = threading.Thread(target=orphan)
        thread.start()
        wait_for_a_waiter(conn)
        successor.commit()
        thread.join()
    assert [type(error) for error in late] == [FencedError]


def test_a_takeover_that_is_rolled_back_fences_nobody(conn: psycopg.Connection, database: str) -> None:
    epoch = take_over(conn, M, "run 1", executor="ana")
    with psycopg.connect(database) as successor:
        take_over(successor, M, "run 2", executor="ben")
        successor.rollback()
    with conn.transaction():
        fence(conn, M, epoch)


def test_a_killed_orphan_lets_go(conn: psycopg.Connection, database: str) -> None:
    epoch = take_over(conn, M, "run 1", executor="ana")
    create_cursors(conn, M, STEP, [(None, ("900",))])
    with closing(psycopg.connect(database)) as orphan:
        fence(orphan, M, epoch)
        advance(orphan, M, STEP, 0, ("100",), 100, 100)
        conn.execute("select pg_terminate_backend(%s, 10000)", (orphan.info.backend_pid,))
        assert take_over(conn, M, "run 2", executor="ben") == 2
    (cursor,) = cursors(conn, M, STEP)
    assert (cursor.position, cursor.rows) == (None, 0)


def test_shards_do_not_wait_for_each_other(conn: psycopg.Connection, database: str) -> None:
    epoch = take_over(conn, M, "run", executor="ana")
    create_cursors(conn, M, STEP, [(None, ("1",)), (("1",), ("2",))])
    with psycopg.connect(database) as one, psycopg.connect(database) as two:
        two.execute("set lock_timeout = '50ms'")
        for shard, own in enumerate((one, two)):
            fence(own, M, epoch)
            advance(own, M, STEP, shard, ("1",), 1, 1)
        # Nor does the state of the migration wait for them.
        conn.execute("set lock_timeout = '50ms'")
        transition(conn, M, epoch, MigrationState.RUNNING)
        two.commit()
        one.commit()
    assert [cursor.rows for cursor in cursors(conn, M, STEP)] == [1, 1]


def test_other_migrations_are_not_held_up(conn: psycopg.Connection, database: str) -> None:
    create(conn, a_plan("other"), "local", "ana")
    epoch = take_over(conn, M, "run", executor="ana")
    with psycopg.connect(database) as batch:
        fence(batch, M, epoch)
        conn.execute("set lock_timeout = '50ms'")
        assert take_over(conn, "other", "run", executor="ana") == 1


def test_taking_over_is_not_starved_by_shards_that_overlap(conn: psycopg.Connection, database: str) -> None:
    """With row locks it would be: shares are granted past a waiting update for as long as any is held."""
    epoch = take_over(conn, M, "run 1", executor="ana")
    fenced: list[int] = []

    def shard(number: int) -> None:
        with psycopg.connect(database) as own:
            try:
                while True:
                    fence(own, M, epoch)
                    time.sleep(0.05)
                    own.commit()
            except FencedError:
                fenced.append(number)

    threads = [threading.Thread(target=shard, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    conn.execute("set lock_timeout = '5s'")
    began = time.monotonic()
    take_over(conn, M, "run 2", executor="ben")
    waited = time.monotonic() - began
    for thread in threads:
        thread.join()
    assert sorted(fenced) == list(range(6))
    assert waited < 2


def test_the_wait_is_bounded_by_lock_timeout(conn: psycopg.Connection, database: str) -> None:
    epoch = take_over(conn, M, "run 1", executor="ana")
    with psycopg.connect(database) as batch:
        fence(batch, M, epoch)
        conn.execute("set lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            take_over(conn, M, "run 2", executor="ben")
    assert summary(conn, M).epoch == 1


def test_a_fence_that_would_not_hold_is_refused(conn: psycopg.Connection) -> None:
    epoch = take_over(conn, M, "run", executor="ana")
    with pytest.raises(StepError, match="needs an open transaction"):
        fence(conn, M, epoch)
    with conn.transaction():
        conn.execute("set transaction isolation level repeatable read")
        with pytest.raises(StepError, match="read committed"):
            fence(conn, M, epoch)


def test_an_unknown_migration_is_named(conn: psycopg.Connection) -> None:
    with pytest.raises(StateError, match="knows no migration 'x'"):
        take_over(conn, "x", "run", executor="ana")
    with pytest.raises(StateError, match="knows no migration 'x'"), conn.transaction():
        fence(conn, "x", 1)


def test_all_that_writes_to_the_ledger_at_once_never_deadlocks(conn: psycopg.Connection, database: str) -> None:
    """Also while some of it holds the strongest lock on a table that the rest wants to write."""
    conn.execute("create table t (id int primary key, n int); insert into t values (1, 0)")
    take_over(conn, M, "run", executor="ana")
    transition(conn, M, 1, MigrationState.RUNNING)
    create_cursors(conn, M, STEP, [(None, ("1",))])

    def with_lock(own: psycopg.Connection, epoch: int) -> None:
        fence(own, M, epoch)
        own.execute("lock table t in access exclusive mode")
        own.execute("alter table t alter n set default 1")
        finish_step(own, M, epoch, STEP, StepState.DONE)
        transition(own, M, epoch, MigrationState.RUNNING)

    def batch(own: psycopg.Connection, epoch: int) -> None:
        fence(own, M, epoch)
        own.execute("update t set n = n + 1")
        advance(own, M, STEP, 0, ("1",), 1, 1)

    def people(own: psycopg.Connection, epoch: int) -> None:
        set_control(own, M, "pause", epoch, "ben")
        approve(own, M, a_plan().digest, "cleo")

    def successor(own: psycopg.Connection, epoch: int) -> None:
        take_over(own, M, "next", executor="dan")

    def repeat(act: Callable[[psycopg.Connection, int], None]) -> None:
        with psycopg.connect(database, autocommit=True) as own:
            for _ in range(25):
                with suppress(FencedError), own.transaction():
                    act(own, summary(own, M).epoch)

    acts = (with_lock, with_lock, batch, batch, people, people, successor)
    assert at_once(*(partial(repeat, act) for act in acts)) == []
    assert summary(conn, M).epoch == 26
    assert verify(conn, None).ok
