# ruff: noqa: E501 - one case a line reads better than one folded
"""The cycle for types: enums and domains that are made, altered, dropped, and exchanged for one another."""

from collections.abc import Sequence
from threading import Thread
from typing import Any

import psycopg
import pytest

from tasks.model.errors import ChangeoverError
from tasks.model.steps import Phase
from tests.conformance import tables
from tests.conformance.cycle import Case, Cycle, each
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_cycle_tables import operation
from tests.conformance.test_locks_announced import WAYS, surprises
from tests.conformance.together import together

SCHEMA = """
create type mood as enum ('sad', 'ok', 'glad');
create domain cents as int;
create table t (id int primary key, m mood not null default 'ok', n mood, price cents, other cents);
create index on t (m); create index on t (n, id);
insert into t select i, (enum_range(null::mood))[1 + i % 3], case when i % 2 = 0 then 'sad'::mood end, i, -i
  from generate_series(1, 20) i;
"""
FEELING = operation("create_type", name="feeling", values=["unhappy", "fine, so", "it's good"])
UP = "(case {0} when 'sad' then 'unhappy' when 'ok' then 'fine, so' when 'glad' then 'it''s good' end)::feeling"
DOWN = "(case {0} when 'unhappy' then 'sad' when 'fine, so' then 'ok' when 'it''s good' then 'glad' end)::mood"


def exchange(column: str, **more: str) -> dict[str, Any]:
    """Let a column have the new enum."""
    up, down = UP.format(column), DOWN.format(column)
    return operation("alter_column", table="t", column=column, type="feeling", up=up, down=down, **more)


REPLACED = [FEELING, exchange("m", default="'fine, so'"), exchange("n"), operation("drop_type", name="mood")]
CASES = [
    Case(name="enum", schema=SCHEMA, operations=[FEELING]),
    Case(name="enum of another schema", schema="create schema s;" + SCHEMA,
         operations=[operation("create_type", name="s.Odd name", values=["a"])]),
    Case(
        name="enum replaced by another",
        schema=SCHEMA,
        operations=REPLACED,
        writes="insert into t (id, n) values (30, 'glad'); update t set m = 'sad' where id = 4",
        after="insert into t (id, n) values (40, 'unhappy'); update t set m = 'it''s good' where id = 5",
        back="insert into t (id, n) values (40, 'sad'); update t set m = 'glad' where id = 5",
    ),
    Case(
        name="enum for a column that goes",
        schema=SCHEMA,
        operations=[operation("drop_column", table="t", column=c, down="'ok'::mood", lossy=True) for c in ("m", "n")]
        + [operation("drop_type", name="mood")],
    ),
    Case(name="enum for a new column and a new table", schema=SCHEMA, operations=[
        FEELING,
        operation("add_column", table="t", column={"name": "f", "type": "feeling"}, up=UP.format("m")),
        operation("create_table", name="w", columns=[{"name": "f", "type": "feeling", "default": "'unhappy'"}]),
    ]),
    Case(name="domain for a column", schema=SCHEMA, operations=[
        operation("create_type", name="euro", domain={
            "type": "numeric(9, 2)", "default": "0", "check": {"name": "not_negative", "constraint": "value >= 0"}}),
        operation("alter_column", table="t", column="price", type="euro", up="price / 100.0", down="price * 100"),
    ], after="update t set price = 7 where id = 3", back="update t set price = 700 where id = 3"),
    Case(name="domains with defaults", schema=SCHEMA + """
            create domain three as int default 3 check (value > 0); create domain stamp as text default clock_timestamp()::text;
            alter table t add th three, add tn stamp; create table u (id int primary key, a int); insert into u values (1, 7);""",
         operations=[
            operation("add_column", table="u", column={"name": "x", "type": "three", "nullable": True}),
            operation("add_column", table="u", column={"name": "y", "type": "three"}, up="a"),
            operation("add_column", table="u", column={"name": "z", "type": "stamp", "nullable": True}, up="a || '!'"),
            operation("rename_column", table="t", **{"from": "th", "to": "tri"}),
            operation("alter_column", table="t", column="price", type="three", up="id", down="null", lossy=True),
            operation("rename_column", table="t", **{"from": "tn", "to": "then"})],
         writes="insert into u (id, a) values (2, 8); insert into t (id, th, tn) values (33, 5, 'x')",
         after="insert into u values (3, 9, 9, 9, 'z')", back="insert into u values (3, 9)"),
    Case(name="rule of a domain", schema=SCHEMA, operations=[
        operation("alter_type", name="cents", check={"name": "small", "constraint": "value < 1000 or value is null"})],
        writes="insert into t (id, price) values (31, 999)"),
]  # fmt: skip


