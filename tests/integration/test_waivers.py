"""Somebody answers for a check: for that one, of that plan, until that moment, on record."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from tasks.ledger.anchor import anchor_head
from tasks.ledger.fencing import take_over
from tasks.ledger.gates import last_gate, record_gate
from tasks.ledger.install import install
from tasks.ledger.state import create, replace_plan
from tasks.ledger.verify import verify
from tasks.ledger.waivers import lapsed, waive, waivers, with_waivers
from tasks.model.errors import StateError
from tasks.model.status import CheckResult, GateResult
from tests.integration.ledger_samples import a_plan

M = "widen_ids"
DIGEST = a_plan().digest
LATER = datetime.now(UTC) + timedelta(hours=1)
FAILED = CheckResult(name="a", passed=False, evaluated=True, unexpected=3)
UNKNOWN = CheckResult(name="b", passed=False, evaluated=False)


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as conn:
        install(conn)
        create(conn, a_plan(), "local", "ana")
        yield conn


def gate(*checks: CheckResult) -> GateResult:
    return GateResult(gate="before_swap", checks=checks)


def answer(conn: psycopg.Connection, check: str = "a", person: str = "Grace", until: datetime = LATER) -> None:
    waive(conn, M, DIGEST, "before_swap", check, person, "known, harmless", until)


def test_a_waived_check_lets_the_gate_pass(conn: psycopg.Connection) -> None:
    assert not with_waivers(conn, M, DIGEST, gate(FAILED)).passed
    answer(conn)
    result = with_waivers(conn, M, DIGEST, gate(FAILED))
    assert result.passed
    assert [check.verdict for check in result.checks] == ["WAIVED"]
    assert result.checks[0].waiver == f"Grace until {LATER:%Y-%m-%d %H:%M} UTC: known, harmless"
    assert not result.checks[0].passed


def test_what_could_not_be_evaluated_is_nobodys_to_waive(conn: psycopg.Connection) -> None:
    answer(conn, "b")
    result = with_waivers(conn, M, DIGEST, gate(UNKNOWN, FAILED.model_copy(update={"name": "c"})))
    assert [check.verdict for check in result.checks] == ["NOT EVALUATED", "FAILED"]
    assert UNKNOWN.model_copy(update={"waiver": "Grace"}).verdict == "NOT EVALUATED"


@pytest.mark.parametrize("elsewhere", ["another check", "another gate", "another plan"])
def test_it_is_for_one_check_of_one_gate_of_one_plan(conn: psycopg.Connection, elsewhere: str) -> None:
    answer(conn)
    result = gate(FAILED)
    digest = DIGEST
    if elsewhere == "another check":
        result = gate(FAILED.model_copy(update={"name": "A"}))
    elif elsewhere == "another gate":
        result = GateResult(gate="after_swap", checks=(FAILED,))
    else:
        digest = a_plan(M, "expand/t/c").digest
        replace_plan(conn, a_plan(M, "expand/t/c"), "local", "ana")
    assert not with_waivers(conn, M, digest, result).passed


def test_it_ends(conn: psycopg.Connection) -> None:
    """By itself; or when the same is said again with a moment that has passed. The swap looks once more."""
    answer(conn)
    assert waivers(conn, M, DIGEST, "before_swap", LATER - timedelta(seconds=1))
    assert not waivers(conn, M, DIGEST, "before_swap", LATER)
    passed = with_waivers(conn, M, DIGEST, gate(FAILED))
    assert lapsed(conn, M, DIGEST, passed) == ()
    answer(conn, until=datetime.now(UTC) - timedelta(seconds=1))
    assert lapsed(conn, M, DIGEST, passed) == ("a",)
    assert not with_waivers(conn, M, DIGEST, gate(FAILED)).passed


@pytest.mark.parametrize("person", ["ana", " ANA ", "otto", ""])
def test_neither_the_author_nor_the_executor_nor_nobody(conn: psycopg.Connection, person: str) -> None:
    take_over(conn, M, "r", executor="Otto")
    with pytest.raises(StateError):
        answer(conn, person=person)
    assert waivers(conn, M, DIGEST, "before_swap", datetime.now(UTC)) == {}


def test_a_reason_and_the_present_plan_are_needed(conn: psycopg.Connection) -> None:
    with pytest.raises(StateError, match="a person and a reason"):
        waive(conn, M, DIGEST, "before_swap", "a", "Grace", "  ", LATER)
    with pytest.raises(StateError, match="the plan is"):
        waive(conn, M, "0" * 64, "before_swap", "a", "Grace", "why", LATER)
    with pytest.raises(ValueError, match="time zone"):
        waive(conn, M, DIGEST, "before_swap", "a", "Grace", "why", LATER.replace(tzinfo=None))


def test_it_stands_in_the_audit_log(conn: psycopg.Connection, tmp_path: Path) -> None:
    epoch = take_over(conn, M, "r", executor="otto")
    answer(conn)
    with conn.transaction():
        record_gate(conn, M, epoch, with_waivers(conn, M, DIGEST, gate(FAILED)), 0)
    known = last_gate(conn, M, "before_swap")
    assert known is not None
    assert known.passed
    said = conn.execute("select actor, action, detail from changeover.audit order by seq desc limit 2").fetchall()
    assert said[1][:2] == ("Grace", "waive")
    assert said[1][2]["reason"] == "known, harmless"
    assert said[0][2]["waived"] == "a"
    assert said[0][2]["failed"] == ""
    anchor_head(conn, tmp_path)
    assert verify(conn, tmp_path).ok
