"""A Prefect server of the tests' own, with its database where the tests can read it."""

import os
import shutil
import signal
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tasks.engines.postgresql.embedded import free_port
from tasks.engines.postgresql.watchdog import Watchdog

PATIENCE = 180.0
# As Prefect starts the server of its own ephemeral mode: no pages, no services that look for late runs.
_SERVER = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
# Half of what it does is to keep events and runs of tasks, which nobody looks at but who looks for secrets in them.
_FORGETFUL = {
    f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false"
    for service in ("TASK_RUN_RECORDER", "EVENT_PERSISTER", "TRIGGERS")
}


@dataclass(frozen=True, kw_only=True)
class PrefectApi:
    """A running server."""

    url: str
    home: Path
    """Its folder; `prefect.db` in it is its database."""
    made: Path | None
    """Where a copy of its database is kept before anything happens in it."""


@contextmanager
def running(folder: Path, *, made: Path | None = None, remembers: bool = False) -> Iterator[PrefectApi]:
    """Start a server on a free port; give it while it starts, see `await_api`.

    `made` is a database that another server has made, if it is there: to make one takes 5 s of a core.
    """
    watchdog = Watchdog()
    home = folder / "prefect-server"
    home.mkdir()
    if made is not None and made.exists():
        shutil.copyfile(made, home / "prefect.db")
    port = free_port()
    api = PrefectApi(url=f"http://127.0.0.1:{port}/api", home=home, made=made)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        **_SERVER,
        **({} if remembers else _FORGETFUL),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
    }
    application = "prefect.server.api.server:create_app"
    command = [sys.executable, "-m", "uvicorn", "--factory", application, "--host", "127.0.0.1", "--port", str(port)]
    try:
        with (home / "server.log").open("ab") as log:
            server = watchdog.spawn(
                [*command, "--log-level", "error"], output=log, environment=environment, ending=signal.SIGTERM
            )
        try:
            yield api
        finally:
            server.terminate()
            server.wait(30)
    finally:
        watchdog.release()


def await_api(api: PrefectApi) -> None:
    """Wait until the server answers, and keep a copy of its database, so that those to come need not make theirs."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{api.url}/health", timeout=5):
            return _keep(api)
        time.sleep(0.2)
    raise AssertionError(f"Prefect's server did not start: {(api.home / 'server.log').read_text()[-2000:]}")


def _keep(api: PrefectApi) -> None:
    if api.made is not None and not api.made.exists():
        unfinished = api.made.with_suffix(f".{os.getpid()}")
        with closing(sqlite3.connect(api.home / "prefect.db")) as its, closing(sqlite3.connect(unfinished)) as copy:
            its.backup(copy)
        unfinished.replace(api.made)


@contextmanager
def used(api: PrefectApi) -> Iterator[None]:
    """Run the flows of this process against the server, those of its other threads, too.

    As `prefect_test_harness` does, which starts a server of its own that nobody else can use.
    """
    from prefect.context import _temporary_global_settings_context, get_settings_context
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: api.url}),
        _temporary_global_settings_context(get_settings_context()),
    ):
        yield
        # What is still on its way would be refused, and said so, once the server has gone.
        APILogWorker.drain_all()
        EventsWorker.drain_all()
