"""`kill -9` while a table becomes two, two become one, and references become rows: run again, and nothing is lost.

One migration with the three operations at once, each in a schema of its own, and writers in all of them. What the
writers do they do to a twin as well.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tasks.engines.postgresql.inspect import inspect
from tests.conformance import test_writers_halves as halves
from tests.conformance import test_writers_junction as junction
from tests.conformance.crowd import Crowd, Member
from tests.conformance.halves_writers import TWIN, HalvesWriter
from tests.conformance.junction_writers import JunctionWriter
from tests.conformance.outbox import carry
from tests.conformance.tables import leftovers
from tests.faults.runs import Runs
from tests.faults.walk import Walked
from tests.legs import EVERY_LEG, kills
from tests.servers.postgres import PostgresServer

OTHERS: tuple[str | int, ...] = ("expand", "dual_write", "swap", *range(kills(30))) if EVERY_LEG else ()
KILLS: tuple[str | int, ...] = ("backfill", *OTHERS)
"""In a phase; or a number for the dice that say when, and how it ends."""
WRITERS = 2 if EVERY_LEG else 1
"""In each schema."""
SECONDS = {"run": 5.0, "rollback": 2.5, "contract": 2.0}
TABLES = ["split.u", "merge.u", "merge.d", "many.o", "many.u"]
SCHEMAS = {"split": halves.ONE + TWIN, "merge": halves.TWO + TWIN, "many": junction.ARRAY}
OPERATIONS: list[dict[str, object]] = [
    {"split_table": {"table": "split.u", "columns": ["a", "b"], "to": "split.d", "key": {"id": "u_id"}}},
    {"merge_tables": {"table": "merge.u", "from": "merge.d"}},
    {
        "extract_junction": {
            "table": "many.u", "column": "o_ids", "references": "many.o", "to": "many.j", "key": {"id": "u_id"},
            "reference": "o_id",
        }
    },
]  # fmt: skip

pytestmark = pytest.mark.timeout(600)


class Linked(Walked):
    """The tables of the three schemas, and what must hold of them."""

    def within(self, schema: str) -> str:
        """Return the address of a database that seems to have only one schema."""
        return f"{self.url}?options=-csearch_path%3D{schema}"

    @contextmanager
    def writers(self, *, new: bool = False) -> Iterator[Crowd]:
        """Write for as long as the context lasts."""
        one, two, many = ("two tables", "one table", "junction") if new else ("one table", "two tables", "array")
        members: list[Member] = [
            *(HalvesWriter(self.within("split"), number, one) for number in range(WRITERS)),
            *(HalvesWriter(self.within("merge"), number, two) for number in range(WRITERS)),
            *(JunctionWriter(self.within("many"), number, many) for number in range(WRITERS)),
        ]
        with Crowd(members) as crowd:
            yield crowd

    def in_shape(self, *, old: bool, new: bool) -> None:
        """Compare with the twins, in the old shape, or the new one, or both."""
        shapes = {"split": (halves.OF_ONE, halves.OF_TWO), "merge": (halves.OF_TWO, halves.OF_ONE)}
        for schema, pair in shapes.items():
            with psycopg.connect(self.within(schema), autocommit=True) as conn:
                for rows, wanted in zip(pair, (old, new), strict=True):
                    assert not wanted or halves.different(conn, rows) == [], (schema, rows)
        with psycopg.connect(self.within("many"), autocommit=True) as conn:
            assert not old or junction.unsaid(conn, "o_ids") == []
            assert not new or junction.different(conn) == []

    def assert_complete(self) -> None:
        """Both shapes say what the twins say."""
        assert self.state() == "complete"
        with self.connect() as conn:
            carry(conn)
        self.in_shape(old=True, new=True)

    def assert_rolled_back(self) -> None:
        """The old shape has everything, and nothing else is there."""
        assert self.state() == "rolled back"
        self.in_shape(old=True, new=False)
        with self.connect() as conn:
            assert inspect(conn, TABLES, "public") == self.before
            assert leftovers(conn) == []
        assert self.ask("select count(*) from pg_class where relname ~ '^outbox_[0-9a-f]{12}'") == 0

    def assert_contracted(self) -> None:
        """The new shape has everything."""
        assert self.state() == "contracted"
        self.in_shape(old=False, new=True)
        with self.connect() as conn:
            assert leftovers(conn) == []


@pytest.fixture
def linked(postgres: PostgresServer, runs: Runs, tmp_path: Path) -> Iterator[Linked]:
    """A database with the three schemas."""
    made = "".join(
        f"create schema {name}; set search_path = {name}; {tables}; analyze;" for name, tables in SCHEMAS.items()
    )
    limits = {"batch_rows": 40, "lock_patience": 60.0}
    with Linked.opened(
        made, OPERATIONS, TABLES, postgres=postgres, runs=runs, folder=tmp_path, seconds=SECONDS, limits=limits
    ) as one:
        yield one


@pytest.mark.parametrize("kill", KILLS)
def test_killed_and_run_again(kill: str | int, linked: Linked) -> None:
    linked.walk(kill)
