"""Drift: what others have changed since a migration was completed is named, and nothing else is."""

import pytest
from psycopg.types.json import Json

from tasks.drift import SNAPSHOT, drift, left, references
from tasks.model.errors import DataChanged, DriftError
from tests.conformance.drive import Connection, Migration

SCHEMA = """
create table t (id int primary key, a text);
create table "Other T" (id int primary key);
create view v as select id from t;
create type mood as enum ('sad', 'ok'); create domain percent as int constraint p check (value < 101);
create type pair as (a int, b mood); create domain "Odd N" as percent[] not null;
create schema elsewhere; create table elsewhere.x (id int);
"""


def complete(migration: Migration, conn: Connection) -> None:
    """Carry a migration out to its end, and remember what the contract task remembers."""
    migration.begin()
    migration.before_swap()
    migration.swap()
    migration.contract()
    assert migration.plan is not None
    conn.execute(
        "insert into changeover.snapshots (migration, name, payload) values (%s, %s, %s)",
        (migration.name, SNAPSHOT, Json(left(migration.engine, migration.plan))),
    )


def test_what_others_change_is_named(conn: Connection, url: str) -> None:
    """In every table of the schema, until the next migration is completed."""
    conn.execute(SCHEMA.encode())
    assert references(conn) == ()
    column = {"add_column": {"table": "t", "column": {"name": "b", "type": "int", "nullable": True}}}
    first = Migration(url, [column])
    complete(first, conn)

    def changes(*under_way: str) -> tuple[str, ...]:
        return drift(first.engine, references(conn), under_way).changes

    assert changes() == ()
    conn.execute("alter table t add column c int; create index by_hand on t (b); create table n (id int)")
    conn.execute("""alter table "Other T" add column d int; alter table elsewhere.x add column d int""")
    assert changes() == (
        "public.n: the table is new",
        "public.Other T: column d is new",
        "public.t: column c is new",
        "public.t: index by_hand is new",
    )
    assert changes("public.t") == ("public.n: the table is new", "public.Other T: column d is new")
    again = {"drop_column": {"table": "t", "column": "c"}}
    complete(Migration(url, [again], name="second"), conn)
    assert changes() == ()
    assert [(one.schema_name, one.migration) for one in references(conn)] == [("public", "second")]
    conn.execute("drop table n")
    assert changes() == ("public.n: the table is gone",)


def test_types_that_others_change_are_named(conn: Connection, url: str) -> None:
    """Values, rules and attributes; not those of a migration that is under way."""
    conn.execute(SCHEMA.encode())
    first = Migration(url, [{"drop_column": {"table": "t", "column": "a"}}])
    complete(first, conn)
    conn.execute(
        "alter type mood add value 'good' before 'ok'; alter domain percent drop constraint p; drop domain \"Odd N\";"
        "alter domain percent set default 3; alter type pair rename attribute a to c; create type n as enum ()"
    )
    known = references(conn)
    assert drift(first.engine, known, ["public.pair", "n"]).changes == (
        "public.Odd N: the domain is gone",
        "public.mood: the enum: parts: good is new",
        "public.percent: the domain: parts: default 3 is new",
        "public.percent: the domain: parts: p CHECK ((VALUE < 101)) is gone",
    )
    assert {"public.n: the enum is new", "public.pair: the composite type: parts: c integer is new"} <= {
        *drift(first.engine, known, ()).changes
    }


def test_a_type_that_has_changed_since_the_plan_is_refused(conn: Connection, url: str) -> None:
    """Also one that a column has only by way of another; those of nobody are nobody's business."""
    conn.execute(SCHEMA.encode())
    conn.execute(
        """alter table t add column p pair[], add column o "Odd N" default '{}'; create type other as enum ()"""
    )
    asked = {"add_column": {"table": "t", "column": {"name": "b", "type": "int", "nullable": True}}}
    migration = Migration(url, [asked])
    migration.begin()
    assert migration.plan is not None
    assert [one.name for one in migration.plan.types] == ["Odd N", "mood", "pair", "percent"]
    conn.execute("alter type other add value 'x'")
    migration.engine.refuse_drift(migration.ledger, migration.plan)
    own = {"spec": {"operations": [{"alter_type": {"name": "mood"}}, {"alter_type": {"name": "public.percent"}}]}}
    conn.execute("alter type mood add value 'x'; alter domain percent drop constraint p")
    with pytest.raises(DriftError, match=r"public\.mood: the enum: parts: x is new; public\.percent") as refused:
        migration.engine.refuse_drift(migration.ledger, migration.plan)
    assert refused.value.changed is DataChanged.NO
    migration.engine.refuse_drift(migration.ledger, migration.plan.model_copy(update=own))
    assert Migration(url, [asked]).engine.plan(migration.spec).digest != migration.plan.digest
