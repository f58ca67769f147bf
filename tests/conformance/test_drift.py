"""Drift: what others have changed since a migration was completed is named, and nothing else is."""

from psycopg.types.json import Json

from tasks.drift import SNAPSHOT, drift, left, references
from tests.conformance.drive import Connection, Migration

SCHEMA = """
create table t (id int primary key, a text);
create table "Other T" (id int primary key);
create view v as select id from t;
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
