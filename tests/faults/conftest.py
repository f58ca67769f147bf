"""A template database for all fault tests, and what starts runs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from tests.faults.runs import Runs
from tests.faults.shop import Shop, template
from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="session")
def runs(forking: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Starts runs that talk to the Prefect server."""
    return Runs(forking, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def shop_template(postgres: PostgresServer) -> Iterator[str]:
    """Name of a database with the shop in it."""
    with template(postgres) as name:
        yield name


@pytest.fixture
def shops(postgres: PostgresServer, shop_template: str, runs: Runs, tmp_path: Path) -> Iterator[Callable[[], Shop]]:
    """Make shops, each a database of its own."""
    with ExitStack() as made:
        yield lambda: made.enter_context(Shop.copy_of(shop_template, postgres, runs, tmp_path))


@pytest.fixture
def shop(shops: Callable[[], Shop]) -> Shop:
    """One shop."""
    return shops()
