"""What the demo needs around it: a database, a Prefect server, a folder; all of it gone when the demo is gone."""

import os
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from tasks.engines.postgresql.embedded import free_port, start
from tasks.engines.postgresql.watchdog import Watchdog
from tasks.model.errors import PreflightError

OPERATOR = "demo-operator"
REVIEWER = "demo-reviewer"
"""Who approves: neither the author nor the operator."""

_URL = "CHANGEOVER_DEMO_URL"
_PATIENCE = 120.0
"""Seconds for Prefect's server to start: it takes nine on a quiet machine."""
_PROFILE = f"""
name = "demo"
evidence = {{evidence}}
approvals = 1
approval_wait = 120.0
on_failure = "keep"

[databases.main]
url_env = "{_URL}"
"""
_QUIET = {
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
# As Prefect starts the server of its own ephemeral mode: no pages to build, no services that look for late runs.
_SERVER = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where the demo takes place."""

    folder: Path
    url: str
    """Of the database."""
    prefect_url: str
    evidence: Path
    profile: Path


@contextmanager
def surroundings() -> Iterator[tuple[Surroundings, Callable[[], None]]]:
    """Start PostgreSQL, begin to start Prefect, and yield the place and what waits until Prefect answers.

    Leaves no process and no file, even after SIGKILL. Sets environment variables that Prefect reads when it is
    first imported, and restores them at the end. Raises PreflightError.
    """
    watchdog = Watchdog()
    try:
        folder = watchdog.folder(Path(tempfile.gettempdir()), prefix="changeover-demo-")
        with start() as postgres:
            port = free_port()
            place = Surroundings(
                folder=folder,
                url=postgres.url,
                prefect_url=f"http://127.0.0.1:{port}/api",
                evidence=folder / "evidence",
                profile=folder / "demo.toml",
            )
            place.profile.write_text(_PROFILE.format(evidence=_quoted(place.evidence)), encoding="utf-8")
            with _environment(place):
                server = _start_prefect(watchdog, folder, port)
                yield place, lambda: _await_prefect(server, place)
    finally:
        watchdog.release()


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


@contextmanager
def _environment(place: Surroundings) -> Iterator[None]:
    home = place.folder / "prefect"
    wanted = {
        **_QUIET,
        _URL: place.url,
        "CHANGEOVER_ACTOR": OPERATOR,
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_API_URL": place.prefect_url,
        # The screen belongs to the demo; whatever goes wrong comes back as an exception.
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _start_prefect(watchdog: Watchdog, folder: Path, port: int) -> "Popen[bytes]":
    home = folder / "prefect"
    home.mkdir()
    application = "prefect.server.api.server:create_app"
    command = [sys.executable, "-m", "uvicorn", "--factory", application, "--host", "127.0.0.1", "--port", str(port)]
    # Nothing of the user's environment: a server that the user has configured must not be touched.
    environment = {
        **_QUIET,
        **_SERVER,
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
    }
    with (folder / "prefect.log").open("ab") as log:
        return watchdog.spawn(
            [*command, "--log-level", "error"], output=log, environment=environment, ending=signal.SIGTERM
        )


def _await_prefect(server: "Popen[bytes]", place: Surroundings) -> None:
    deadline = time.monotonic() + _PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{place.prefect_url}/health", timeout=5):
            return
        time.sleep(0.1)
    tail = "\n".join((place.folder / "prefect.log").read_text(errors="replace").splitlines()[-5:])
    raise PreflightError(f"Prefect's server did not start: {tail}", hint="Remove the cause, then run the demo again.")
