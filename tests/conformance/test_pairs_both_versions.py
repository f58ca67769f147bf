"""Any few operations in one migration, and random writes through both versions at each moment, against an oracle.

`CHANGEOVER_PAIRS` is how many migrations are drawn; few by default, for each of them walks the whole way, and more with
`CHANGEOVER_EVERY_LEG`.
"""

import os
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, assume, event, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.model.errors import PreflightError, SpecError
from tests.conformance import tables
from tests.conformance.both_versions import CHANGES, SCHEMA, WRITES, Change, Version, World, connect
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.test_versions import baseline
from tests.legs import EVERY_LEG

PAIRS = int(os.environ.get("CHANGEOVER_PAIRS", 40 if EVERY_LEG else 0))
"""More than usual, and others each time."""
CLEAR = "drop schema public cascade; create schema public"


def walk(url: str, conn: Connection, number: int, changes: list[Change], data: st.DataObject) -> None:
    """Over with writes at every halt, back, and over for good."""
    world = World(changes=changes)
    conn.execute(SCHEMA.encode())
    first, second = f"a{number}", f"b{number}"
    try:
        made = Migration(url, [one.operation for one in changes], name=second, version_schema=second, batch_rows=2)
        made.engine.plan(made.spec)
    except (ValidationError, SpecError, PreflightError):
        assume(False)
    event(", ".join(sorted(kind for one in changes for kind in one.operation)))
    baseline(url, first)
    before = tables.catalogue(conn)
    with connect(url, f"public_{first}") as old, connect(url, f"public_{second}") as new:
        versions: dict[Version, Connection] = {"old": old, "new": new}

        def apply(*only: Version) -> None:
            for one in data.draw(st.lists(WRITES, max_size=8)):
                if one.version in only:
                    world.write(versions[one.version], one)
            for version in only:
                world.check(versions[version], version)

        def over() -> None:
            made.begin()
            made.run(*BEFORE_SWAP[:2])
            world.begun()
            apply("old")
            made.run(*BEFORE_SWAP[2:-1])
            made.pass_gate("before_swap")
            # From now on new applications may be there, and have values of their own.
            apply("old", "new")
            made.run(BEFORE_SWAP[-1])
            world.rules_come()
            apply("old", "new")
            made.swap()
            apply("old", "new")

        apply("old")
        over()
        made.pass_gate("after_swap")
        made.roll_back()
        world.rolled_back()
        world.check(old, "old")
        assert tables.catalogue(conn) == before
        over()
        made.contract()
        world.check(new, "new")
    assert tables.leftovers(conn) == []


def of_ours(conn: Connection) -> set[str]:
    """Name the tables and functions beside the tables of applications."""
    found = conn.execute(
        "select 'function ' || oid::regprocedure from pg_proc where pronamespace = 'changeover'::regnamespace"
        " union all select 'table ' || oid::regclass from pg_class"
        " where relnamespace = 'changeover'::regnamespace and relkind = 'r'"
    )
    return {row[0] for row in found.fetchall()}


@pytest.mark.timeout(300 + 20 * PAIRS)
def test_operations_together_through_both_versions(conn: Connection, url: str) -> None:
    """Each version sees what the other writes, whatever else the migration does."""
    numbers, kept = count(), of_ours(conn)

    @settings(
        max_examples=PAIRS or 2, database=None, derandomize=not PAIRS, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.lists(st.sampled_from(CHANGES), min_size=2, max_size=3, unique_by=id), st.data())
    def agree(changes: list[Change], data: st.DataObject) -> None:
        number = next(numbers)
        try:
            walk(url, conn, number, changes, data)
        finally:
            conn.execute(CLEAR)
            conn.execute(f"drop schema if exists public_a{number}, public_b{number} cascade".encode())
            # What Hypothesis broke off leaves more than the tables.
            for one in of_ours(conn) - kept:
                conn.execute(f"drop {one.replace(' ', ' if exists ', 1)} cascade".encode())
            conn.execute("delete from changeover.versions; update changeover.migrations set state = 'rolled back'")

    agree()