@each(together(CASES, names="t u w mood feeling cents euro three stamp", alone=["enum of another schema"]))
def test_there_and_back_again(case: Case, conn: Connection, url: str) -> None:
    """Forward, back, from every point; the types are what they were, too."""
    Cycle(case, conn, url).all_legs()
    assert types(conn) == types_plainly(case, conn, url)


def types(conn: Connection) -> Sequence[tuple[str, ...]]:
    """Return enums with their values, and domains with their rules."""
    return conn.execute(
        "select t.typname, array(select enumlabel::text from pg_enum where enumtypid = t.oid order by enumsortorder)::text,"
        " array(select pg_get_constraintdef(oid) from pg_constraint where contypid = t.oid order by 1)::text from pg_type t"
        " where typtype in ('e', 'd') and typnamespace not in"
        " ('information_schema'::regnamespace, 'changeover'::regnamespace) order by 1"
    ).fetchall()


def types_plainly(case: Case, conn: Connection, url: str) -> Sequence[tuple[str, ...]]:
    """Return the same after the plain statements on the same schema, elsewhere."""
    from tests.conformance.plain import plainly

    with conn.transaction(force_rollback=True):
        conn.execute("drop schema if exists s cascade; drop schema public cascade; create schema public")
        conn.execute(case.schema.encode())
        for statement in plainly(Migration(url, case.operations).spec):
            conn.execute(statement.encode())
        return types(conn)


def test_values_stay_and_are_announced(conn: Connection, url: str) -> None:
    """A value cannot be taken away: the plan says so, a rollback ends well, and a second run does, too."""
    conn.execute(SCHEMA)
    added = [{"value": "so so", "before": "ok"}, {"value": "o'kay", "after": "so so"}, {"value": "ecstatic"}]
    migration = Migration(url, [operation("alter_type", name="mood", add_values=added)])
    migration.begin()
    assert ["a rollback leaves so so, o'kay, ecstatic in public.mood" in f.message for f in migration.findings] == [
        True
    ]
    migration.before_swap()
    migration.roll_back()
    migration.begin()
    assert any("nothing is added" in finding.message for finding in migration.findings)
    migration.before_swap()
    migration.swap()
    conn.execute("insert into t values (50, 'ecstatic')")
    migration.contract()
    assert types(conn)[1] == ("mood", '{sad,"so so",o\'kay,ok,glad,ecstatic}', "{}")


