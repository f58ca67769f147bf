"""What a run costs beyond its statements."""

from contextlib import ExitStack
from statistics import median

import psycopg

from benchmarks import specs
from benchmarks.result import Result, Sizes, spread
from benchmarks.server import template
from benchmarks.surroundings import Surroundings

NAMES = ("overhead",)
ROWS = 1000
_SECONDS = 3.0


def measure(place: Surroundings, sizes: Sizes) -> list[Result]:
    """Migrate a small table through the flow, and by the bare statements of the plan, in turns in one process."""
    spec = specs.write(place.folder, "overhead", specs.ADD, specs.WIDEN)
    with ExitStack() as stack:
        name = stack.enter_context(template(place.postgres, ROWS))
        server = stack.enter_context(psycopg.connect(place.postgres.url, autocommit=True))
        urls = []
        for number in range(2 * (sizes.rounds + 1)):
            server.execute(f"create database overhead_{number} template {name}".encode())
            urls.append(place.postgres.url_of(f"overhead_{number}"))
        found = place.migrate("overhead", spec, place.folder / "benchmark.toml", *urls)
        for number in range(len(urls)):
            server.execute(f"drop database overhead_{number} with (force)".encode())
    beyond = [flow - bare for flow, bare in zip(found["flows"], found["statements"], strict=True)]
    return [
        Result(
            name="overhead",
            measured=round(median(beyond), 2),
            goal=_SECONDS,
            unit="s",
            detail=f"{ROWS:,} rows, {sizes.rounds} rounds in a warm process; the flow {spread(found['flows'])}, the "
            f"statements of its plan and gates alone {spread(found['statements'])}. Apart: imports "
            f"{found['imports']:.1f} s, the first flow of a process {found['first']:.1f} s, Prefect's server "
            f"{place.server_start:.1f} s to start",
        )
    ]
