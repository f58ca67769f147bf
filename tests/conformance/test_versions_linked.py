"""Two versions of an application where a table becomes two, two become one, and a reference becomes many."""

from typing import Any

import psycopg
import pytest

from tests.conformance import tables
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_versions import Client, baseline

SCHEMA = """
create table u (id int primary key, name text, bio text default 'none', photo text);
create table w (id int primary key, name text);
create table d (w_id int primary key references w on delete cascade, color text);
create table o (id int primary key);
create table b (id int primary key, o_id int references o);
insert into u select i, 'n' || i, 'b' || i from generate_series(1, 9) i;
insert into w select i, 'n' || i from generate_series(1, 9) i;
insert into d select i, 'c' || i from generate_series(1, 5) i;
insert into o select generate_series(1, 9);
insert into b select i, i from generate_series(1, 5) i;
"""
OPERATIONS: list[dict[str, Any]] = [
    {"split_table": {"table": "u", "columns": ["bio", "photo"], "to": "p", "key": {"id": "u_id"}}},
    {"merge_tables": {"table": "w", "from": "d"}},
    {"extract_junction": {"table": "b", "column": "o_id", "references": "o", "to": "j", "key": {"id": "b_id"}}},
]
OLD = "select (select bio from u where id = %(k)s), (select color from d where w_id = %(k)s), (select o_id from b where id = %(k)s)"  # noqa: E501
NEW = (
    "select (select bio from p where u_id = %(k)s), (select color from w where id = %(k)s),"
    " (select string_agg(o_id::text, ',')::int from j where b_id = %(k)s)"
)


def both(old: Client, new: Client, key: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return what each version says of a key in the three places."""
    asked = [client.conn.execute(query, {"k": key}).fetchone() for client, query in ((old, OLD), (new, NEW))]
    assert asked[0] is not None
    assert asked[1] is not None
    return asked[0], asked[1]


@pytest.fixture
def migration(conn: Connection, url: str) -> Migration:
    """The migration before its swap, with the version of before."""
    conn.execute(SCHEMA.encode())
    baseline(url)
    made = Migration(url, OPERATIONS, version_schema="v2")
    made.begin()
    made.before_swap()
    return made


def test_each_writes_its_own_shape_and_sees_what_the_other_writes(
    migration: Migration, conn: Connection, url: str
) -> None:
    """From before the swap until the contract; neither sees what only the other shape has."""
    with Client.of(url, "v1") as old, Client.of(url, "v2") as new:
        for key, moment in ((1, "before the swap"), (2, "after it")):
            old.conn.execute(f"update u set bio = 'x' where id = {key}".encode())
            old.conn.execute(
                f"update d set color = 'y' where w_id = {key}; update b set o_id = 7 where id = {key}".encode()
            )
            assert both(old, new, key) == (("x", "y", 7),) * 2, moment
            new.conn.execute(
                f"update p set bio = 'z' where u_id = {key}; update w set color = 'r' where id = {key}".encode()
            )
            new.conn.execute(f"update j set o_id = 8 where b_id = {key}".encode())
            assert both(old, new, key) == (("z", "r", 8),) * 2, moment
            new.conn.execute(f"delete from j where b_id = {key}".encode())
            assert both(old, new, key) == (("z", "r", None),) * 2, moment
            if moment == "before the swap":
                migration.swap()
        assert new.columns("u") == ["id", "name"]
        assert old.columns("u") == ["id", "name", "bio", "photo"]
        assert new.columns("w") == ["id", "name", "color"]
        assert old.columns("w") == ["id", "name"]
        assert new.columns("b") == ["id"]
        for client, gone in ((old, "p"), (old, "j"), (new, "d")):
            schema = "public_v1" if client is old else "public_v2"
            with pytest.raises(psycopg.errors.UndefinedTable):
                client.conn.execute(f"select * from {schema}.{gone}".encode())
        new.conn.execute(
            "insert into u values (101, 'n'); insert into p values (101, 'x'); insert into j values (3, 9)"
        )
        old.conn.execute("insert into u (id, bio) values (102, 'y'); delete from d where w_id = 4")
        assert both(old, new, 101)[0][0] == both(old, new, 101)[1][0] == "x"
        assert both(old, new, 102)[1][0] == "y"
        assert both(old, new, 4)[1][1] is None
        migration.contract()
        new.conn.execute("update p set photo = 'q' where u_id = 1; insert into j values (4, 1)")
    assert tables.leftovers(conn) == []


def test_a_rollback_takes_the_new_version_with_it(migration: Migration, conn: Connection, url: str) -> None:
    """And leaves what applications of both wrote."""
    migration.swap()
    with Client.of(url, "v1") as old, Client.of(url, "v2") as new:
        new.conn.execute("update p set bio = 'z' where u_id = 1; insert into w values (101, 'n', 'c')")
        new.conn.execute("delete from j where b_id = 1")
        migration.roll_back()
        found = old.conn.execute(OLD.encode(), {"k": 1}).fetchone()
        assert found == ("z", "c1", None)
        assert old.rows("select color from d where w_id = 101") == [("c",)]
    assert tables.leftovers(conn) == []
