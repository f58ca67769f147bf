"""Sessions ended, servers restarted and crashed in the middle: tried again, or resumed; nothing lost."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tasks.engines.postgresql.embedded import EmbeddedPostgres, start
from tests.faults.runs import Run, Runs
from tests.faults.sessions import Terminator
from tests.faults.shop import Shop, assert_untroubled, load

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("seed", [1, 2])
def test_sessions_of_ours_are_ended(seed: int, shop: Shop) -> None:
    with shop.application() as application:
        with Terminator(shop.url, seed=seed, limit=40) as terminator:
            tries = shop.until_complete(tries=12)
        shop.assert_complete()
        assert len(terminator.ended) >= 5
        shop.complete("rollback")
        shop.assert_rolled_back()
    assert_untroubled(application.report)
    print(f"{tries} runs, ended: {terminator.ended}")
