"""Runs as processes: started, killed, stopped, waited for."""

import json
import os
import secrets
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from tests.faults import driver


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended."""

    exit_code: int
    """Negative: the signal that ended it."""
    said: Mapping[str, str]
    """State, or code, what, where, hint and changed of the error."""
    log: str
    seconds: float

    @property
    def state(self) -> str:
        """State of the migration when all went well."""
        return self.said.get("state", "")

    def __str__(self) -> str:
        return f"exit {self.exit_code} after {self.seconds:.1f} s: {dict(self.said)}\n{self.log[-6000:]}"


class Run:
    """One process."""

    def __init__(self, process: ForkServerProcess, folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._started = time.monotonic()

    @property
    def pid(self) -> int:
        """Process id, and id of the process group."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has written so far."""
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def ended(self) -> bool:
        """It is no longer there."""
        return self._process.exitcode is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and all that it started."""
        if not self.ended:
            os.killpg(self.pid, number)

    def kill(self) -> bool:
        """Kill it; return whether it was still there."""
        there = not self.ended
        if there:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                # It has not become a leader yet.
                os.kill(self.pid, signal.SIGKILL)
        self._process.join(30)
        return there and self._process.exitcode == -signal.SIGKILL

    def wait(self, seconds: float = 120.0) -> Outcome:
        """Wait for its end; a run that does not end is killed and an error."""
        self._process.join(seconds)
        if not self.ended:
            self.kill()
            raise AssertionError(f"the run did not end within {seconds:g} s:\n{self.log[-6000:]}")
        written = self._folder / "outcomes.json"
        said = json.loads(written.read_text())[-1] if written.exists() else {}
        code = self._process.exitcode
        assert code is not None
        return Outcome(exit_code=code, said=said, log=self.log, seconds=time.monotonic() - self._started)


class Runs:
    """Starts runs, each in a process forked from one that has imported everything."""

    def __init__(self, context: ForkServerContext, folder: Path) -> None:
        self._context = context
        self._folder = folder

    def start(self, command: str, migration: str | Path, profile: Path, url: str, **environment: str) -> Run:
        """Start a run against the database of this URL."""
        folder = self._folder / f"run-{secrets.token_hex(4)}"
        folder.mkdir()
        arguments = [str(profile), str(folder / "outcomes.json"), f"{command}={migration}"]
        given = {"CHANGEOVER_URL": url, "CHANGEOVER_ACTOR": "fault-suite", **environment}
        process = self._context.Process(target=driver.child, args=(arguments, given, str(folder / "log")), daemon=True)
        process.start()
        return Run(process, folder)

    def complete(self, command: str, migration: str | Path, profile: Path, url: str) -> Outcome:
        """Run to the end and expect that it went well."""
        outcome = self.start(command, migration, profile, url).wait()
        assert outcome.exit_code == 0, str(outcome)
        return outcome
