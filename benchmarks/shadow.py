"""How much more the copy into a shadow table costs than one statement that copies the table."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg

from benchmarks import specs
from benchmarks.parity_mariadb import SERVER, database, fill
from benchmarks.result import Result, Sizes, ratio, spread
from benchmarks.server import Meter, Usage, copy, template
from benchmarks.surroundings import Surroundings
from tasks.engines.mysql.session import MariaSession, connect

NAMES = ("shadow_cpu", "shadow_copy_mariadb", "shadow_cpu_mariadb")
_GOAL = 1.3
_WRITING = ("innodb_io_capacity_max", "innodb_io_capacity", "innodb_max_dirty_pages_pct")
"""In this order: one of them is the most that the next may be."""
_FEW_PAGES = 100
"""As many are always being written."""
_PATIENCE = 120.0
_PROVEN = ("copy", "comparison", "gate")
"""The parts before the swap that read every row of both tables."""


def measure(place: Surroundings, sizes: Sizes) -> list[Result]:
    """Copy a table with a second index in both ways, in turns; on MariaDB, too, where there is one."""
    spec = specs.write(place.folder, "shadow", specs.REBUILD, strategy="shadow_table")
    with template(place.postgres, sizes.rows, indexed=True) as name:
        results = [_on_postgresql(place, sizes, spec, name)]
        if server := os.environ.get(SERVER):
            results += _on_mariadb(place, sizes, spec, place.postgres.url_of(name), server)
    return results


def _on_postgresql(place: Surroundings, sizes: Sizes, spec: Path, name: str) -> Result:
    ours, one = [], []
    for number in range(sizes.rounds):
        # The other way round every other time, so that nobody always follows the same neighbour.
        for mine in (True, False) if number % 2 == 0 else (False, True):
            with copy(place.postgres, name) as url:
                if mine:
                    ours.append(_through_flow(place, url, spec, place.postgres.pid))
                else:
                    one.append(_one_statement(place, url))
    return _result("shadow_cpu", sizes, ours, one)


def _one_statement(place: Surroundings, url: str) -> Usage:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("create table copied (like orders including all)")
        meter = Meter.after_checkpoint(conn, place.postgres.pid)
        conn.execute("insert into copied overriding system value select * from orders")
        return meter.taken()


def _on_mariadb(place: Surroundings, sizes: Sizes, spec: Path, source: str, server: str) -> list[Result]:
    ours: list[dict[str, Usage]] = []
    one: list[Usage] = []
    for number in range(sizes.rounds):
        for mine in (True, False) if number % 2 == 0 else (False, True):
            with on_mariadb(source, server) as (url, pid):
                if mine:
                    ours.append(_proven(place, url, spec, pid))
                    continue
                with connect(url) as conn:
                    conn.execute("create table copied like orders")
                    meter = Meter(pid)
                    conn.execute("insert into copied select * from orders")
                    one.append(meter.taken())
    copies = _result("shadow_copy_mariadb", sizes, [parts["copy"] for parts in ours], one)
    cpu = [sum(parts[name].cpu for name in _PROVEN) for parts in ours]
    told = ", ".join(f"{name} {spread([parts[name].cpu for parts in ours])}" for name in ours[0])
    whole = replace(
        copies,
        name="shadow_cpu_mariadb",
        measured=ratio(cpu, [usage.cpu for usage in one]),
        detail=f"{sizes.rows:,} rows, {sizes.rounds} rounds; processor time of the server: {spread(cpu)} of "
        f"{', '.join(_PROVEN)}; of all parts: {told}; one statement {spread([usage.cpu for usage in one])}",
    )
    return [copies, whole]


@contextmanager
def on_mariadb(source: str, server: str) -> Iterator[tuple[str, int]]:
    """Give a database with `orders` and a second index, and the process of its server."""
    with database(server) as url:
        fill(source, url)
        with connect(url) as conn:
            conn.execute("create index orders_customer on orders (currency, quantity)")
            _write_out(conn)
            row = conn.execute("select @@pid_file").fetchone()
        yield url, int(Path(str(row[0])).read_text(encoding="ascii"))


def _write_out(conn: MariaSession) -> None:
    """Let the server write out what was changed, so that nobody has to who is measured."""
    kept = conn.execute(f"select {', '.join(f'@@global.{name}' for name in _WRITING)}").fetchone()
    _set(conn, dict(zip(_WRITING, (20_000, 20_000, 0), strict=True)))
    try:
        deadline = time.monotonic() + _PATIENCE
        while int(conn.execute("show global status like 'innodb_buffer_pool_pages_dirty'").fetchone()[1]) > _FEW_PAGES:
            if time.monotonic() > deadline:
                raise RuntimeError("the server does not write out its pages")
            time.sleep(0.1)
    finally:
        _set(conn, dict(zip(reversed(_WRITING), reversed(kept), strict=True)))


def _set(conn: MariaSession, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        conn.execute(f"set global {name} = {value}")


def _through_flow(place: Surroundings, url: str, spec: Path, pid: int) -> Usage:
    here = replace(place, environment={**place.environment, specs.URL: url})
    return Usage(**here.migrate("copy", spec, place.folder / "benchmark.toml", pid))


def _proven(place: Surroundings, url: str, spec: Path, pid: int) -> dict[str, Usage]:
    here = replace(place, environment={**place.environment, specs.URL: url})
    parts = here.migrate("proven", spec, place.folder / "benchmark.toml", pid)
    return {name: Usage(**usage) for name, usage in parts.items()}


def _result(name: str, sizes: Sizes, ours: list[Usage], one: list[Usage]) -> Result:
    cpu, cpu_of_one = ([usage.cpu for usage in usages] for usages in (ours, one))
    wall, wall_of_one = ([usage.wall for usage in usages] for usages in (ours, one))
    return Result(
        name=name,
        measured=ratio(cpu, cpu_of_one),
        goal=_GOAL,
        unit="x",
        detail=f"{sizes.rows:,} rows, {sizes.rounds} rounds; processor time of the server: our copy and the index "
        f"{spread(cpu)}, one statement {spread(cpu_of_one)}; wall {spread(wall)} against {spread(wall_of_one)}",
    )
