"""One Prefect server, one process to fork runs from, and a template database for all fault tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.prefect_api import PrefectApi, await_api, prefect_api
from tests.faults.runs import Runs, fork_server
from tests.faults.shop import Shop, template
from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectApi]:
    """A Prefect server."""
    with prefect_api(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture(scope="session")
def runs(api: PrefectApi, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Starts runs that talk to the Prefect server."""
    folder = tmp_path_factory.mktemp("runs")
    context = fork_server(api.url, folder / "home")
    await_api(api)
    return Runs(context, folder)


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
