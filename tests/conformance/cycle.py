"""The cycle: there and back before the swap, there and back after it, there for good.

Every leg is compared, catalogue and data, with what the same statements make of the same database when they
are run plainly in a transaction that is rolled back.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tasks.model.catalogue import Catalogue
from tasks.model.catalogue_difference import compare
from tasks.model.steps import Phase
from tests.conformance import tables
from tests.conformance.drive import Connection, Migration
from tests.conformance.plain import plainly
from tests.legs import EVERY_LEG


@dataclass(frozen=True, kw_only=True)
class Case:
    """A database, a change of it, and what applications write meanwhile."""

    name: str
    schema: str
    operations: Sequence[Mapping[str, Any]]
    backfill: Mapping[str, Any] = field(default_factory=dict)
    writes: str = ""
    """Through the old shape, once dual write is on and before the backfill."""
    after: str = ""
    """Through the new shape, after the swap."""
    back: str = ""
    """What `after` comes to in the old shape."""
    computed: bool = True
    """Two evaluations of `up` agree, so that the data can be compared."""
    sql: bool = False
    """The author's own statements are the author's own to undo: the catalogue differs."""
    plain: Sequence[str] = ()
    """The change by plain statements, where they cannot be derived."""
    strategy: str = "expand_contract"
    also: str = ""
    """What Changeover carries over and plain statements do not."""
    early: bool = False
    """Go back before the swap, too: every step is taken back there as it is after the swap."""
    locks_to_plan: bool = False
    """Its plan makes a table with foreign keys, for a moment: what they refer to is locked as long as that takes."""
    ends: bool = True
    """Go to the end, too: not where what differs from other cases are the values, which a contract does not touch."""


def each(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """Parametrize a test by cases; of those with the same kinds of operations the first goes back early."""
    return pytest.mark.parametrize("case", list(_with_the_first_early(cases)), ids=lambda case: case.name)


def _with_the_first_early(cases: Iterable[Case]) -> Iterator[Case]:
    seen = set()
    for case in cases:
        kinds = (case.strategy, *sorted({kind for operation in case.operations for kind in operation}))
        yield replace(case, early=EVERY_LEG or kinds not in seen, ends=EVERY_LEG or case.ends)
        seen.add(kinds)


@dataclass(frozen=True, kw_only=True)
class State:
    """Catalogue and data at one moment."""

    catalogue: Catalogue
    columns: Mapping[str, Sequence[str]]
    data: tables.Data


def state(conn: Connection) -> State:
    """Read all tables."""
    listed = tables.columns(conn)
    return State(catalogue=tables.catalogue(conn), columns=listed, data=tables.data(conn, listed))


class Cycle:
    """One case on one database."""

    def __init__(self, case: Case, conn: Connection, url: str) -> None:
        self.case = case
        self.conn = conn
        self.migration = Migration(url, case.operations, backfill=case.backfill, strategy=case.strategy)

    def all_legs(self) -> None:
        """Walk the ways of the case; all of them where CHANGEOVER_EVERY_LEG is set."""
        if self.case.schema:
            self.conn.execute(self.case.schema.encode())
        if self.case.early:
            self.back_before_swap()
        self.back_after_swap()
        if self.case.ends:
            self.to_the_end()

    def back_before_swap(self) -> None:
        """Everything up to the swap, and back: nothing has changed."""
        before = state(self.conn)
        self._plan_while_others_write()
        self.migration.before_swap()
        self._same_data(before)
        self.migration.roll_back(sql=self.case.sql)
        self._same(before)

    def back_after_swap(self) -> None:
        """Through the swap with writes before and after it, and back."""
        there = self._plainly(self.case.writes)
        written = self._plainly(self.case.writes, self.case.after) if self.case.after else there
        back = self._rehearsed(self.case.writes, self.case.back)
        self._plan_while_others_write()
        self._dump(swapped=False)
        self.migration.run(Phase.EXPAND, Phase.DUAL_WRITE)
        self._write(self.case.writes)
        self.migration.before_swap()
        self.migration.swap()
        self._dump(swapped=True)
        self._same_data(there)
        self._write(self.case.after)
        self.migration.pass_gate("after_swap")
        self._same_data(written)
        self.migration.roll_back(sql=self.case.sql)
        self._same(back)

    def to_the_end(self) -> None:
        """To the new shape, and the old one dropped: what is left is what plain statements make."""
        there = self._plainly("")
        self._plan_while_others_write()
        self.migration.before_swap()
        self.migration.swap()
        self.migration.contract()
        self._same(there, any_order=True)

    def _plan_while_others_write(self) -> None:
        """Begin while others hold the lock on every table that goes along with reading, and with nothing else."""
        if self.case.locks_to_plan:
            return self.migration.begin()
        with self.conn.transaction():
            self.conn.execute(
                """
                do $$ declare one regclass; begin
                  for one in select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
                    where c.relkind in ('r', 'p') and n.nspname !~ '^pg_|^information_schema$|^changeover$'
                  loop execute format('lock table only %s in exclusive mode', one); end loop;
                end $$
                """
            )
            return self.migration.begin()

    def _write(self, statements: str) -> None:
        if statements:
            self.conn.execute(statements.encode())

    def _plainly(self, writes: str, after: str = "") -> State:
        change = self.case.plain or plainly(self.migration.spec)
        return self._rehearsed(writes, *change, self.case.also, after)

    def _typed(self, statement: str) -> str:
        def type_of(found: re.Match[str]) -> str:
            row = self.conn.execute(
                "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = to_regclass(%s)"
                " and attname = %s",
                (found[1], found[2]),
            ).fetchone()
            assert row is not None
            return str(row[0])

        return re.sub(r"\{type of (\w+)\.(\w+)\}", type_of, statement)

    def _rehearsed(self, *statements: str) -> State:
        with self.conn.transaction(force_rollback=True):
            for statement in statements:
                self._write(self._typed(statement))
                # No ALTER TABLE while a deferred check is still to come.
                self._write("set constraints all immediate; set constraints all deferred")
            return state(self.conn)

    def _same(self, wanted: State, *, any_order: bool = False) -> None:
        found = tables.catalogue(self.conn)
        now = tables.data(self.conn, wanted.columns)
        pair = (self._without_chance(wanted.catalogue, wanted.data), self._without_chance(found, now))
        if any_order:
            pair = (tables.unordered(pair[0]), tables.unordered(pair[1]))
        if not (self.case.sql and not any_order):
            assert compare(*pair) == ()
        assert tables.columns(self.conn) == wanted.columns or self.case.sql
        self._same_data(wanted)
        assert tables.leftovers(self.conn) == []

    def _without_chance(self, catalogue: Catalogue, data: tables.Data) -> Catalogue:
        """Return a catalogue without what differs from run to run, and may."""
        return catalogue

    def _same_data(self, wanted: State) -> None:
        found = tables.data(self.conn, wanted.columns)
        if self.case.computed:
            assert found == wanted.data
        assert {name: len(rows) for name, rows in found.items()} == {n: len(r) for n, r in wanted.data.items()}

    def _dump(self, *, swapped: bool) -> None:
        assert self.migration.plan is not None
        with tempfile.TemporaryDirectory() as folder:
            for target in self.migration.plan.dumps:
                self.migration.engine.dump(target, Path(folder), swapped=swapped)
