"""Comparing two tables: against the raw digest of both, and against reladiff where it is installed."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import process_time

import psycopg

from benchmarks import reladiff
from benchmarks.result import Result, Sizes, ratio, spread
from benchmarks.server import Meter, Usage, template
from benchmarks.surroundings import Surroundings
from validations.parity.compare import Table, compare
from validations.parity.report import Comparison, Verdict

NAMES = ("parity_equal", "parity_differences", "parity_reladiff", "parity_memory")
_RAW = "select count(*), sum(hash_record_extended(t, 0)) from {} as t"
_TWIN = (
    "create table orders_new as table orders",
    "alter table orders_new add primary key (id)",
    "vacuum (freeze, analyze) orders_new",
)
_PLANTED = 10
_SPREAD = 900
"""Differing rows where memory is measured: in most parts of the key, and fewer than are named at most."""


def measure(place: Surroundings, sizes: Sizes) -> list[Result]:
    """Compare two tables of one database that are equal, and then differ in ten rows."""
    with template(place.postgres, sizes.rows, indexed=False) as name:
        url = place.postgres.url_of(name)
        _twin(url)
        raw, equal, theirs, different = _rounds(place, url, sizes)
    raws = f"the sums of hash_record_extended, which are blind to a sign, of both tables at once: {told(raw)}"
    results = [
        Result(
            name="parity_equal",
            measured=ratio(cpu(equal), cpu(raw)),
            goal=1.3,
            unit="x",
            detail=f"two equal tables of {sizes.rows:,} rows; processor time of server and client: {told(equal)}; "
            f"{raws}",
        ),
        Result(
            name="parity_differences",
            measured=ratio(cpu(different), cpu(raw)),
            goal=2.0,
            unit="x",
            detail=f"{_PLANTED} rows differ, all named, with their columns: {told(different)}; {raws}",
        ),
    ]
    if theirs:
        detail = f"two equal tables, wall: ours {spread(_wall(equal))}, reladiff {spread(theirs)}"
        measured = ratio(_wall(equal), theirs)
        results.append(Result(name="parity_reladiff", measured=measured, goal=0.25, unit="x", detail=detail))
    return [*results, _memory(place, sizes)]


def _rounds(place: Surroundings, url: str, sizes: Sizes) -> tuple[list[Usage], list[Usage], list[float], list[Usage]]:
    raw, equal, theirs, different = [], [], [], []
    program = reladiff.program()
    _raw(url)
    for _ in range(sizes.rounds):
        raw.append(taken(place, lambda: _raw(url)))
        equal.append(taken(place, lambda: _expect(url, 0)))
        if program:
            theirs.append(reladiff.compare(program, url, "orders", url, "orders_new"))
    with psycopg.connect(url, autocommit=True) as conn:
        step = sizes.rows // _PLANTED
        conn.execute(f"update orders_new set note = 'planted' where id % {step} = 1".encode())
    for _ in range(sizes.rounds):
        different.append(taken(place, lambda: _expect(url, _PLANTED)))
    return raw, equal, theirs, different


def _twin(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in _TWIN:
            conn.execute(statement.encode())


def taken(place: Surroundings, ask: Callable[[], None]) -> Usage:
    """Measure the processor time of the server and of this process."""
    own, meter = process_time(), Meter(place.postgres.pid)
    ask()
    usage = meter.taken()
    return replace(usage, cpu=usage.cpu + process_time() - own)


def cpu(usages: list[Usage]) -> list[float]:
    """Return the processor time of each round."""
    return [usage.cpu for usage in usages]


def _wall(usages: list[Usage]) -> list[float]:
    return [usage.wall for usage in usages]


def told(usages: list[Usage]) -> str:
    """Say processor time and wall time."""
    return f"{spread(cpu(usages))}, wall {spread(_wall(usages))}"


def _raw(url: str) -> None:
    def ask(table: str) -> object:
        with psycopg.connect(url, autocommit=True) as conn:
            return conn.execute(_RAW.format(table).encode()).fetchone()

    with ThreadPoolExecutor(max_workers=2) as pool:
        a, b = pool.map(ask, ("orders", "orders_new"))
    if a != b:
        raise RuntimeError("the tables are not equal")


def _expect(url: str, expected: int) -> None:
    found = compare_orders(url)
    if len(found.differences) != expected or (found.verdict is Verdict.EQUAL) != (expected == 0):
        raise RuntimeError(f"{len(found.differences)} rows differ and not {expected}")


def compare_orders(url: str) -> Comparison:
    """Compare the two tables."""
    a, b = (Table(url=url, database="main", name=name) for name in ("orders", "orders_new"))
    return compare(a, b)


def _memory(place: Surroundings, sizes: Sizes) -> Result:
    found = {}
    for rows in (sizes.small, sizes.compared):
        with template(place.postgres, rows, indexed=False) as name:
            url = place.postgres.url_of(name)
            _twin(url)
            with psycopg.connect(url, autocommit=True) as conn:
                conn.execute(f"update orders_new set quantity = quantity + 1 where id % {rows // _SPREAD} = 0".encode())
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.parity", url], capture_output=True, check=True, text=True
            )
            found[rows] = float(json.loads(done.stdout)["peak"])
    small, large = found[sizes.small], found[sizes.compared]
    return Result(
        name="parity_memory",
        measured=round(large / small, 3),
        goal=1.10,
        unit="x",
        detail=f"most memory of the comparing process where some {_SPREAD} rows differ, all over the table: "
        f"{small:.0f} MB at {sizes.small:,} rows, {large:.0f} MB at {sizes.compared:,}",
    )


def main() -> None:
    """Compare in a process of its own, and print its greatest size."""
    if not compare_orders(sys.argv[1]).complete:
        raise RuntimeError("the tables were not read to the end")
    print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
