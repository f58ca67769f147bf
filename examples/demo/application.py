"""An application that keeps writing to `orders`, in its own process.

By hand: `python -m examples.demo.application --url-env DATABASE_URL --rate 200 --out report.json`, and
`kill -USR1` to bring out the version that writes first_name and last_name, `kill -TERM` to end it.
From Python: `Application(url).start()`, `deploy("new")`, `stop()`. The process ends by itself when its parent
does, and after `seconds` at the latest.
"""

import argparse
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import psycopg

from examples.demo.report import ApplicationReport
from examples.demo.service import Service, Settings
from examples.demo.workload import Columns

_ROOT = Path(__file__).parents[2]
_URL = "DEMO_APPLICATION_URL"
_SIGNALS: dict[Columns, signal.Signals] = {"new": signal.SIGUSR1, "old": signal.SIGUSR2}


class ApplicationError(Exception):
    """The application process did not start, or did not do what it was told in time."""


class Application:
    """The application process, seen from the one that started it.

    `rate` counts operations a second, over all workers; `nulls` is the share of names written as NULL;
    `prepare` says whether the driver prepares statements. As a context manager it starts on entry and is
    stopped on exit.
    """

    def __init__(
        self,
        url: str,
        *,
        rate: float = 200.0,
        workers: int = 4,
        seconds: float = 600.0,
        seed: int = 7,
        columns: Columns = "old",
        prepare: bool = True,
        nulls: float = 0.05,
        name: str = "demo-app",
        out: Path | None = None,
    ):
        self._url = url
        self._out = out.resolve() if out else None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        options = {
            **{"rate": rate, "workers": workers, "seconds": seconds, "seed": seed, "columns": columns},
            **{"nulls": nulls, "name": name},
        }
        self._options = [f"--{key}={value}" for key, value in options.items()]
        self._options.append("--prepare" if prepare else "--no-prepare")
        self._process: subprocess.Popen[str] | None = None
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._report: ApplicationReport | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._report is None:
            self.stop()

    @property
    def pid(self) -> int:
        """Process id of the application."""
        return self._running().pid

    @property
    def report(self) -> ApplicationReport:
        """The report, once it has stopped."""
        if self._report is None:
            raise ApplicationError("the application has not been stopped yet")
        return self._report

    def start(self, timeout: float = 30.0) -> Self:
        """Start the process; return when it is connected and its schedule runs."""
        if self._out is None:
            self._folder = tempfile.TemporaryDirectory(prefix="demo-application-")
            self._out = Path(self._folder.name) / "report.json"
        own = [f"--url-env={_URL}", f"--out={self._out}", f"--parent={os.getpid()}"]
        # The URL has a password, and an argument list is there for everyone on the machine to read.
        environment = {**os.environ, _URL: self._url}
        command = [sys.executable, "-m", "examples.demo.application", *own, *self._options]
        # A session of its own: Ctrl-C at the terminal is for the parent, which then stops it in good order.
        self._process = subprocess.Popen(
            command,
            cwd=_ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()
        try:
            self._await("started", timeout)
        except ApplicationError:
            self._end_process()
            raise
        return self

    def deploy(self, columns: Columns, timeout: float = 30.0) -> float:
        """Bring out the version that writes these columns, while it runs.

        Return the time (seconds since the epoch) from which no worker runs the other version any more.
        """
        self._running().send_signal(_SIGNALS[columns])
        while True:
            event = self._await("deployed", timeout)
            if event["columns"] == columns:
                return float(event["at"])

    def stop(self, timeout: float = 30.0) -> ApplicationReport:
        """End the process and return its report; calling it again returns the same report."""
        if self._report is not None:
            return self._report
        process = self._running()
        if self._out is None:
            raise ApplicationError("the application has not been started")
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(timeout)
            if code != 0:
                raise ApplicationError(f"the application ended with exit code {code}: see its standard error")
            self._report = ApplicationReport.read(self._out)
        except subprocess.TimeoutExpired:
            raise ApplicationError(f"the application did not end within {timeout:g} s") from None
        finally:
            self._end_process()
        return self._report

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None:
            raise ApplicationError("the application has not been started")
        return self._process

    def _listen(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                self._events.put(json.loads(line))
        self._events.put(None)

    def _await(self, name: str, timeout: float) -> dict[str, Any]:
        while True:
            try:
                event = self._events.get(timeout=timeout)
            except queue.Empty:
                raise ApplicationError(f"the application said nothing of {name!r} in {timeout:g} s") from None
            if event is None:
                raise ApplicationError(f"the application ended before {name!r}: see its standard error")
            if event["event"] == name:
                return event

    def _end_process(self) -> None:
        process = self._running()
        process.kill()
        process.wait()
        if self._folder is not None:
            self._folder.cleanup()


def _settings(arguments: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m examples.demo.application", description=__doc__)
    parser.add_argument("--url-env", required=True, help="name of the variable that holds the URL")
    parser.add_argument("--rate", type=float, default=200.0, help="operations a second, over all workers")
    parser.add_argument("--workers", type=int, default=4, help="connections")
    parser.add_argument("--seconds", type=float, default=600.0, help="end after this time at the latest")
    parser.add_argument("--seed", type=int, default=7, help="of the dice")
    parser.add_argument("--out", type=Path, required=True, help="file of the report")
    parser.add_argument("--columns", choices=["old", "new"], default="old", help="version of the application")
    parser.add_argument("--nulls", type=float, default=0.05, help="share of the names written that are NULL")
    parser.add_argument("--name", default="demo-app", help="beginning of application_name")
    parser.add_argument("--prepare", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--parent", type=int, default=os.getppid(), help="end with this process")
    given = vars(parser.parse_args(arguments))
    variable = given.pop("url_env")
    url = os.environ.get(variable)
    if not url:
        parser.error(f"the environment variable {variable} is not set")
    return Settings(url=url, **given)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the application in this process."""
    # Else a thread that has its answer waits up to 5 ms for its turn, and calls that latency.
    sys.setswitchinterval(0.0005)
    try:
        service = Service(_settings(arguments))
    except psycopg.Error as error:
        sys.stderr.write(f"the application cannot start: {type(error).__name__} {error.sqlstate or ''}\n")
        return 1
    return service.run()


if __name__ == "__main__":
    sys.exit(main())
