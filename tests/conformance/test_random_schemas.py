"""Random schemas, random operations on them, and random writes through both versions, against an oracle in Python.

`CHANGEOVER_SCHEMAS` is how many are walked; a handful by default. Refused is only what has a true reason.
"""

import os
from collections import Counter
from itertools import count

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, assume, given, note, seed, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.model.catalogue import Catalogue
from tasks.model.catalogue_difference import compare
from tasks.model.errors import PreflightError, SpecError
from tests.conformance import tables
from tests.conformance.drawn.changes import Change, changes
from tests.conformance.drawn.refusals import has_reason
from tests.conformance.drawn.schema import Schema, schemas
from tests.conformance.drawn.world import World
from tests.conformance.drawn.writes import Version, writes
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.test_cycle_folding import one_by_one
from tests.conformance.test_versions import baseline
from tests.legs import EVERY_LEG

SCHEMAS = int(os.environ.get("CHANGEOVER_SCHEMAS", 300 if EVERY_LEG else 2))
SEED = int(os.environ.get("CHANGEOVER_SCHEMAS_SEED", "1"))
"""Of the first; the others follow."""
PART = min(SCHEMAS, 20)
PHASES = [Phase.generate, *([Phase.shrink] if os.environ.get("CHANGEOVER_SHRINK") else [])]
CLEAR = "drop schema public cascade; create schema public; grant usage on schema public to public"


class Walk:
    """One migration of one schema."""

    def __init__(self, url: str, conn: Connection, number: int, data: st.DataObject) -> None:
        self.url, self.conn, self.data = url, conn, data
        self.schema: Schema = data.draw(schemas())
        self.change: Change = data.draw(changes(self.schema))
        self.world = World(schema=self.schema, change=self.change)
        self.first, self.second = f"a{number}", f"b{number}"
        self.versions = data.draw(st.booleans())

    def migration(self) -> Migration:
        """Return the migration, before it is planned."""
        backfill = {"user_triggers": "bypass"} if self.schema.logged else {}
        version = self.second if self.versions else None
        return Migration(
            self.url, self.change.operations, name=self.second, version_schema=version, batch_rows=2, backfill=backfill
        )

    def refused(self) -> str | None:
        """Return why the migration is refused, if it is."""
        try:
            self.made = self.migration()
            self.made.engine.plan(self.made.spec)
        except ValidationError as error:
            return "; ".join(one["msg"] for one in error.errors())
        except (SpecError, PreflightError) as error:
            return str(error.what)
        return None

    def connect(self, version: Version) -> Connection:
        name = self.first if version == "old" else self.second
        path = f"public_{name},public" if self.versions else "public"
        return psycopg.connect(self.url, autocommit=True, options=f"-c search_path={path} -c timezone=UTC")

    def apply(self, *only: Version) -> None:
        """Write at random, and look at everything."""
        if not self.versions:
            only = ("new",) if self.world.swapped else ("old",)
        for one in self.data.draw(writes(self.schema, self.change)):
            if one.version in only:
                self.world.write(self.sessions[one.version], one)
        for version in only:
            self.world.check(self.sessions[version], version)

    def steps(self, *only: Version, phases: tuple[object, ...]) -> None:
        """Carry out steps, with writes between some of them."""
        assert self.made.plan is not None
        for phase in phases:
            for step in self.made.plan.phase(phase):  # type: ignore[arg-type]
                self.made.forward(step)
                if self.data.draw(st.integers(0, 5)) == 0:
                    self.apply(*only)

    def over(self, *, swap: bool) -> None:
        """Go to the swap, and over it."""
        self.made.begin()
        self.world.begun()
        self.steps("old", phases=BEFORE_SWAP[:-1])
        self.apply("old")
        self.made.pass_gate("before_swap")
        self.apply("old", "new")
        self.steps("old", "new", phases=BEFORE_SWAP[-1:])
        self.apply("old", "new")
        if swap:
            self.made.swap()
            self.world.swapped = True
            self.apply("old", "new")
            self.made.pass_gate("after_swap")

    def plainly(self) -> Catalogue:
        """Make the same change by plain statements, look at rows and catalogue, and forget it."""
        with self.conn.transaction(force_rollback=True):
            self.conn.execute(f"drop schema if exists public_{self.first} cascade".encode())
            for statement in one_by_one(*self.change.operations):
                self.conn.execute(_typed(self.conn, statement).replace("drop index", "drop index if exists").encode())
                self.conn.execute("set constraints all immediate; set constraints all deferred")
            self.world.begun()
            self.conn.execute("set local timezone to 'UTC'")
            self.world.check(self.conn, "new", rows=True)
            return tables.unordered(_named(tables.catalogue(self.conn)))

    def all_the_way(self) -> None:
        """There with writes, back, and there for good."""
        before = tables.catalogue(self.conn)
        with self.connect("old") as old, self.connect("new") as new:
            self.sessions = {"old": old, "new": new}
            self.apply("old")
            there = self.plainly()
            self.world.rolled_back()
            if self.data.draw(st.booleans()):
                self.over(swap=self.data.draw(st.booleans()))
                self.made.roll_back()
                self.world.rolled_back()
                self.world.check(old, "old")
                assert tables.catalogue(self.conn) == before
                assert tables.leftovers(self.conn) == []
            self.over(swap=True)
            self.made.contract()
            self.world.check(new, "new")
        self.conn.execute(f"drop schema if exists public_{self.second} cascade".encode())
        assert compare(there, tables.unordered(_named(tables.catalogue(self.conn)))) == ()
        assert tables.leftovers(self.conn) == []


