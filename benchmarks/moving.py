"""The process that copies into another database: run by the benchmarks, it prints what it measured as JSON."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter, process_time
from typing import Any

from prefect import flow
from pymongo import MongoClient

from benchmarks.specs import URLS
from flows.contract import contract
from tasks.dual_write import dual_write
from tasks.engines.mysql.session import connect
from tasks.expand import expand
from tasks.migration import open_migration
from tasks.preflight import preflight
from tasks.swap import swap
from tasks.transfer import follow, keeping_up, require_room, transfer
from tasks.validate import validate
from validations.transfer import of_rows, transferred


@flow(name="benchmark-transfer", persist_result=False)
def move(spec: str, profile: str, changes: int) -> dict[str, float]:
    """Copy a table or a collection with all checks and gates, and tell how long each part took, in seconds.

    `changes`: how many of its rows are written between copy and swap, by one statement, and carried.
    """
    took: dict[str, float] = {}
    with open_migration(spec, profile) as m:
        with _timed(took, "checks"):
            preflight(m)
            require_room(m)
        expand(m)
        dual_write(m)
        with _timed(took, "copy"):
            transfer(m)
        if changes:
            _write(m.database, changes)
            with _timed(took, "carry"):
                follow(m)
        with _timed(took, "gate"):
            validate(m, transferred("before_swap", m.plan, m.profile))
        with _timed(took, "swap"):
            swap(m, of_rows("before_swap", m.plan, m.profile), keeping_up(m))
        name, database = m.migration, m.database
    # So that another one may begin.
    contract(name, profile, database)
    return took


@contextmanager
def _timed(took: dict[str, float], what: str) -> Iterator[None]:
    began, cpu = perf_counter(), process_time()
    yield
    took |= {what: perf_counter() - began, f"{what}_cpu": process_time() - cpu}


def _write(database: str, changes: int) -> None:
    """Write rows of the source, as one statement of an application does."""
    url = os.environ[URLS[database]]
    if database == "documents":
        with MongoClient[dict[str, Any]](url) as client:
            rows = client.get_default_database().orders
            rows.update_many({"_id": {"$lte": changes}}, {"$inc": {"quantity": 1}})
        return
    with connect(url) as conn:
        conn.execute("update orders set quantity = quantity + 1 where id <= %s", (changes,))


def _memory() -> float:
    """Return the most memory that this process has had so far, in MB."""
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM:")) * 1.024


if __name__ == "__main__":
    found = move(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.stdout.write(json.dumps({**found, "memory": _memory()}) + "\n")
