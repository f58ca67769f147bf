"""Fixtures: real servers for the session, a database for each test."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing.context import ForkServerContext
from pathlib import Path

import hypothesis
import pytest

from tests.acceptance.forked import Forked
from tests.legs import EVERY_LEG
from tests.servers import mariadb as maria
from tests.servers import mongodb as mongo
from tests.servers import prefect
from tests.servers.forking import fork_server
from tests.servers.pgbouncer import running_pgbouncer
from tests.servers.postgres import OWN_SERVER, PostgresServer, fresh_database, server
from validations.context import context

_PREFECT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
}


def pytest_configure(config: pytest.Config) -> None:
    """Give Prefect, which reads the environment on import, a home of this process's own."""
    home = tempfile.mkdtemp(prefix="changeover-prefect-")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    os.environ.update(_PREFECT, PREFECT_HOME=home)
    # How long an example takes says more about the machine than about what is tested.
    hypothesis.settings.register_profile("changeover", deadline=None)
    hypothesis.settings.load_profile("changeover")
    # A shell without job control gives its background jobs, and so the children of tests, SIGINT ignored.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only `make every` walks."""
    if not EVERY_LEG:
        left_out = [item for item in items if item.get_closest_marker("every_leg")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_report_header() -> str:
    """Say which PostgreSQL the tests use."""
    return f"postgresql: {OWN_SERVER}" if os.environ.get(OWN_SERVER) else "postgresql: embedded 18, 16"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """PostgreSQL 18, or the server that CHANGEOVER_TEST_POSTGRES_URL names; one per xdist worker."""
    with server() as running:
        yield running


@pytest.fixture(scope="session")
def postgres16() -> Iterator[PostgresServer]:
    """PostgreSQL 16."""
    with server(16) as running:
        yield running


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """URL of a fresh database."""
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture
def database16(postgres16: PostgresServer) -> Iterator[str]:
    """URL of a fresh database on PostgreSQL 16."""
    with fresh_database(postgres16) as url:
        yield url


@pytest.fixture
def new_database(postgres: PostgresServer) -> Iterator[Callable[[], str]]:
    """Make fresh databases, as many as a test asks for; gives their URLs."""
    with ExitStack() as made:
        yield lambda: made.enter_context(fresh_database(postgres))


@pytest.fixture(scope="session")
def mariadb() -> Iterator[maria.MariaServer]:
    """MariaDB, or the server that CHANGEOVER_TEST_MARIADB_URL names; one per xdist worker."""
    with maria.server() as running:
        yield running


@pytest.fixture
def maria_database(mariadb: maria.MariaServer) -> Iterator[str]:
    """URL of a fresh database on MariaDB."""
    with maria.fresh_database(mariadb) as url:
        yield url


@pytest.fixture(scope="session")
def mongodb() -> Iterator[mongo.MongoServer]:
    """MongoDB, or the server that CHANGEOVER_TEST_MONGODB_URL names; one per xdist worker."""
    with mongo.server() as running:
        yield running


@pytest.fixture
def documents(mongodb: mongo.MongoServer) -> Iterator[str]:
    """URL of a fresh database on MongoDB."""
    with mongo.fresh_database(mongodb) as url:
        yield url


@pytest.fixture
def pooled(database: str) -> Iterator[str]:
    """URL of `database` through PgBouncer in transaction mode."""
    with running_pgbouncer(database) as url:
        yield url


@pytest.fixture(scope="session")
def prefect_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first Prefect server of all xdist workers leaves a copy of its empty database."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "prefect-made.db"


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory, prefect_made: Path) -> Iterator[prefect.PrefectApi]:
    """The Prefect server of this session, which may still be starting: 4 to 8 s."""
    with prefect.running(tmp_path_factory.mktemp("prefect"), made=prefect_made) as api:
        yield api


@pytest.fixture(scope="session")
def prefect_server(prefect_api: prefect.PrefectApi) -> Iterator[str]:
    """URL of the Prefect server, against which the flows of this process run (1 s a flow)."""
    # By this thread: what it warns of while it is imported by another one is an error of whichever test runs.
    with context():
        pass
    prefect.await_api(prefect_api)
    with prefect.used(prefect_api):
        yield prefect_api.url


@pytest.fixture(scope="session")
def forking(prefect_api: prefect.PrefectApi, tmp_path_factory: pytest.TempPathFactory) -> ForkServerContext:
    """What forks processes that have imported everything, and talk to the Prefect server."""
    context = fork_server(prefect_api.url, tmp_path_factory.mktemp("prefect-home"))
    prefect.await_api(prefect_api)
    return context


@pytest.fixture(scope="session")
def forked(forking: ForkServerContext) -> Forked:
    """What runs commands of `changeover` against the Prefect server of the session."""
    return Forked(forking)
