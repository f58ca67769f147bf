# ruff: noqa: E501 - one case a line reads better than one folded
"""The cycle for columns that PostgreSQL computes from now on, or no longer, by shadow table."""

from typing import Any

import psycopg
import pytest

from tasks.model.errors import ChangeoverError
from tasks.model.steps import ShortTransaction
from tests.conformance import tables
from tests.conformance.cycle import Case, Cycle, each
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration

SCHEMA = """
create table t (id int primary key, "n N" int, twice int default 0, note text collate "C");
create index on t (twice) where twice > 3;
create view v as select id, twice from t where twice > 0;
comment on column t.twice is 'it''s';
insert into t select i, nullif(i, 5), nullif(i, 5) * 2, 'x' || i from generate_series(1, 30) i;
"""
COMPUTED = """
create table t (id int primary key, n int, twice int generated always as (n * 2) stored not null, k int);
create unique index on t (twice);
insert into t (id, n) select i, i from generate_series(1, 30) i;
"""


def alter(column: str = "twice", **more: Any) -> dict[str, Any]:
    return {"alter_column": {"table": "t", "column": column, **more}}


def add(name: str, expression: str, kind: str = "int", **more: Any) -> dict[str, Any]:
    column = {"name": name, "type": kind, "generated": {"expression": expression}, **more}
    return {"add_column": {"table": "t", "column": column}}


COMPUTE = alter(generated={"expression": '"n N" * 2'})
WRITE = alter(generated=None)
CASES = [
    Case(
        name="computed from now on",
        schema=SCHEMA,
        operations=[COMPUTE],
        strategy="shadow_table",
        plain=[
            "drop view v; alter table t drop column twice",
            'alter table t add column twice int generated always as ("n N" * 2) stored; create index on t (twice) where twice > 3',
            "comment on column t.twice is 'it''s'; create view v as select id, twice from t where twice > 0",
        ],
        writes='insert into t values (31, 7, 14), (32, null, null); update t set "n N" = 50, twice = 100 where id = 3; delete from t where id = 4; update t set note = null where id = 9',
        after='insert into t (id, "n N") values (41, 9); update t set "n N" = 8 where id = 6; delete from t where id = 7',
        back='insert into t (id, "n N", twice) values (41, 9, 18); update t set "n N" = 8, twice = 16 where id = 6; delete from t where id = 7',
    ),
    Case(
        name="computed, whatever it was",
        schema="create table t (id int, part text, n int, twice int, primary key (part, id)); insert into t select i, 'p', i, 7 from generate_series(1, 20) i;",
        operations=[alter(generated={"expression": "n * 2"}, nullable=False, lossy=True)],
        strategy="shadow_table",
        plain=["alter table t drop column twice; alter table t add column twice int generated always as (n * 2) stored not null"],
        writes="insert into t values (31, 'q', 7, 3); update t set id = 100 where id = 3",
    ),
    Case(
        name="computed no longer",
        schema=COMPUTED,
        operations=[WRITE],
        strategy="shadow_table",
        plain=["alter table t alter twice drop expression"],
        writes="insert into t (id, n) values (31, 300); update t set n = -1 where id = 3; update t set id = 99 where id = 4",
        after="insert into t (id, n, twice) values (41, 9000, 18000); update t set n = 8000, twice = 16000 where id = 6",
        back="insert into t (id, n) values (41, 9000); update t set n = 8000 where id = 6",
    ),
    Case(
        name="a new one",
        schema=SCHEMA,
        operations=[
            add("Twice 2", 'upper(note) || "n N" * 2', "text", nullable=True, comment="why"),
            add("seven", "7"),
            {"create_index": {"table": "t", "name": "t_2", "columns": ["Twice 2"]}},
            {"create_constraint": {"table": "t", "name": "t_7", "type": "check", "check": "seven > id - 1000"}},
        ],
        strategy="shadow_table",
        plain=[
            """alter table t add column "Twice 2" text generated always as (upper(note) || "n N" * 2) stored""",
            "alter table t add column seven int generated always as (7) stored not null, add constraint t_7 check (seven > id - 1000)",
            """create index t_2 on t ("Twice 2"); comment on column t."Twice 2" is 'why'""",
        ],
        writes='insert into t values (31, 7, 14), (32, null, null); update t set "n N" = 50 where id = 3; delete from t where id = 4',
        after='insert into t (id, "n N") values (41, 9); update t set "n N" = 8, note = null where id = 6; delete from t where id = 7',
        back='insert into t (id, "n N") values (41, 9); update t set "n N" = 8, note = null where id = 6; delete from t where id = 7',
    ),
    Case(
        name="a new identity",
        schema="create table t (id int primary key, a text); insert into t select i, 'a' from generate_series(1, 30) i;",
        operations=[
            {"add_column": {"table": "t", "column": {"name": "No 1", "type": "bigint", "unique": True, "generated": {
                "identity": {"user_specified_values": "ALWAYS", "sequence_options": "start with 100 increment by 10"}}}}},
        ],
        plain=['alter table t add column "No 1" bigint generated always as identity (start with 100 increment by 10) unique'],
        writes="insert into t values (31, 'b'); update t set a = 'c' where id = 3; delete from t where id = 4",
        after="insert into t values (41, 'b'), (42, 'c'); delete from t where id = 7",
        back="insert into t values (41, 'b'), (42, 'c'); delete from t where id = 7",
        computed=False,
    ),
    Case(
        name="no rows",
        schema="create table t (id int primary key, n int, twice int);",
        operations=[alter(generated={"expression": "n * 2"})],
        strategy="shadow_table",
        plain=["alter table t drop column twice; alter table t add column twice int generated always as (n * 2) stored"],
        ends=False,
    ),
]  # fmt: skip


