"""How long a bloated table takes to be made anew while applications may write: by us, and by pg_repack."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit, urlunsplit

import psycopg

from benchmarks import specs
from benchmarks.result import Result, Sizes, ratio, spread
from benchmarks.server import copy, template
from benchmarks.surroundings import Surroundings

NAMES = ("shadow_repack",)
_SERVER = "PG_REPACK"
"""The environment variable with the URL of a server that has the extension, and on which databases may be made."""
_GOAL = 2.0


@dataclass(frozen=True)
class _Own:
    """A server that somebody else has started."""

    url: str

    def url_of(self, database: str) -> str:
        """Give the URL of another database on it."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{database}"))


def measure(place: Surroundings, sizes: Sizes) -> list[Result]:
    """Make a table anew of which half is dead rows, in turns; nothing where pg_repack is missing."""
    url, program = os.environ.get(_SERVER), shutil.which("pg_repack")
    if not (url and program):
        return []
    spec = specs.write(place.folder, "shadow_repack", specs.REBUILD, strategy="shadow_table")
    ours: list[float] = []
    theirs: list[float] = []
    server = _Own(url)
    with template(server, sizes.rows, indexed=True) as name:
        _bloat(server.url_of(name))
        for number in range(sizes.rounds):
            for mine in (True, False) if number % 2 == 0 else (False, True):
                with copy(server, name) as table, _smaller(table):
                    (ours if mine else theirs).append(_ours(place, table, spec) if mine else _theirs(program, table))
    detail = (
        f"{sizes.rows:,} rows, as many dead ones, a second index, {sizes.rounds} rounds, wall: ours, with dual write, "
        f"comparison of both tables and gates {spread(ours)}; pg_repack {spread(theirs)}"
    )
    return [Result(name=NAMES[0], measured=ratio(ours, theirs), goal=_GOAL, unit="x", detail=detail)]


def _bloat(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("update orders set quantity = quantity + 1")
        conn.execute("analyze orders")
        conn.execute("create extension pg_repack")


@contextmanager
def _smaller(url: str) -> Iterator[None]:
    """See to it that what is measured has done its work."""
    before = _pages(url)
    yield
    if not _pages(url) < 0.7 * before:
        raise RuntimeError("the table is as large as before")


def _pages(url: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute("select pg_relation_size('orders')").fetchone()
        return int(row[0]) if row else 0


def _ours(place: Surroundings, url: str, spec: Path) -> float:
    here = replace(place, environment={**place.environment, specs.URL: url})
    return float(here.migrate("shadow", spec, place.folder / "benchmark.toml")["wall"])


def _theirs(program: str, url: str) -> float:
    parts = urlsplit(url)
    where = ["-h", str(parts.hostname), "-p", str(parts.port), "-U", str(parts.username), "-d", parts.path.lstrip("/")]
    started = perf_counter()
    subprocess.run([program, *where, "--table", "orders"], check=True, capture_output=True)
    return perf_counter() - started