REFUSED: dict[str, tuple[str, list[dict[str, Any]], str, str]] = {
    "type that is there": ("", [operation("create_type", name="mood", values=["a"])], "public.mood exists already", "another name"),
    "name of a table": ("", [operation("create_type", name="t", values=["a"])], "public.t exists already", "another name"),
    "domain of nothing": ("", [operation("create_type", name="d", domain={"type": "nix"})], 'type "nix"', "Correct"),
    "unknown type": ("", [operation("alter_type", name="moods", add_values=[{"value": "x"}])], "no type moods", "Did you mean mood"),
    "values of a domain": ("", [operation("alter_type", name="cents", add_values=[{"value": "x"}])], "is a domain, not an enum", "Only"),
    "rule of an enum": ("", [operation("alter_type", name="mood", check={"name": "c", "constraint": "true"})], "is an enum, not a domain", "Only"),
    "rule that reads nothing": ("", [operation("alter_type", name="cents", check={"name": "c", "constraint": "x > 1"})], "x", "Correct"),
    "place that is not there": ("", [operation("alter_type", name="mood", add_values=[{"value": "x", "after": "y"}])], '"y" is not an existing', "Correct"),
    "new value in a default": ("", [operation("alter_type", name="mood", add_values=[{"value": "x"}]),
                                    operation("alter_column", table="t", column="m", default="'x'")], "unsafe use of new value", "a migration of its own"),
    "dropped while it is used": ("", [operation("drop_type", name="mood")], "mood is used by", "alter_column"),
    "dropped while one column has it": ("", [FEELING, exchange("n"), operation("drop_type", name="mood")], "used by: column m of table t", "alter_column"),
    "index on a value of it": ("create index on t (n) where m <> 'sad'", REPLACED, "operator does not exist: feeling <> mood", "."),
    "dropped while a function has it": ("create function f(mood) returns int language sql as 'select 1'", REPLACED, "used by: function f", "alter_column"),
    "dropped while an array has it": ("create table o (x mood[])", REPLACED, "used by: column x of table o", "alter_column"),
    "dropped though it is a table": ("", [operation("drop_type", name="t")], "is a row type", "Only"),
    "domain that is never NULL": ("create domain nn as int not null", [operation("alter_column", table="t", column="price", type="nn", up="price", down="price")], "could not be filled by and by", "type beneath"),
    "domain in an array": ("create table o (x cents[])", [operation("alter_type", name="cents", check={"name": "c", "constraint": "value > 1"})], "inside of other types: column x of table o", "rule there"),
    "domain of a domain": ("create domain c2 as cents", [operation("alter_type", name="cents", check={"name": "c", "constraint": "value > 1"})], "inside of other types: type c2", "rule there"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_changes(name: str, conn: Connection, url: str) -> None:
    """What, and what to do."""
    schema, operations, what, hint = REFUSED[name]
    conn.execute((SCHEMA + schema).encode())
    before = tables.catalogue(conn), types(conn)
    with pytest.raises(ChangeoverError) as refused:
        Migration(url, operations).begin()
    assert what in refused.value.what
    assert hint in (refused.value.hint or "")
    assert (tables.catalogue(conn), types(conn)) == before


def test_a_rollback_names_who_uses_the_new_type(conn: Connection, url: str) -> None:
    """Nothing of others is dropped, and the rollback says so before it begins."""
    conn.execute(SCHEMA)
    migration = Migration(url, REPLACED[:3])
    migration.begin()
    migration.before_swap()
    migration.swap()
    assert migration.before_rollback() == []
    conn.execute("create table mine (f feeling)")
    assert migration.before_rollback() == ["column f of table mine"]
    conn.execute("drop table mine")
    migration.roll_back()


def test_contract_waits_for_those_who_use_the_old_type(conn: Connection, url: str) -> None:
    """The gate before the contract names them."""
    conn.execute(SCHEMA)
    migration = Migration(url, REPLACED)
    migration.begin()
    migration.before_swap()
    migration.swap()
    conn.execute("create table mine (f mood)")
    assert migration.failures("after_swap") == ["nothing else uses the type public.mood: 1"]
    conn.execute("drop table mine")
    migration.contract()


def test_a_domain_with_constraints_rewrites(conn: Connection, url: str) -> None:
    """PostgreSQL rewrites a table for such a column: a table of some size is left alone."""
    conn.execute("create domain p as int check (value > 0); create table big (id int primary key, n int, s text)")
    conn.execute("insert into big select i, i, repeat(md5(i::text), 40) from generate_series(1, 9000) i")
    widen = operation("alter_column", table="big", column="n", type="p", up="n", down="n")
    with pytest.raises(ChangeoverError, match=r"rewrite public.big: 1. MiB, while nobody"):
        Migration(url, [widen]).begin()
    conn.execute("truncate big")
    migration = Migration(url, [widen])
    migration.begin()
    assert [finding.rule for finding in migration.findings] == ["SAF-13"]


def test_rows_that_break_the_rule_of_a_domain(conn: Connection, url: str) -> None:
    """The gate counts them in every column of the domain, and nothing holds before it passes."""
    conn.execute(SCHEMA)
    rule = operation("alter_type", name="cents", check={"name": "c", "constraint": "value > 0"})
    migration = Migration(url, [rule])
    migration.begin()
    migration.run(Phase.EXPAND)
    assert migration.failures("before_swap") == ["public.t.other meets c: 20"]
    conn.execute("update t set other = null")
    assert migration.failures("before_swap") == []


def test_a_writer_in_flight_does_not_escape_the_rule(conn: Connection, url: str) -> None:
    """The rule waits for who has begun to write; whoever writes afterwards meets it."""
    conn.execute(SCHEMA)
    rule = operation("alter_type", name="cents", check={"name": "c", "constraint": "value < 100"})
    migration = Migration(url, [rule])
    migration.begin()
    migration.run(Phase.EXPAND)
    migration.pass_gate("before_swap")
    with psycopg.connect(url) as writer:
        writer.execute("insert into t (id, price) values (60, 5)")
        run = Thread(target=migration.run, args=(Phase.CONSTRAIN,))
        run.start()
        run.join(1)
        assert run.is_alive()
        writer.execute("update t set price = 99 where id = 60")
        writer.commit()
        run.join(20)
        with pytest.raises(psycopg.errors.CheckViolation):
            writer.execute("update t set price = 100 where id = 60")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("operations", [REPLACED, CASES[-1].operations], ids=["enum", "domain"])
def test_no_lock_is_a_surprise(operations: Sequence[dict[str, Any]], way: str, conn: Connection, url: str) -> None:
    """What a plan announces is what the server locks."""
    conn.execute(SCHEMA)
    migration = Migration(url, operations)
    migration.begin()
    assert surprises(migration, way, url) == []
