"""A copy from MariaDB into PostgreSQL: against pgloader, where it is installed."""

import os
from collections.abc import Iterator
from typing import Any

from benchmarks import specs, transfer_peers
from benchmarks.parity_mariadb import SERVER, database, fill
from benchmarks.result import Result, Sizes, ratio, spread
from benchmarks.server import template
from benchmarks.surroundings import Surroundings
from benchmarks.transfer import Took, applied, fresh, moved, require_same_rows, told

NAMES = ("transfer_pgloader", "apply_mariadb")


def measure(place: Surroundings, sizes: Sizes) -> list[Result]:
    """Copy a table in turns with pgloader, then carry what is written; nothing where there is no MariaDB."""
    server = os.environ.get(SERVER)
    if not server:
        return []
    with database(server) as source:
        with template(place.postgres, sizes.rows, indexed=False) as name:
            fill(place.postgres.url_of(name), source)
        return list(_results(place, sizes, source))


def _results(place: Surroundings, sizes: Sizes, source: str) -> Iterator[Result]:
    ours: list[Took] = []
    theirs: list[float] = []
    program = transfer_peers.pgloader()
    for number in range(sizes.rounds if program else 0):
        assert program is not None
        name = f"from_mariadb_{number}"
        spec = specs.write_transfer(place.folder, name, "shop", _transfer(name))
        url = place.postgres.url_of(name)
        with fresh(place.postgres.url, url, name):
            theirs.append(transfer_peers.load(program, source, url, place.folder))
            ours.append(moved(place, spec, {"main": url, "shop": source}))
            require_same_rows(url, "id", "orders", name)
    if program:
        yield Result(
            name=NAMES[0],
            measured=ratio(theirs, [one["copy"] for one in ours]),
            goal=1.5,
            unit="x",
            better="higher",
            detail=f"{sizes.rows:,} rows of eight columns, wall: {told(ours)}; pgloader with its start"
            f" {spread(theirs)}; the tables have the same rows",
        )
    changes = sizes.rows // 5
    spec = specs.write_transfer(place.folder, "noted", "shop", {**_transfer("noted"), "capture": "triggers"})
    url = place.postgres.url_of("noted")
    with fresh(place.postgres.url, url, "noted"):
        yield applied(NAMES[1], moved(place, spec, {"main": url, "shop": source}, changes), changes, "triggers")


def _transfer(name: str) -> dict[str, Any]:
    return {"table": "orders", "to": {"database": "main", "table": name}}
