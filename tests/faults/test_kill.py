"""`kill -9` at any moment, then run again: complete, nothing lost, doubled or stale; and the way back the same."""

import os
import random
import time
from collections.abc import Callable

import pytest

from tests.faults.runs import Run
from tests.faults.shop import Shop, assert_untroubled

RUNS = int(os.environ.get("CHANGEOVER_FAULT_RUNS", "10"))
SEED = int(os.environ.get("CHANGEOVER_FAULT_SEED", "20"))

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session")
def durations() -> dict[str, float]:
    """Seconds of an undisturbed run, rollback and contract; measured by the first test."""
    return {}


def _finish(shop: Shop, command: str, kill_after: float) -> None:
    run = shop.start(command)
    time.sleep(kill_after)
    run.kill()
    if shop.state() not in ("rolled back", "contracted"):
        shop.complete(command)


def test_undisturbed(shops: Callable[[], Shop]) -> None:
    shop = shops()
    with shop.application() as application:
        print("up", shop.complete().seconds)
        shop.assert_complete()
        print("back", shop.complete("rollback").seconds)
        shop.assert_rolled_back()
        print("up", shop.complete().seconds)
        print("contract", shop.complete("contract").seconds)
    shop.assert_contracted()
    assert_untroubled(application.report)
