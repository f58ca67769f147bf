"""A server of Prefect beside the migrating process, as in production, and the processes that migrate."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import specs
from tasks.engines.postgresql.embedded import EmbeddedPostgres, free_port
from tasks.engines.postgresql.watchdog import Watchdog

_PATIENCE = 180.0
_QUIET = {"DO_NOT_TRACK": "1", "GX_ANALYTICS_ENABLED": "false", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
# As Prefect starts the server of its own ephemeral mode: no pages to build, no services that look for late runs.
_SERVER = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where the benchmarks take place."""

    folder: Path
    postgres: EmbeddedPostgres
    environment: Mapping[str, str]
    """Of the processes that migrate."""
    server_start: float
    """Seconds until Prefect's server answered."""

    def migrate(self, what: str, *arguments: object) -> dict[str, Any]:
        """Run `python -m benchmarks.migrating` and return what it prints; raises CalledProcessError."""
        return self.run("benchmarks.migrating", what, *arguments)

    def run(self, module: str, *arguments: object, more: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Run a module and return what it prints; `more` is added to its environment. Raises CalledProcessError."""
        command = [sys.executable, "-m", module, *map(str, arguments)]
        environment = {**self.environment, **(more or {})}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
        printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return printed


@contextmanager
def surroundings(postgres: EmbeddedPostgres) -> Iterator[Surroundings]:
    """Start Prefect's server and give the place; leaves no process and no file, even after SIGKILL."""
    watchdog = Watchdog()
    try:
        folder = watchdog.folder(Path(tempfile.gettempdir()), prefix="changeover-benchmarks-")
        address = f"127.0.0.1:{free_port()}"
        home = {"PREFECT_HOME": str(folder), "PREFECT_PROFILES_PATH": str(folder / "profiles.toml")}
        started = time.perf_counter()
        _start_prefect(watchdog, folder, address, home)
        specs.write_profile(folder)
        yield Surroundings(
            folder=folder,
            postgres=postgres,
            environment={
                **os.environ,
                **_QUIET,
                **home,
                "PREFECT_API_URL": f"http://{address}/api",
                "PREFECT_LOGGING_LEVEL": "ERROR",
                "PYTHONWARNINGS": "ignore",
            },
            server_start=time.perf_counter() - started,
        )
    finally:
        watchdog.release()


def _start_prefect(watchdog: Watchdog, folder: Path, address: str, home: Mapping[str, str]) -> None:
    host, _, port = address.partition(":")
    command = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
    environment = {**_QUIET, **_SERVER, **home, "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    log = folder / "prefect.log"
    with log.open("ab") as output:
        options = ["--host", host, "--port", port, "--log-level", "error"]
        server = watchdog.spawn(command + options, output=output, environment=environment, ending=signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"http://{address}/api/health"):
            return
        time.sleep(0.1)
    raise RuntimeError("Prefect's server did not start:\n" + log.read_text(errors="replace")[-2000:])