def _named(catalogue: Catalogue) -> Catalogue:
    """Forget what NOT NULL is called: PostgreSQL names it after the names of then."""
    kept = [
        table.model_copy(update={"constraints": tuple(c for c in table.constraints if c.kind != "not null")})
        for table in catalogue.tables
    ]
    return catalogue.model_copy(update={"tables": tuple(kept)})


def _typed(conn: Connection, statement: str) -> str:
    """Write out the type of a column."""
    if "{type of " in statement:
        query = (
            "select c.relname, attname, format_type(atttypid, atttypmod) from pg_attribute a"
            " join pg_class c on c.oid = attrelid where relnamespace = 'public'::regnamespace and attnum > 0"
        )
        for table, column, kind in conn.execute(query.encode()).fetchall():
            statement = statement.replace(f"{{type of {table}.{column}}}", kind)
    return statement


def _forget(conn: Connection, number: int) -> None:
    """Leave nothing of a walk but the ledger, wherever it ended."""
    conn.execute(CLEAR)
    conn.execute(f"drop schema if exists public_a{number}, public_b{number} cascade".encode())
    of_ours = "select oid::regprocedure from pg_proc where pronamespace = 'changeover'::regnamespace"
    for (name,) in conn.execute(f"{of_ours} and proname like 'dual%'".encode()).fetchall():
        conn.execute(f"drop function {name}".encode())
    conn.execute("delete from changeover.versions; update changeover.migrations set state = 'rolled back'")


def _walk(url: str, conn: Connection, number: int, data: st.DataObject, walked: Counter[str]) -> None:
    walk = Walk(url, conn, number, data)
    for statement in walk.schema.statements():
        conn.execute(statement.encode())
    # A gate would refuse what the rows do not fit.
    assume(walk.world.fits_the_new())
    if walk.versions:
        baseline(url, walk.first)
    before = tables.catalogue(conn)
    why = walk.refused()
    if why is not None:
        note(why)
        assert has_reason(why, walk.change), why
        assert tables.catalogue(conn) == before
        walked["refused"] += 1
        return
    walk.all_the_way()
    walked["walked"] += 1
    walked["sent"] += walk.world.sent
    walked["broke a rule"] += walk.world.refused
    walked.update("op " + kind for one in walk.change.operations for kind in one)


@pytest.mark.parametrize("first", range(SEED, SEED + SCHEMAS, PART))
def test_random_schemas(first: int, conn: Connection, url: str) -> None:
    numbers, walked = count(1), Counter[str]()

    def of(which: int) -> None:
        """One example a seed: further ones would be variations of it."""

        @seed(which)
        @settings(max_examples=1, database=None, phases=PHASES, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.integers(0, 2**32), st.data())
        def agree(drawn: int, data: st.DataObject) -> None:
            # The simplest example, which always comes first, is the same for each seed.
            assume(drawn)
            number = next(numbers)
            try:
                _walk(url, conn, number, data, walked)
            finally:
                _forget(conn, number)

        agree()

    for which in range(first, first + PART):
        of(which)
    print(walked)
    assert walked["walked"]
    # Most of what is drawn has to reach the database: an oracle that knows nothing would let all pass.
    assert walked["sent"] >= 3 * walked["walked"], walked
