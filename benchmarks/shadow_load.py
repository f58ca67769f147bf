"""What applications feel while a table of PostgreSQL is made anew: by us, and by one statement."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import specs
from benchmarks.felt import IDLE, OURS, Began, Load, felt, idle, results
from benchmarks.result import Result, Sizes
from benchmarks.server import copy, template
from benchmarks.surroundings import Surroundings

NAMES = ("shadow_p99", "shadow_stall", "shadow_failed")


def measure(place: Surroundings, sizes: Sizes) -> list[Result]:
    """Make a table anew in each way, once, under the same load."""
    spec = specs.write(place.folder, "shadow_load", specs.REBUILD, strategy="shadow_table")
    ways: dict[str, Callable[[str], Began]] = {
        IDLE: lambda _: idle(),
        OURS: lambda url: through_flow(place, url, spec),
        "one insert ... select": _one_statement,
    }
    found = {}
    with template(place.postgres, sizes.rows, indexed=True) as name:
        for way, does in ways.items():
            with copy(place.postgres, name) as url:
                load = Load(partial(_session, url), sizes.rows)
                found[way] = felt(load, place.postgres.pid, partial(does, url))
    return results(NAMES, found, sizes)


def through_flow(place: Surroundings, url: str, spec: Path) -> Began:
    """Make a table anew by our flow, and tell when each part of it began."""
    here = replace(place, environment={**place.environment, specs.URL: url})
    # What Python loads before is not felt, and would thin out what is.
    return [(name, at) for name, at in here.migrate("shadow", spec, place.folder / "benchmark.toml")["parts"]]


@contextmanager
def _session(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as conn:
        yield conn


def _one_statement(url: str) -> Began:
    began = time.monotonic()
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("create table copied (like orders including all)")
        conn.execute("insert into copied overriding system value select * from orders")
    return [("statement", began)]