class PlacedCycle(Cycle):
    """The plain statements can only put the column at the end; a shadow table keeps its place."""

    def _same(self, wanted: Any, *, any_order: bool = False) -> None:
        super()._same(wanted, any_order=any_order or self.migration.swapped)


@each(CASES)
def test_there_and_back_and_to_the_end(case: Case, conn: Connection, url: str) -> None:
    PlacedCycle(case, conn, url).all_legs()


def swapped(url: str, conn: Connection, schema: str, operation: dict[str, Any]) -> Migration:
    conn.execute(schema.encode())
    migration = Migration(url, [operation], strategy="shadow_table")
    migration.begin()
    migration.before_swap()
    migration.swap()
    return migration


def test_a_value_that_differs_is_counted(conn: Connection, url: str) -> None:
    """Before the swap, and after it what was written in between; the column keeps its place."""
    conn.execute(SCHEMA.encode())
    migration = Migration(url, [COMPUTE], strategy="shadow_table")
    migration.begin()
    conn.execute("update t set twice = 1 where id in (3, 4)")
    migration.run(*BEFORE_SWAP[:-1])
    assert migration.failures("before_swap") == ["public.t.twice is what its expression gives: 2"]
    conn.execute('update t set twice = "n N" * 2')
    migration.before_swap()
    conn.execute("update t set twice = 1 where id = 3")
    with pytest.raises(AssertionError, match="in the old table too: 1"):
        migration.swap()
    columns = "select attname from pg_attribute where attrelid = 't'::regclass and attnum > 0 order by attnum"
    assert [row[0] for row in conn.execute(columns.encode()).fetchall()] == ["id", "n N", "twice", "note"]
    migration.roll_back()
    assert conn.execute("select twice from t where id = 3").fetchone() == (1,)
    assert tables.leftovers(conn) == []


