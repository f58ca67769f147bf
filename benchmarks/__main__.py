"""`python -m benchmarks`: measure, show, keep; exit 1 when a goal is missed."""

import argparse
import sys
from dataclasses import replace

import psycopg

from benchmarks import (
    backfill,
    memory,
    overhead,
    parity,
    parity_mariadb,
    report,
    shadow,
    shadow_load,
    shadow_load_mariadb,
    shadow_repack,
    suite,
    transfer,
    transfer_mariadb,
)
from benchmarks.result import FULL, QUICK, Result, machine, save, show
from benchmarks.server import SETTINGS, running
from benchmarks.surroundings import surroundings

_BENCHMARKS = (
    overhead,
    memory,
    backfill,
    shadow,
    shadow_load,
    shadow_load_mariadb,
    shadow_repack,
    parity,
    parity_mariadb,
    suite,
    transfer,
    transfer_mariadb,
)
NAMES = [name for benchmark in _BENCHMARKS for name in benchmark.NAMES]


def main() -> int:
    """Carry out what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=NAMES, metavar="NAME", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--rows", type=int, metavar="N", help="rows of the table of the backfill")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each is measured")
    parser.add_argument("--quick", action="store_true", help="small tables: a hint, not a result")
    parser.add_argument("--report", action="store_true", help="write docs/benchmarks.md from the results, and stop")
    asked = parser.parse_args()
    if asked.report:
        report.write()
        return 0
    sizes = QUICK if asked.quick else FULL
    if asked.rows is not None:
        sizes = replace(sizes, rows=asked.rows)
    if asked.rounds is not None:
        sizes = replace(sizes, rounds=asked.rounds)
    results: list[Result] = []
    with running() as postgres, surroundings(postgres) as place:
        described = machine(_described(postgres.url))
        for benchmark in _BENCHMARKS:
            if asked.only is None or asked.only in benchmark.NAMES:
                found = benchmark.measure(place, sizes)
                if sizes == FULL:
                    save(found, described)
                results += found
    show(results, lambda line: print(line))
    return 0 if all(result.met for result in results) else 1


def _described(url: str) -> str:
    with psycopg.connect(url) as conn:
        row = conn.execute("select current_setting('server_version')").fetchone()
    assert row is not None
    return f"{row[0]}, " + ", ".join(f"{name} = {value}" for name, value in SETTINGS.items())


if __name__ == "__main__":
    sys.exit(main())
