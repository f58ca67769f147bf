"""How much more a backfill costs than one statement, and how much less than batches that search for their rows."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

import psycopg

from benchmarks import pgroll, specs, statements
from benchmarks.result import Result, Sizes, ratio, spread
from benchmarks.server import Connection, Meter, Usage, copy, template
from benchmarks.surroundings import Surroundings

NAMES = ("backfill_cpu", "backfill_wall", "batches_cpu", "pgroll_cpu", "backfill_cpu_indexed")
_CPU, _WALL, _BATCHES = 1.15, 1.3, 0.4


def measure(place: Surroundings, sizes: Sizes) -> list[Result]:
    """Fill the same column of the same table in four ways, in turns; then once more with a second index."""
    plain = _in_turns(place, sizes, indexed=False)
    return [*_results(plain, sizes), _indexed(_in_turns(place, sizes, indexed=True), sizes)]


def _in_turns(place: Surroundings, sizes: Sizes, *, indexed: bool) -> dict[str, list[Usage]]:
    spec = specs.write(place.folder, "backfill", specs.ADD)
    taken: dict[str, list[Usage]] = {}
    with template(place.postgres, sizes.rows, indexed=indexed) as name:
        ways: dict[str, Callable[[str], Usage]] = {
            "one": lambda url: _by_hand(place, url, _add_column, statements.one_statement),
            "ours": lambda url: _through_flow(place, url, "backfill", spec),
            "one_beside": lambda url: _through_flow(place, url, "single", spec),
            "batches": lambda url: _by_hand(place, url, statements.prepare_batches, statements.batches),
        }
        if (found := pgroll.program()) is not None:
            ways["pgroll"] = lambda url: pgroll.fill(found, url, place.folder, place.postgres.pid)
        if indexed:
            ways = {way: ways[way] for way in ("ours", "one_beside")}
        for number in range(sizes.rounds):
            # The other way round every other time, so that nobody always follows the same neighbour.
            for way in ways if number % 2 == 0 else reversed(ways):
                with copy(place.postgres, name) as url:
                    usage = ways[way](url)
                    taken.setdefault(way, []).append(_left_over(place, url, usage) if indexed else usage)
    return taken


def _left_over(place: Surroundings, url: str, usage: Usage) -> Usage:
    """Add how large the second index has become, and what it takes to clean up."""
    with psycopg.connect(url, autocommit=True) as conn:
        row = conn.execute("select pg_relation_size('orders_customer') / 1e6").fetchone()
        assert row is not None
        meter = Meter(place.postgres.pid)
        conn.execute("vacuum orders")
        return replace(usage, index_mb=float(row[0]), vacuum=meter.taken().cpu)


def _by_hand(
    place: Surroundings, url: str, prepare: Callable[[Connection], None], fill: Callable[[Connection], None]
) -> Usage:
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as conn:
        prepare(conn)
        meter = Meter.after_checkpoint(conn, place.postgres.pid)
        fill(conn)
        return meter.taken()


def _through_flow(place: Surroundings, url: str, what: str, spec: Path) -> Usage:
    here = replace(place, environment={**place.environment, specs.URL: url})
    return Usage(**here.migrate(what, spec, place.folder / "benchmark.toml", place.postgres.pid))


def _add_column(conn: Connection) -> None:
    conn.execute(f"alter table orders add column {specs.COLUMN} text".encode())


def _results(taken: dict[str, list[Usage]], sizes: Sizes) -> list[Result]:
    cpu = {way: [usage.cpu for usage in usages] for way, usages in taken.items()}
    wall = {way: [usage.wall for usage in usages] for way, usages in taken.items()}
    rows = f"{sizes.rows:,} rows, {sizes.rounds} rounds"
    beside = "the same UPDATE beside the triggers of dual write"
    return [
        Result(
            name="backfill_cpu",
            measured=ratio(cpu["ours"], cpu["one_beside"]),
            goal=_CPU,
            unit="x",
            detail=f"{rows}; processor time of the server: our backfill {spread(cpu['ours'])}; {beside} "
            f"{spread(cpu['one_beside'])}; one UPDATE of a table without triggers {spread(cpu['one'])}, against which "
            f"we take {ratio(cpu['ours'], cpu['one']):g} x",
        ),
        Result(
            name="backfill_wall",
            measured=ratio(wall["ours"], wall["one_beside"]),
            goal=_WALL,
            unit="x",
            detail=f"{rows}; our backfill {spread(wall['ours'])}; {beside} {spread(wall['one_beside'])}; one UPDATE of "
            f"a table without triggers {spread(wall['one'])}; {os.cpu_count()} cores, also for Python and Prefect's "
            "server",
        ),
        Result(
            name="batches_cpu",
            measured=ratio(cpu["ours"], cpu["batches"]),
            goal=_BATCHES,
            unit="x",
            detail=f"{rows}; processor time of the server: our backfill {spread(cpu['ours'])}, the way of pgroll "
            f"(batches of {statements.BATCH} rows by CTE, LIMIT and a trigger, written out here in SQL) "
            f"{spread(cpu['batches'])}; wall {spread(wall['ours'])} against {spread(wall['batches'])}",
        ),
        *_pgroll(cpu, wall, rows),
    ]


def _pgroll(cpu: Mapping[str, list[float]], wall: Mapping[str, list[float]], rows: str) -> Iterator[Result]:
    """Compare with pgroll itself; it is measured only where it is installed."""
    if "pgroll" in cpu and (found := pgroll.program()):
        yield Result(
            name="pgroll_cpu",
            measured=ratio(cpu["ours"], cpu["pgroll"]),
            goal=_BATCHES,
            unit="x",
            detail=f"{rows}; processor time of the server: our backfill {spread(cpu['ours'])}, `pgroll start` "
            f"{spread(cpu['pgroll'])}; wall {spread(wall['ours'])} against {spread(wall['pgroll'])}; "
            f"{pgroll.version(found)}",
        )


def _indexed(taken: dict[str, list[Usage]], sizes: Sizes) -> Result:
    """A second index costs batches more: each finds entries of the one before dead, and cleans them up.

    One statement cannot, and leaves an index that is larger, and the cleaning to VACUUM.
    """
    ours, one = ([usage.cpu for usage in taken[way]] for way in ("ours", "one_beside"))
    left, left_by_one = (median(usage.index_mb for usage in taken[way]) for way in ("ours", "one_beside"))
    cleaned, cleaned_one = ([u.cpu + u.vacuum for u in taken[way]] for way in ("ours", "one_beside"))
    return Result(
        name="backfill_cpu_indexed",
        measured=ratio(ours, one),
        goal=_CPU,
        unit="x",
        detail=f"{sizes.rows:,} rows, {sizes.rounds} rounds, with a second index on a column in no order: our backfill "
        f"{spread(ours)}, the same UPDATE beside the triggers of dual write {spread(one)}; they leave {left:.0f} and "
        f"{left_by_one:.0f} MB of that index; with the VACUUM that follows {spread(cleaned)} and "
        f"{spread(cleaned_one)}, {ratio(cleaned, cleaned_one):g} x",
    )
