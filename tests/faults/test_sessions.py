"""Sessions ended, servers restarted and crashed in the middle: tried again, or resumed; nothing lost."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tasks.engines.postgresql.embedded import EmbeddedPostgres, start
from tests.faults.runs import Runs
from tests.faults.sessions import Terminator
from tests.faults.shop import RESUMABLE, Shop, assert_untroubled, load
from tests.legs import EVERY_LEG, TIMES

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("seed", range(1, 1 + TIMES))
def test_sessions_of_ours_are_ended(seed: int, shop: Shop) -> None:
    with shop.application() as application:
        run = shop.start()
        shop.await_phase(run, "expand")
        with Terminator(shop.url, seed=seed, limit=8) as terminator:
            if (outcome := run.wait()).exit_code != 0:
                assert outcome.said.get("type") in RESUMABLE, str(outcome)
            tries = 1 + shop.until_complete(tries=12)
        shop.assert_complete()
        assert terminator.ended
        shop.complete("rollback")
        shop.assert_rolled_back()
    assert_untroubled(application.report)
    print(f"{tries} runs, ended: {terminator.ended}")


@pytest.fixture
def durable(runs: Runs, tmp_path: Path) -> Iterator[tuple[EmbeddedPostgres, Shop]]:
    """A server with fsync on, of this test's own, with the shop in its only database."""
    with start(durable=True) as server:
        with psycopg.connect(server.url, autocommit=True) as conn:
            load(conn)
        yield server, Shop.at(server.url, runs, tmp_path)


def _restart(server: EmbeddedPostgres) -> None:
    server.restart()


def _crash(server: EmbeddedPostgres) -> None:
    server.kill()
    time.sleep(0.5)
    server.restart()


@pytest.mark.parametrize(
    ("disturb", "phases"),
    [
        (_crash, ("backfill",)),
        (_restart, ("swap",)),
        *(
            [(_crash, ("index", "constrain", "swap")), (_restart, ("backfill", "index", "constrain"))]
            if EVERY_LEG
            else []
        ),
    ],
)
def test_the_server_goes_away(
    disturb: Callable[[EmbeddedPostgres], None], phases: tuple[str, ...], durable: tuple[EmbeddedPostgres, Shop]
) -> None:
    server, shop = durable
    # The application connects again, as applications do; what it could not write, it did not write to the twin.
    with shop.application():
        for phase in phases:
            run = shop.start()
            shop.await_phase(run, phase)
            disturb(server)
            outcome = run.wait()
            assert outcome.exit_code == 0 or outcome.said.get("type") in RESUMABLE, str(outcome)
        shop.until_complete(tries=2)
        shop.assert_complete()
        run = shop.start("rollback")
        time.sleep(1.0)
        disturb(server)
        run.wait()
        if shop.state() != "rolled back":
            shop.complete("rollback")
        shop.assert_rolled_back()


def test_a_paused_run_is_fenced(shop: Shop) -> None:
    """Its sessions stay open and hold the tables: nobody else may begin. Once they are ended, it is out for good."""
    with shop.application() as application:
        first = shop.start()
        shop.await_phase(first, "backfill")
        first.signal(signal.SIGSTOP)
        try:
            refused = shop.start().wait()
            assert (refused.exit_code, refused.said["type"]) == (2, "ConcurrentRunError"), str(refused)
            assert "another run holds" in refused.said["what"]
            assert "changeover " in refused.said["what"]
            assert refused.said["hint"]
            shop.ask(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                " where application_name like 'changeover % guard' and datname = current_database()"
            )
            shop.complete()
            shop.assert_complete()
            audited = shop.ask("select count(*) from changeover.audit")
            steps = shop.steps()
        finally:
            first.signal(signal.SIGCONT)
        fenced = first.wait()
        assert (fenced.exit_code, fenced.said["type"]) == (1, "FencedError"), str(fenced)
        assert shop.steps() == steps
        assert shop.ask("select count(*) from changeover.audit") == audited
        shop.assert_complete()
    assert_untroubled(application.report)
