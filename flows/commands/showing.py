"""demo: the example that runs by itself."""

from importlib import import_module
from importlib.util import find_spec

import typer

from flows.commands.outcome import reported
from flows.commands.prefect_settings import prepare
from tasks.model.errors import Refused


def demo() -> None:
    """Run examples.demo.run."""
    with reported():
        if find_spec("examples") is None or find_spec("examples.demo.run") is None:
            raise Refused("the demo is not part of this installation", hint="Run it from a checkout of the project.")
        prepare(verbose=False)
        code = import_module("examples.demo.run").main()
        raise typer.Exit(code if isinstance(code, int) else 0)
