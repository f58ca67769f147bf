"""`kill -9` at any moment, then run again: complete, nothing lost, doubled or stale; and the way back the same."""

import random
import time
from collections.abc import Callable

import pytest

from examples.demo.application import Application
from tests.faults.runs import Runs
from tests.faults.shop import Shop, assert_untroubled
from tests.legs import EVERY_LEG, SEED, kills
from tests.servers.postgres import PostgresServer

ENDINGS = ("rollback", "contract", "rollback half way")

pytestmark = pytest.mark.timeout(600)
Durations = dict[str, float]


@pytest.fixture(scope="session")
def durations(
    postgres: PostgresServer, shop_template: str, runs: Runs, tmp_path_factory: pytest.TempPathFactory
) -> Durations:
    """Seconds of an undisturbed run, rollback and contract, with the application alive."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with Shop.copy_of(shop_template, postgres, runs, folder) as shop, shop.application() as application:
        found = {"run": shop.complete().seconds}
        shop.assert_complete()
        found["rollback"] = shop.complete("rollback").seconds
        shop.assert_rolled_back()
        shop.complete()
        application.deploy("new")
        found["contract"] = shop.complete("contract").seconds
        shop.assert_contracted()
    assert_untroubled(application.report)
    print(found)
    return found


@pytest.mark.parametrize("number", range(kills(100 if EVERY_LEG else 2)))
def test_killed_at_random(number: int, shops: Callable[[], Shop], durations: Durations) -> None:
    dice = random.Random(SEED * 100_003 + number)
    shop = shops()
    with shop.application() as application:
        ending = ENDINGS[number % len(ENDINGS)]
        if ending == "rollback half way":
            _killed(shop, "run", dice.uniform(0.5, 0.95) * durations["run"], again=False)
            _back(shop, dice, durations)
        else:
            _killed(shop, "run", dice.uniform(0.0, 1.0) * durations["run"])
            shop.assert_complete()
            _contract(shop, application, dice, durations) if ending == "contract" else _back(shop, dice, durations)
    assert_untroubled(application.report)


@pytest.mark.parametrize("phase", ["backfill", "index", "constrain", "swap"])
def test_killed_in_a_phase(phase: str, shop: Shop) -> None:
    with shop.application() as application:
        run = shop.start()
        shop.await_phase(run, phase)
        assert run.kill()
        shop.complete()
        shop.assert_complete()
    assert_untroubled(application.report)


def _back(shop: Shop, dice: random.Random, durations: Durations) -> None:
    if not shop.state():
        assert shop.steps() == {}
        return
    _killed(shop, "rollback", dice.uniform(0.1, 1.0) * durations["rollback"])
    shop.assert_rolled_back()


def _contract(shop: Shop, application: Application, dice: random.Random, durations: Durations) -> None:
    application.deploy("new")
    _killed(shop, "contract", dice.uniform(0.1, 1.0) * durations["contract"])
    shop.assert_contracted()


def _killed(shop: Shop, command: str, after: float, *, again: bool = True) -> None:
    """Start a flow, kill it, and, unless it was faster, run it again."""
    run = shop.start(command)
    time.sleep(after)
    if run.kill() and again and shop.state() not in ("rolled back", "contracted"):
        shop.complete(command)
