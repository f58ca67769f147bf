"""The ledger on MariaDB: the same records, the same refusals, the same chain."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pymysql
import pytest

from tasks.engines.mysql.session import MariaSession, connect
from tasks.ledger import audit
from tasks.ledger.anchor import anchor_head
from tasks.ledger.approvals import approve, valid_approvals
from tasks.ledger.controls import clear_control, control, set_control
from tasks.ledger.cursors import CursorState, advance, create_cursors, cursors, finish_cursor, progress
from tasks.ledger.fencing import fence, take_over
from tasks.ledger.gates import count_rejections, last_gate, record_gate
from tasks.ledger.install import install, is_installed
from tasks.ledger.snapshots import load_snapshot, save_snapshot
from tasks.ledger.state import create, listing, load, replace_plan, summary
from tasks.ledger.steps import begin_step, finish_step, step_records
from tasks.ledger.transitions import transition
from tasks.ledger.verify import verify
from tasks.model.errors import FencedError, StateError, StepError
from tasks.model.status import CheckResult, GateResult, MigrationState, StepState
from tests.integration.ledger_samples import a_plan, at_once

M, STEP = "widen_ids", "expand/t/a"


@pytest.fixture
def conn(maria_database: str) -> Iterator[MariaSession]:
    with connect(maria_database) as conn:
        install(conn)
        create(conn, a_plan(), "local", "ana")
        yield conn


def reject(conn: MariaSession) -> None:
    """Record a write that could not be carried over, as a trigger does."""
    conn.execute(
        "insert into changeover_rejections (migration, table_name, direction, `sqlstate`)"
        " values (%s, 't', 'up', '22001')",
        (M,),
    )


def test_many_installers_make_one_ledger(maria_database: str) -> None:
    def work() -> None:
        with connect(maria_database) as own:
            install(own)

    assert at_once(*[work] * 4) == []
    with connect(maria_database) as conn:
        assert is_installed(conn)
        assert [audit.head(conn).action] == ["install ledger"]  # type: ignore[union-attr]
        assert verify(conn, None).ok


def test_a_migration_goes_its_whole_way(conn: MariaSession, tmp_path: Path) -> None:
    """Every function once, with what it gives back; at the end the chain holds, and its anchor."""
    epoch = take_over(conn, M, "run 1", executor="ana")
    transition(conn, M, epoch, MigrationState.RUNNING)
    assert begin_step(conn, M, epoch, STEP).attempts == 1
    with conn.transaction():
        fence(conn, M, epoch)
        made = create_cursors(conn, M, STEP, [(None, ("5",)), (("5",), ("é\\'", "9"))])
    assert [c.high for c in made] == [("5",), ("é\\'", "9")]
    with conn.transaction():
        fence(conn, M, epoch)
        advance(conn, M, STEP, 0, ("3",), 3, 50, batches=0)
    with pytest.raises(FencedError), conn.transaction():
        advance(conn, M, STEP, 0, ("3",), 3, 50, batches=0)
    finish_cursor(conn, M, STEP, 0)
    first = cursors(conn, M, STEP)[0]
    assert (first.position, first.rows, first.batches, first.batch_rows) == (("3",), 3, 1, 50)
    assert first.state is CursorState.DONE
    totals = progress(conn, M)[STEP]
    assert (totals.rows, totals.shards, totals.shards_done) == (3, 2, 1)
    finish_step(conn, M, epoch, STEP, StepState.DONE, {"rows": 3, "name": "é"})
    record = step_records(conn, M)[STEP]
    assert (record.state, record.detail) == (StepState.DONE, {"rows": 3, "name": "é"})
    set_control(conn, M, "pause", True, "ben")
    assert control(conn, M, "pause") is True
    assert clear_control(conn, M, "pause", "ben")
    assert save_snapshot(conn, M, "before", {"a": 1})
    assert not save_snapshot(conn, M, "before", {"a": 2})
    assert load_snapshot(conn, M, "before") == {"a": 1}
    digest = summary(conn, M).plan_digest
    approve(conn, M, digest, "ben", expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert [a.approver for a in valid_approvals(conn, M, digest, datetime.now(UTC))] == ["ben"]
    assert valid_approvals(conn, M, digest, datetime.now(UTC) + timedelta(hours=2)) == ()
    result = GateResult(gate="before_swap", checks=(CheckResult(name="c", passed=True, evaluated=True),))
    record_gate(conn, M, epoch, result, count_rejections(conn, M))
    found = last_gate(conn, M, "before_swap")
    assert found is not None
    assert found.result == result
    transition(conn, M, epoch, MigrationState.SWAPPED)
    assert load(conn, M).plan == a_plan()
    assert abs((listing(conn)[0].updated_at - datetime.now(UTC)).total_seconds()) < 60
    assert anchor_head(conn, tmp_path) is not None
    verdict = verify(conn, tmp_path)
    assert verdict.problems == ()
    assert verdict.records == 10


def test_rejections_of_an_earlier_attempt_do_not_count(conn: MariaSession) -> None:
    epoch = take_over(conn, M, "run 1", executor="ana")
    transition(conn, M, epoch, MigrationState.RUNNING)
    reject(conn)
    assert (count_rejections(conn, M), count_rejections(conn, M, direction="down")) == (1, 0)
    transition(conn, M, epoch, MigrationState.ROLLING_BACK)
    transition(conn, M, epoch, MigrationState.ROLLED_BACK)
    replace_plan(conn, a_plan(M, "expand/t/c"), "local", "ana")
    epoch = take_over(conn, M, "run 2", executor="ana")
    transition(conn, M, epoch, MigrationState.RUNNING)
    assert count_rejections(conn, M) == 0
    assert list(step_records(conn, M)) == ["expand/t/c"]


def test_a_newer_run_fences_an_older_one_off_and_waits_for_its_transaction(
    conn: MariaSession, maria_database: str
) -> None:
    old = take_over(conn, M, "run 1", executor="ana")
    taken: list[float] = []

    def newer() -> None:
        with connect(maria_database, lock_timeout_ms=10_000) as own:
            take_over(own, M, "run 2", executor="ben")
            taken.append(time.monotonic())

    thread = threading.Thread(target=newer)
    with conn.transaction(), connect(maria_database) as other, other.transaction():
        fence(conn, M, old)
        # Shards share it.
        fence(other, M, old)
        thread.start()
        time.sleep(0.3)
        assert taken == []
        committed = time.monotonic()
    thread.join()
    assert taken[0] >= committed
    with pytest.raises(FencedError), conn.transaction():
        fence(conn, M, old)
    with pytest.raises(StepError):
        fence(conn, M, old)


def test_appenders_make_a_line(conn: MariaSession, maria_database: str) -> None:
    def work() -> None:
        with connect(maria_database, lock_timeout_ms=20_000) as own:
            for _ in range(5):
                audit.append(own, "ana", "test", "x", "done", detail={"é\\": "'\""})

    assert at_once(*[work] * 4) == []
    verdict = verify(conn, None)
    assert verdict.problems == ()
    assert verdict.records == 22


@pytest.mark.parametrize("table", ["audit", "approvals", "gates", "rejections"])
def test_what_is_recorded_is_neither_changed_nor_deleted(conn: MariaSession, table: str) -> None:
    approve(conn, M, summary(conn, M).plan_digest, "ben")
    record_gate(conn, M, take_over(conn, M, "r", executor="ana"), GateResult(gate="g", checks=()), 0)
    reject(conn)
    with pytest.raises(pymysql.err.OperationalError, match="append-only"):
        conn.execute(f"delete from changeover_{table}")
    with pytest.raises(pymysql.err.OperationalError, match="append-only"):
        conn.execute(f"update changeover_{table} set at = at")


def test_an_edited_record_is_found(conn: MariaSession) -> None:
    conn.execute("drop trigger changeover_audit_u")
    conn.execute("update changeover_audit set actor = 'eve' where seq = 2")
    problems = verify(conn, None).problems
    assert any("record 2 was edited" in problem for problem in problems)
    assert any("append_only" in problem for problem in problems)
    with pytest.raises(pymysql.err.OperationalError, match="audit_hash"):
        conn.execute("update changeover_audit set body = '{}' where seq = 2")


def test_an_unknown_migration_is_named_with_what_there_is(conn: MariaSession) -> None:
    with pytest.raises(StateError, match="knows no migration 'widen_id'") as refused:
        load(conn, "widen_id")
    assert refused.value.hint == "Did you mean 'widen_ids'?"
