"""Sessions in the way: applications wait no longer than the budget, the run says for whom it waits, and goes on."""

import time

import pytest

from examples.demo.latency import LockSampler
from tests.faults.runs import Run
from tests.faults.sessions import holding
from tests.faults.shop import LIMITS, Shop, assert_untroubled, write_profile
from tests.legs import EVERY_LEG

pytestmark = pytest.mark.timeout(300)
HELD = 30.0 if EVERY_LEG else 6.0
"""Seconds for which somebody holds something."""
BUDGET_MS = 300.0
SLACK_MS = 250.0
"""One short transaction of ours, and what a busy machine takes to tell a waiter that the lock is free."""


def _until_named(run: Run, name: str, seconds: float = 60.0) -> str:
    """Wait until the log of a run says that it waits for the session of this name; return the line."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not run.ended:
        for line in run.log.splitlines():
            if "waits" in line and name in line:
                return line
        time.sleep(0.1)
    raise AssertionError(f"never said that it waits for {name}:\n{run.log[-4000:]}")


def _watched(shop: Shop, name: str, statement: str, command: str = "run") -> tuple[LockSampler, Run]:
    """Let a session hold what the statement takes, for HELD seconds beside a run; return what applications felt."""
    with LockSampler(shop.url, interval_ms=10) as sampler:
        with holding(shop.url, name, statement) as session:
            started = time.monotonic()
            run = shop.start(command)
            line = _until_named(run, name)
            assert f"pid {session.info.backend_pid}" in line, line
            time.sleep(max(0.0, HELD - (time.monotonic() - started)))
            assert not run.ended, str(run.wait())
        outcome = run.wait()
        assert outcome.exit_code == 0, str(outcome)
    return sampler, run


def _assert_short(sampler: LockSampler) -> None:
    assert sampler.samples > 100
    longest = sampler.longest(blocked_by="changeover")
    assert longest is None or longest.ms < BUDGET_MS + SLACK_MS, sampler.waits()[:5]


def test_a_reader_holds_the_table(shop: Shop) -> None:
    """As pg_dump does: ACCESS SHARE for as long as it takes."""
    with shop.application() as application:
        sampler, _ = _watched(shop, "pg_dump-of-the-night", "lock table orders in access share mode")
        shop.assert_complete()
        _assert_short(sampler)
        sampler, _ = _watched(shop, "another-dump", "select count(*) from orders", "rollback")
        shop.assert_rolled_back()
        _assert_short(sampler)
    assert_untroubled(application.report)


def test_a_row_is_locked_while_the_backfill_comes(shop: Shop) -> None:
    """Idle in transaction, with a row in the way of the backfill."""
    with shop.application() as application, LockSampler(shop.url, interval_ms=10) as sampler:
        run = shop.start()
        shop.await_phase(run, "dual_write")
        with holding(shop.url, "forgotten-update", "update orders set note = note where id = 15001"):
            time.sleep(HELD)
            assert not run.ended, str(run.wait())
            assert 0 < shop.ask("select sum(rows) from changeover.cursors") < 20_000
            # Half of the rows are behind other keys: the other shard has gone on.
            assert shop.steps("backfill") != {}
        outcome = run.wait()
        assert outcome.exit_code == 0, str(outcome)
        shop.assert_complete()
    _assert_short(sampler)
    assert_untroubled(application.report)


def test_an_old_snapshot_keeps_the_index_build_waiting(shop: Shop) -> None:
    """On a table that has nothing to do with ours: the build says so, gives up in time, and a later run goes on."""
    write_profile(shop.profile, limits={**LIMITS, "snapshot_age": 3.0})
    with shop.application() as application:
        with LockSampler(shop.url, interval_ms=10) as sampler:
            with holding(
                shop.url,
                "analyst-over-lunch",
                "set transaction isolation level repeatable read",
                "select count(*) from currencies",
            ) as session:
                run = shop.start()
                _until_named(run, "analyst-over-lunch")
                outcome = run.wait()
                assert outcome.exit_code == 1, str(outcome)
                assert outcome.said["code"] == "LOCK", str(outcome)
                assert f"pid {session.info.backend_pid}" in outcome.said["what"]
                assert outcome.said["hint"]
                assert shop.ask("select count(*) from pg_index where not indisvalid") == 0
            shop.complete()
            shop.assert_complete()
        _assert_short(sampler)
    assert_untroubled(application.report)