def test_what_only_the_new_shape_can_hold_is_counted(conn: Connection, url: str) -> None:
    """A value of its own, also from where only notes are possible; one that is what the old table computes is none."""
    migration = swapped(url, conn, COMPUTED, WRITE)
    lost = "select count(*) from changeover.rejections where direction = 'down'"
    conn.execute("insert into t (id, n, twice) values (50, 500, 1000)")
    assert conn.execute(lost.encode()).fetchone() == (0,)
    conn.execute("update t set twice = 7777 where id = 3")
    assert conn.execute(lost.encode()).fetchone() == (1,)
    with psycopg.connect(url) as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.execute("update t set twice = 8888 where id = 4")
    # The note is carried in the rollback at last: there it is one more than anybody can have accepted.
    assert migration.plan is not None
    swap = next(step.action for step in migration.plan.steps if step.key == "swap/all")
    assert isinstance(swap, ShortTransaction)
    with pytest.raises(psycopg.Error, match="rows cannot be carried over"):
        conn.execute(swap.inverse[0].encode())
    migration.roll_back()
    assert conn.execute("select twice from t where id in (3, 4) order by id").fetchall() == [(6,), (8,)]


def test_an_old_application_is_refused_from_the_swap_on(conn: Connection, url: str) -> None:
    """As the plan says."""
    migration = swapped(url, conn, SCHEMA, COMPUTE)
    assert "SHD-05" in {one.rule for one in migration.findings}
    with pytest.raises(psycopg.errors.GeneratedAlways):
        conn.execute("update t set twice = 3")


def test_rows_of_which_an_expression_makes_nothing_are_counted_before_the_run(conn: Connection, url: str) -> None:
    conn.execute((SCHEMA + """update t set note = '' where id = 5""").encode())
    operations = [
        add("x", "100 / length(note)", nullable=True),
        add("y", '"n N"'),
        alter(generated={"expression": "100 / length(note)"}, lossy=True),
    ]
    migration = Migration(url, operations, strategy="shadow_table")
    found = migration.engine.examine(migration.engine.plan(migration.spec), values_in_reports=False).checks
    assert {one.name: one.unexpected for one in found if not one.passed} == {
        "public.t.x can hold what its expression gives, as integer": 1,
        "public.t.twice can hold what its expression gives, as integer": 1,
        "public.t.y is not null": 1,
    }
    conn.execute("alter table t add constraint few check (twice < 70)")
    migration = Migration(url, [alter(generated={"expression": '"n N" * 3'}, lossy=True)], strategy="shadow_table")
    found = migration.engine.examine(migration.engine.plan(migration.spec), values_in_reports=False).checks
    assert {one.name: one.unexpected for one in found if not one.passed} == {"every row of public.t meets few": 7}


REFUSED = {
    "in place": (COMPUTE, "expand_contract", "PostgreSQL would rewrite the table", ""),
    "a new one, in place": (add("x", "id + 1"), "expand_contract", "PostgreSQL would rewrite the table", ""),
    "a new one of a new one": ([add("x", "id + 1"), add("y", "x + 1")], "shadow_table", 'column "x" does not exist', ""),
    "a new one, of what gets another name": (
        [{"rename_column": {"table": "t", "from": "n N", "to": "m"}}, add("x", '"n N" + 1')], "shadow_table", 'column "n N" does not exist', ""),
    "a new one, of what is renamed": (
        [{"rename_column": {"table": "t", "from": "n N", "to": "m"}}, add("x", "m + 1")], "shadow_table", 'column "m" does not exist', ""),
    "a new identity": (
        {"add_column": {"table": "t", "column": {"name": "x", "type": "int", "generated": {"identity": {}}}}}, "shadow_table", "x numbers rows", ""),
    "in place, no longer": (alter("c", generated=None), "expand_contract", "PostgreSQL would rewrite the table", ""),
    "not immutable": (alter(generated={"expression": "extract(epoch from now())::int"}), "shadow_table", "generation expression is not immutable", ""),
    "of itself": (alter(generated={"expression": "twice + 1"}), "shadow_table", "cannot use generated column", ""),
    "the key": (alter("id", generated={"expression": '"n N" * 2'}), "shadow_table", "is part of the key", ""),
    "computed already": (alter("c", generated={"expression": '"n N"'}), "shadow_table", "fills itself already", ""),
    "not computed": (alter("note", generated=None), "shadow_table", "an identity comes, or goes", ""),
    "published by name": (COMPUTE, "shadow_table", "the publication p reads twice", "create publication p for table t (id, twice)"),
    "a foreign key": (COMPUTE, "shadow_table", "the foreign key t_twice_fkey reads twice", "update t set twice = null; alter table t add foreign key (twice) references t"),
}  # fmt: skip


