"""Run the command line as people do: another process, a profile, an environment."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.acceptance.forked import Forked
from tests.servers.forking import ROOT

AWAY = "http://127.0.0.1:1/api"


@dataclass(frozen=True, kw_only=True)
class Changeover:
    """The command line on one database, in a folder of its own."""

    folder: Path
    url: str
    forked: Forked | None = None
    """What runs the commands; unless given, a fresh interpreter does, and Prefect's server is away."""
    more: Mapping[str, str] = field(default_factory=dict)
    """Of the environment."""

    def profile(self, **settings: object) -> None:
        """Write the profile; it is called `test`."""
        lines = [
            'name = "test"',
            f"evidence = {json.dumps(str(self.folder / 'evidence'))}",
            *(f"{key} = {json.dumps(value)}" for key, value in settings.items()),
            "[databases.main]",
            'url_env = "TEST_URL"',
        ]
        (self.folder / "test.toml").write_text("\n".join(lines))

    def spec(self, name: str, *operations: dict[str, Any], **more: Any) -> str:
        """Write a spec, and return its path."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps({"migration": name, "operations": operations, **more}, indent=2))
        return str(path)

    def __call__(self, *arguments: str, actor: str = "ada", url: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a command, with nothing on its standard input."""
        environment = {
            "CHANGEOVER_PROFILE": str(self.folder / "test.toml"),
            "CHANGEOVER_ACTOR": actor,
            "TEST_URL": url or self.url,
            **self.more,
        }
        if self.forked is not None:
            return self.forked.run(arguments, folder=self.folder, environment=environment)
        return subprocess.run(
            [sys.executable, "-m", "flows", *arguments],
            cwd=self.folder,
            env=os.environ | environment | {"PREFECT_API_URL": AWAY, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def done(self, *arguments: str, actor: str = "ada") -> str:
        """Run a command that must succeed, and return what it printed on stdout."""
        result = self(*arguments, actor=actor)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def data(self, *arguments: str) -> Any:
        """Run a command with --json that must succeed, and return the object."""
        return json.loads(self.done(*arguments, "--json"))

    def query(self, question: str) -> list[tuple[Any, ...]]:
        """Ask the database."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            return conn.execute(question.encode()).fetchall()


def last_line(result: "subprocess.CompletedProcess[str]") -> str:
    """Return the last line of the errors."""
    return result.stderr.rstrip().splitlines()[-1]
