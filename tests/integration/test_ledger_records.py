"""Controls, approvals, gates, rejections and snapshots."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tasks.ledger import audit
from tasks.ledger.approvals import approve, decisions, valid_approvals
from tasks.ledger.controls import clear_control, control, set_control
from tasks.ledger.fencing import take_over
from tasks.ledger.gates import count_rejections, last_gate, record_gate
from tasks.ledger.install import install
from tasks.ledger.snapshots import load_snapshot, save_snapshot
from tasks.ledger.state import create, replace_plan
from tasks.ledger.transitions import transition
from tasks.ledger.verify import verify
from tasks.model.errors import StateError
from tasks.model.status import CheckResult, GateResult, MigrationState
from tests.integration.ledger_samples import a_plan

M = "widen_ids"
DIGEST = a_plan().digest
NOW = datetime(2026, 3, 8, 7, 30, tzinfo=UTC)
S = MigrationState


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as conn:
        install(conn)
        create(conn, a_plan(), "local", "ana")
        yield conn


def newest(conn: psycopg.Connection) -> audit.AuditRecord:
    record = audit.head(conn)
    assert record is not None
    return record


def reject(conn: psycopg.Connection, direction: str = "up", table: str = "public.t") -> None:
    conn.execute(
        """
        insert into changeover.rejections (migration, table_name, direction, sqlstate)
        values (%s, %s, %s, '22003')
        """,
        (M, table, direction),
    )


def gate(*passed: bool) -> GateResult:
    checks = tuple(
        CheckResult(name=f"check {n}", passed=ok, evaluated=True, message="id 4711", examples=("4711",))
        for n, ok in enumerate(passed)
    )
    return GateResult(gate="before_swap", checks=checks)


@pytest.mark.parametrize("value", [True, False, 0, 500, "until Monday ü"])
def test_a_control_is_what_was_set_last(conn: psycopg.Connection, value: str | int | bool) -> None:
    assert control(conn, M, "pause") is None
    set_control(conn, M, "pause", "first", "ana")
    set_control(conn, M, "pause", value, "ben")
    found = control(conn, M, "pause")
    assert found == value
    assert type(found) is type(value)
    assert newest(conn).actor == "ben"
    assert newest(conn).detail == {"control": "pause", "value": value}
    assert control(conn, M, "batch_rows") is None


def test_clearing_a_control_that_is_not_set_is_no_action(conn: psycopg.Connection) -> None:
    set_control(conn, M, "pause", True, "ana")
    assert clear_control(conn, M, "pause", "ben")
    assert control(conn, M, "pause") is None
    head = newest(conn)
    assert (head.action, head.actor) == ("clear control", "ben")
    assert not clear_control(conn, M, "pause", "ben")
    assert newest(conn) == head


def test_unknown_migrations_have_no_controls_and_no_approvals(conn: psycopg.Connection) -> None:
    for act in (
        lambda: set_control(conn, "x", "pause", True, "ana"),
        lambda: clear_control(conn, "x", "pause", "ana"),
        lambda: approve(conn, "x", DIGEST, "ben"),
    ):
        with pytest.raises(StateError, match="knows no migration 'x'"):
            act()


def test_an_approval_is_recorded_and_audited(conn: psycopg.Connection) -> None:
    until = datetime(2026, 3, 8, 3, 30, tzinfo=UTC) + timedelta(hours=5)
    made = approve(conn, M, DIGEST, " Ben ", reason="read it", expires_at=until)
    assert (made.approver, made.expires_at) == ("Ben", until)
    assert valid_approvals(conn, M, DIGEST, NOW) == (made,)
    record = newest(conn)
    assert (record.action, record.actor, record.digest) == ("approve", "Ben", DIGEST)
    assert record.detail == {"reason": "read it", "expires": "2026-03-08T08:30:00+00:00"}


def test_approvals_end_when_they_expire(conn: psycopg.Connection) -> None:
    approve(conn, M, DIGEST, "ben", expires_at=NOW)
    approve(conn, M, DIGEST, "cleo", expires_at=NOW + timedelta(microseconds=1))
    approve(conn, M, DIGEST, "dan")
    assert [a.approver for a in valid_approvals(conn, M, DIGEST, NOW)] == ["cleo", "dan"]


def test_a_person_counts_once_with_the_latest_word(conn: psycopg.Connection) -> None:
    approve(conn, M, DIGEST, "ben")
    approve(conn, M, DIGEST, "cleo")
    approve(conn, M, DIGEST, "BEN ")
    assert [a.approver for a in valid_approvals(conn, M, DIGEST, NOW)] == ["cleo", "BEN"]
    approve(conn, M, DIGEST, "Cleo", decision="reject", reason="not on a Friday")
    assert [a.approver for a in valid_approvals(conn, M, DIGEST, NOW)] == ["BEN"]
    assert [(a.approver, a.decision) for a in decisions(conn, M, DIGEST)] == [
        ("BEN", "approve"),
        ("Cleo", "reject"),
    ]
    approve(conn, M, DIGEST, "cleo")
    assert len(valid_approvals(conn, M, DIGEST, NOW)) == 2


def test_a_renewed_approval_that_has_expired_does_not_fall_back_to_an_older(conn: psycopg.Connection) -> None:
    approve(conn, M, DIGEST, "ben")
    approve(conn, M, DIGEST, "ben", expires_at=NOW - timedelta(days=1))
    assert valid_approvals(conn, M, DIGEST, NOW) == ()


def test_only_the_present_plan_is_approved(conn: psycopg.Connection) -> None:
    approve(conn, M, DIGEST, "ben")
    plan = a_plan(M, "expand/t/c")
    replace_plan(conn, plan, "local", "ana")
    assert valid_approvals(conn, M, plan.digest, NOW) == ()
    with pytest.raises(StateError, match=f"the plan is {plan.digest[:12]}, not {DIGEST[:12]}"):
        approve(conn, M, DIGEST, "cleo")


def test_approvals_without_a_name_or_a_zone_are_refused(conn: psycopg.Connection) -> None:
    with pytest.raises(StateError, match="needs a name"):
        approve(conn, M, DIGEST, "  ")
    with pytest.raises(ValueError, match="time zone"):
        approve(conn, M, DIGEST, "ben", expires_at=datetime(2026, 3, 8))


@pytest.mark.parametrize("table", ["approvals", "gates", "rejections"])
def test_what_was_decided_cannot_be_changed(conn: psycopg.Connection, table: str) -> None:
    conn.execute("set session_replication_role = replica")
    for statement in (f"delete from changeover.{table}", f"truncate changeover.{table}"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"changeover.{table} is append-only"):
            conn.execute(statement)


def test_the_last_gate_counts(conn: psycopg.Connection) -> None:
    epoch = take_over(conn, M, "run", executor="ana")
    transition(conn, M, epoch, S.RUNNING)
    assert last_gate(conn, M, "before_swap") is None
    record_gate(conn, M, epoch, gate(True, False), 3)
    record_gate(conn, M, epoch, gate(True, True), 4)
    last = last_gate(conn, M, "before_swap")
    assert last is not None
    assert (last.passed, last.rejections, last.epoch) == (True, 4, epoch)
    assert last.result == gate(True, True)
    assert last_gate(conn, M, "after_swap") is None


def test_gates_are_audited_without_what_they_found(conn: psycopg.Connection) -> None:
    epoch = take_over(conn, M, "run", executor="ana")
    record_gate(conn, M, epoch, gate(False, True, False), 3)
    record = newest(conn)
    assert (record.subject, record.outcome, record.actor) == (f"{M}: before_swap", "failed", "ana")
    assert record.detail == {"epoch": 1, "checks": 3, "failed": "check 0, check 2", "rejections": 3}
    record_gate(conn, M, epoch, GateResult(gate="before_swap", checks=()), 0)
    assert newest(conn).outcome == "failed"
    assert "4711" not in str(conn.execute("select string_agg(body, '') from changeover.audit").fetchone())


def test_gates_and_rejections_of_an_attempt_that_was_rolled_back_do_not_count(
    conn: psycopg.Connection,
) -> None:
    epoch = take_over(conn, M, "run", executor="ana")
    transition(conn, M, epoch, S.RUNNING)
    reject(conn)
    record_gate(conn, M, epoch, gate(True), 1)
    epoch = take_over(conn, M, "resumed", executor="ana")
    transition(conn, M, epoch, S.RUNNING)
    assert last_gate(conn, M, "before_swap") is not None
    assert count_rejections(conn, M) == 1
    transition(conn, M, epoch, S.ROLLING_BACK)
    transition(conn, M, epoch, S.ROLLED_BACK)

    epoch = take_over(conn, M, "again", executor="ana")
    transition(conn, M, epoch, S.RUNNING)
    assert last_gate(conn, M, "before_swap") is None
    assert count_rejections(conn, M) == 0
    reject(conn)
    assert count_rejections(conn, M) == 1


def test_a_gate_of_another_plan_does_not_count(conn: psycopg.Connection) -> None:
    epoch = take_over(conn, M, "run", executor="ana")
    record_gate(conn, M, epoch, gate(True), 0)
    assert last_gate(conn, M, "before_swap") is not None
    replace_plan(conn, a_plan(M, "expand/t/c"), "local", "ana")
    assert last_gate(conn, M, "before_swap") is None


def test_rejections_are_counted_by_direction_and_table(conn: psycopg.Connection) -> None:
    for direction, table in (("up", "public.t"), ("up", "public.u"), ("down", "public.t")):
        reject(conn, direction, table)
    assert count_rejections(conn, M) == 3
    assert count_rejections(conn, M, direction="up") == 2
    assert count_rejections(conn, M, table="public.t") == 2
    assert count_rejections(conn, M, direction="down", table="public.u") == 0
    assert count_rejections(conn, "x") == 0


def test_a_rejection_locks_no_row_of_the_ledger(conn: psycopg.Connection, database: str) -> None:
    """Applications write them, in transactions of any length."""
    with psycopg.connect(database) as application:
        reject(application)
        with conn.transaction(force_rollback=True):
            conn.execute("set local lock_timeout = '50ms'")
            conn.execute("lock table changeover.migrations in access exclusive mode")


def test_the_first_snapshot_wins(conn: psycopg.Connection) -> None:
    facts = {"n": 2**70, "text": "a\x00ü", "list": [None, True, 1.5], "z": 1, "a": 2}
    assert load_snapshot(conn, M, "facts") is None
    assert save_snapshot(conn, M, "facts", facts)
    assert not save_snapshot(conn, M, "facts", {"after": True})
    found = load_snapshot(conn, M, "facts")
    assert found == facts
    assert list(found) == list(facts)
    assert save_snapshot(conn, M, "facts", {"after": True}, replace=True)
    assert load_snapshot(conn, M, "facts") == {"after": True}


def test_a_whole_life_leaves_a_log_that_verifies(conn: psycopg.Connection) -> None:
    epoch = take_over(conn, M, "run", executor="ana")
    for state in (S.RUNNING, S.AWAITING_APPROVAL, S.RUNNING, S.SWAPPED, S.COMPLETE, S.CONTRACTING, S.CONTRACTED):
        transition(conn, M, epoch, state)
    verdict = verify(conn, None)
    assert verdict.ok
    assert verdict.records == 1 + 1 + 1 + 7