def test_refused_before_anything_changes(conn: Connection, url: str) -> None:
    """With what stands in the way."""
    for operation, strategy, what, more in REFUSED.values():
        conn.execute(b"drop table if exists t cascade; drop publication if exists p")
        conn.execute((SCHEMA + "alter table t add column c int generated always as (1) stored;" + more).encode())
        with pytest.raises(ChangeoverError, match=what):
            Migration(url, operation if isinstance(operation, list) else [operation], strategy=strategy).begin()
        assert tables.leftovers(conn) == []


VIRTUAL = "create table t (id int primary key, n int, k int, v int generated always as (n * 2) {})"
UNTOUCHED = [
    {"alter_column": {"table": "t", "column": "k", "type": "bigint", "up": "k", "down": "k"}},
    {"rename_column": {"table": "t", "from": "n", "to": "m"}},
    {"add_column": {"table": "t", "column": {"name": "w", "type": "int", "nullable": True}, "up": "k + 1"}},
]
REFUSED_VIRTUAL: dict[str, tuple[dict[str, Any], str]] = {
    "up reads it": ({"add_column": {"table": "t", "column": {"name": "w", "type": "int"}, "up": "v + 1"}}, "reads the generated column v"),
    "another type below it": ({"alter_column": {"table": "t", "column": "n", "type": "bigint", "up": "n", "down": "n"}}, "used by a generated column"),
    "another type": (alter("v", type="bigint", up="v", down="v"), "v is a generated column"),
    "dropped below it": ({"drop_column": {"table": "t", "column": "n"}}, "cannot drop column n of table t because"),
    "another name": ({"rename_column": {"table": "t", "from": "v", "to": "w"}}, "v is a generated column"),
    "a table of its own": ({"split_table": {"table": "t", "columns": ["v"], "to": "d"}}, "a generated column"),
}  # fmt: skip
NO_INDEX = {
    "index": {"create_index": {"table": "t", "name": "i", "columns": ["v"]}},
    "unique": {"create_constraint": {"table": "t", "name": "c", "type": "unique", "columns": ["v"]}},
}


def virtual(conn: Connection) -> bool:
    """Tell whether the server has columns that are computed when they are read."""
    return conn.info.server_version >= 180000


def test_beside_a_virtual_column(conn: Connection, url: str) -> None:
    """It is computed from a column that gets another name, and stays what it is."""
    schema = VIRTUAL.format("virtual" if virtual(conn) else "stored")
    rows = "insert into t (id, n, k) select i, i, i from generate_series(1, 20) i"
    writes = "update t set n = 5 where id = 3; insert into t (id, n) values (101, 4)"
    case = Case(name="virtual", schema=f"{schema}; {rows}", operations=UNTOUCHED, writes=writes)
    Cycle(case, conn, url).all_legs()


def test_a_virtual_column_is_refused_what_it_cannot_do(conn: Connection, url: str) -> None:
    """Before anything changes, with the remedy; an index of it, too, where the server has none."""
    conn.execute(VIRTUAL.format("virtual" if virtual(conn) else "stored").encode())
    if virtual(conn):
        definition = "create table t (id int primary key, n int, k int, v int generated always as (n * 2) virtual, w int generated always as (n) virtual)"
        rebuilt = Migration(url, [{"rebuild_table": {"table": "t", "definition": definition}}], strategy="shadow_table")
        with pytest.raises(ChangeoverError, match="new column w is virtual") as refused:
            rebuilt.begin()
        assert "`stored`" in (refused.value.hint or "")
    unindexed = {name: (asked, "virtual generated columns") for name, asked in NO_INDEX.items() if virtual(conn)}
    for asked, what in (REFUSED_VIRTUAL | unindexed).values():
        with pytest.raises(ChangeoverError, match=what) as refused:
            Migration(url, [asked]).begin()
        assert refused.value.hint
        assert "CASCADE" not in refused.value.hint
