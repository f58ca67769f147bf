"""Commands of `changeover`, each in a process that is forked from one that has imported everything."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from pathlib import Path

OUTPUTS = ("stdout.txt", "stderr.txt")
PATIENCE = 240.0


class Forked:
    """Runs commands of `changeover`, one at a time, against the Prefect server of the session."""

    def __init__(self, context: ForkServerContext) -> None:
        self._context = context

    def run(
        self, arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in a folder, with nothing on its standard input."""
        process = self._context.Process(
            target=command, args=(list(arguments), str(folder), dict(environment)), daemon=True
        )
        process.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            process.join()
        out, err = ((folder / name).read_text() for name in OUTPUTS)
        assert process.exitcode is not None
        return subprocess.CompletedProcess(list(arguments), process.exitcode, out, err)


def command(arguments: Sequence[str], folder: str, environment: Mapping[str, str]) -> None:
    """Be the command line, and end this process with its exit code."""
    from prefect.logging.configuration import setup_logging

    from flows.cli import main
    from flows.commands.prefect_settings import prepare

    sys.argv = ["changeover", *arguments]
    code = 0
    with _redirected(folder, environment):
        try:
            # Prefect has been imported already, and set up its logging without asking how a command wants it.
            prepare(verbose=False)
            setup_logging(incremental=False)
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException:  # noqa: BLE001 - whatever it is, the test wants to see it
            import traceback

            traceback.print_exc()
            code = 70
    os._exit(code)


@contextmanager
def _redirected(folder: str, environment: Mapping[str, str]) -> Iterator[None]:
    os.setsid()
    os.chdir(folder)
    os.environ.update(environment)
    random.seed()  # all children would roll the dice of the process that they were forked from
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in enumerate(OUTPUTS, 1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    yield
    sys.stdout.flush()
    sys.stderr.flush()
