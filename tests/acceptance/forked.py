"""One process that has imported everything, and forks a child for each command that it is asked to run.

Importing Prefect and Great Expectations takes longer than most commands; what is tested here are the commands.
That a fresh interpreter does the same is tested where `Changeover` runs without a Prefect server.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]


class Forked:
    """Runs commands of `changeover`, one at a time, against one Prefect server."""

    def __init__(self, api: str) -> None:
        self.api = api
        environment = os.environ | {"PREFECT_API_URL": api, "PYTHONPATH": str(ROOT), "GX_ANALYTICS_ENABLED": "false"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.forked"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The end of its input is its end.
        self._process.communicate(timeout=60)

    def run(
        self, arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in a folder, with nothing on its standard input."""
        asked = {"arguments": list(arguments), "folder": str(folder), "environment": dict(environment)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        out, err = ((folder / name).read_text() for name in OUTPUTS)
        return subprocess.CompletedProcess(list(arguments), code, out, err)


PRELOAD = (
    "great_expectations.expectations.core",
    "sqlalchemy.dialects.postgresql.psycopg",
    "flows.expand_contract",
    "flows.contract",
    "flows.rollback",
)
OUTPUTS = ("stdout.txt", "stderr.txt")


@contextmanager
def _redirected(asked: Mapping[str, Any]) -> Iterator[None]:
    os.setsid()
    os.chdir(asked["folder"])
    os.environ.update(asked["environment"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in enumerate(OUTPUTS, 1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    yield
    sys.stdout.flush()
    sys.stderr.flush()


def _command(asked: Mapping[str, Any]) -> int:
    from flows.cli import main

    sys.argv = ["changeover", *asked["arguments"]]
    with _redirected(asked):
        try:
            main()
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else 1
        except BaseException:  # noqa: BLE001 - whatever it is, the test wants to see it
            import traceback

            traceback.print_exc()
            return 70
    return 0


def serve() -> None:
    """Import everything, then answer each line of standard input with an exit code."""
    from flows.commands.prefect_settings import prepare

    prepare(verbose=False)
    for module in PRELOAD:
        importlib.import_module(module)

    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            answers.close()
            os._exit(_command(json.loads(line)))
        _, status = os.waitpid(child, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


if __name__ == "__main__":
    serve()
