"""Steps and cursors: they tell exactly what was committed, however the work ended."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC
from functools import partial

import psycopg
import pytest

from tasks.ledger import audit
from tasks.ledger.cursors import CursorState, advance, create_cursors, cursors, finish_cursor, progress
from tasks.ledger.fencing import fence, take_over
from tasks.ledger.install import install
from tasks.ledger.state import create
from tasks.ledger.steps import begin_step, finish_step, step_records
from tasks.ledger.verify import verify
from tasks.model.errors import FencedError, StateError
from tasks.model.status import StepState
from tests.integration.ledger_samples import a_plan, at_once

M, STEP, OTHER = "widen_ids", "expand/t/a", "expand/t/b"


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as conn:
        install(conn)
        create(conn, a_plan(), "local", "ana")
        take_over(conn, M, "run", executor="ana")
        yield conn


def test_a_step_goes_there_and_back(conn: psycopg.Connection) -> None:
    begun = begin_step(conn, M, 1, STEP)
    assert (begun.state, begun.attempts, begun.finished_at) == (StepState.RUNNING, 1, None)
    begin_step(conn, M, 1, STEP)
    finish_step(conn, M, 1, STEP, StepState.DONE, {"rows": 7, "names": ["a"]})
    done = step_records(conn, M)[STEP]
    assert (done.state, done.attempts, done.detail) == (StepState.DONE, 2, {"rows": 7, "names": ["a"]})
    assert done.started_at is not None
    assert done.finished_at is not None
    assert done.started_at <= done.finished_at
    assert done.started_at.tzinfo is UTC
    assert step_records(conn, M)[OTHER].state is StepState.PENDING

    begin_step(conn, M, 1, STEP)
    assert step_records(conn, M)[STEP].detail == {"rows": 7, "names": ["a"]}
    finish_step(conn, M, 1, STEP, StepState.UNDONE)
    assert step_records(conn, M)[STEP].detail == {}
    assert step_records(conn, M)[STEP].state is StepState.UNDONE


def test_a_finished_step_is_audited_with_counts_and_no_more(conn: psycopg.Connection) -> None:
    finish_step(conn, M, 1, STEP, StepState.DONE, {"rows": 7, "last": "4711", "id": 4711})
    newest = audit.head(conn)
    assert newest is not None
    assert (newest.subject, newest.outcome, newest.actor) == (f"{M}: {STEP}", "done", "ana")
    assert newest.detail == {"epoch": 1, "rows": 7}


def test_what_a_step_does_and_its_entry_are_one(conn: psycopg.Connection, database: str) -> None:
    for ends in ("rollback", "kill"):
        with closing(psycopg.connect(database)) as own:
            begin_step(own, M, 1, STEP)
            own.execute("create table made ()")
            finish_step(own, M, 1, STEP, StepState.DONE)
            if ends == "kill":
                conn.execute("select pg_terminate_backend(%s, 10000)", (own.info.backend_pid,))
        assert step_records(conn, M)[STEP].state is StepState.PENDING
        assert conn.execute("select to_regclass('made')").fetchone() == (None,)
    assert verify(conn, None).ok


def test_beginning_takes_no_lock_of_the_audit_log(conn: psycopg.Connection, database: str) -> None:
    with psycopg.connect(database) as own:
        begin_step(own, M, 1, STEP)
        conn.execute("set lock_timeout = '50ms'")
        finish_step(conn, M, 1, OTHER, StepState.DONE)


def test_steps_that_are_not_in_the_plan_are_refused(conn: psycopg.Connection) -> None:
    for act in (
        lambda: begin_step(conn, M, 1, "x"),
        lambda: finish_step(conn, M, 1, "x", StepState.DONE),
        lambda: create_cursors(conn, M, "x", [(None, ("1",))]),
    ):
        with pytest.raises(StateError, match=r"no such step|no step 'x'"):
            act()
    for state in (StepState.PENDING, StepState.RUNNING):
        with pytest.raises(ValueError, match="done or undone"):
            finish_step(conn, M, 1, STEP, state)


def test_keys_come_back_as_they_were(conn: psycopg.Connection) -> None:
    low = ("9223372036854775807", "ü 😀", '"\\', "")
    high = ("1e400", "infinity", "null", " ")
    create_cursors(conn, M, STEP, [(low, high), (None, None)])
    advance(conn, M, STEP, 0, high, 3, 10)
    first, second = cursors(conn, M, STEP)
    assert (first.low, first.high, first.position) == (low, high, high)
    assert (second.low, second.high, second.position) == (None, None, None)


def test_cursors_count_batches_and_rows(conn: psycopg.Connection) -> None:
    create_cursors(conn, M, STEP, [(None, ("5",)), (("5",), ("9",))])
    assert [cursor.state for cursor in cursors(conn, M, STEP)] == [CursorState.PENDING] * 2
    advance(conn, M, STEP, 0, ("3",), 3_000_000_000, 1000)
    advance(conn, M, STEP, 0, ("5",), 3_000_000_000, 2000)
    finish_cursor(conn, M, STEP, 0)
    first, second = cursors(conn, M, STEP)
    assert (first.position, first.rows, first.batches, first.batch_rows) == (("5",), 6_000_000_000, 2, 2000)
    assert (first.state, second.state) == (CursorState.DONE, CursorState.PENDING)
    assert first.started_at is not None
    assert second.started_at is None
    total = progress(conn, M)[STEP]
    assert (total.rows, total.batches, total.shards, total.shards_done) == (6_000_000_000, 2, 2, 1)
    assert type(total.rows) is int


def test_a_pause_does_not_count_as_work(conn: psycopg.Connection) -> None:
    create_cursors(conn, M, STEP, [(None, ("9",))])
    advance(conn, M, STEP, 0, ("3",), 100, 10)
    conn.execute("update changeover.cursors set updated_at = updated_at - interval '1 day', started_at = null")
    advance(conn, M, STEP, 0, ("6",), 200, 10)
    total = progress(conn, M)[STEP]
    assert 29 < total.seconds < 35
    assert 8 < total.rate < 11


def test_totals_are_told_by_step_in_the_order_of_the_plan(conn: psycopg.Connection) -> None:
    assert progress(conn, M) == {}
    create_cursors(conn, M, OTHER, [(None, ("5",))])
    create_cursors(conn, M, STEP, [(None, ("5",))])
    assert list(progress(conn, M)) == [STEP, OTHER]


def test_a_run_that_resumes_keeps_the_ranges_of_the_first(conn: psycopg.Connection) -> None:
    create_cursors(conn, M, STEP, [(None, ("9",))])
    advance(conn, M, STEP, 0, ("4",), 4, 10)
    kept = create_cursors(conn, M, STEP, [(None, ("5",)), (("5",), ("12",))])
    assert [(cursor.high, cursor.position) for cursor in kept] == [(("9",), ("4",))]


def test_ranges_are_made_once_even_by_two_at_once(conn: psycopg.Connection, database: str) -> None:
    def work(high: str, shards: int) -> None:
        with psycopg.connect(database, autocommit=True) as own:
            create_cursors(own, M, STEP, [(None, (high,))] * shards)

    assert at_once(*(partial(work, str(n), n) for n in range(1, 6))) == []
    made = cursors(conn, M, STEP)
    assert {cursor.high for cursor in made} == {(str(len(made)),)}


def test_an_empty_table_has_no_cursors(conn: psycopg.Connection) -> None:
    assert create_cursors(conn, M, STEP, []) == ()


def test_undoing_a_step_forgets_its_cursors_and_no_others(conn: psycopg.Connection) -> None:
    for step in (STEP, OTHER):
        create_cursors(conn, M, step, [(None, ("9",))])
        advance(conn, M, step, 0, ("9",), 9, 10)
    finish_step(conn, M, 1, STEP, StepState.UNDONE)
    assert cursors(conn, M, STEP) == ()
    assert len(cursors(conn, M, OTHER)) == 1
    finish_step(conn, M, 1, OTHER, StepState.DONE)
    assert len(cursors(conn, M, OTHER)) == 1


def test_a_second_worker_of_the_same_run_is_noticed(conn: psycopg.Connection) -> None:
    create_cursors(conn, M, STEP, [(None, ("9",))])
    advance(conn, M, STEP, 0, ("3",), 3, 10, batches=0)
    with pytest.raises(FencedError, match="another worker"):
        advance(conn, M, STEP, 0, ("2",), 2, 10, batches=0)
    advance(conn, M, STEP, 0, ("6",), 3, 10, batches=1)
    assert cursors(conn, M, STEP)[0].position == ("6",)


@pytest.mark.parametrize("batches", [None, 0])
def test_a_cursor_that_is_gone_stops_the_shard(conn: psycopg.Connection, batches: int | None) -> None:
    with pytest.raises(StateError, match="no cursor for shard 0"):
        advance(conn, M, STEP, 0, ("1",), 1, 1, batches=batches)
    with pytest.raises(StateError, match="no cursor for shard 0"):
        finish_cursor(conn, M, STEP, 0)


@pytest.mark.parametrize("committed", [True, False])
def test_after_a_kill_rows_and_cursor_agree(conn: psycopg.Connection, database: str, committed: bool) -> None:
    conn.execute("create table filled (id int)")
    create_cursors(conn, M, STEP, [(None, ("9",))])
    with closing(psycopg.connect(database)) as shard:
        for last in (3, 6):
            fence(shard, M, 1)
            shard.execute("insert into filled select generate_series(%s::int, %s::int)", (last - 2, last))
            advance(shard, M, STEP, 0, (str(last),), 3, 10)
            if last == 3 or committed:
                shard.commit()
        conn.execute("select pg_terminate_backend(%s, 10000)", (shard.info.backend_pid,))
    (cursor,) = cursors(conn, M, STEP)
    assert cursor.position is not None
    assert conn.execute("select max(id), count(*) from filled").fetchone() == (
        int(cursor.position[0]),
        cursor.rows,
    )
    assert cursor.rows == (6 if committed else 3)


def test_batches_leave_the_index_of_the_cursors_alone(conn: psycopg.Connection) -> None:
    create_cursors(conn, M, STEP, [(None, ("9",))])
    for number in range(200):
        advance(conn, M, STEP, 0, (str(number),), 1, 1)
    size = conn.execute("select pg_relation_size('changeover.cursors'), pg_relation_size('changeover.cursors_pkey')")
    assert size.fetchone() == (8192, 16384)
