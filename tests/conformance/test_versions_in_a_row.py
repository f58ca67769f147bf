"""Version after version: the columns stay where applications know them, wherever the table has them meanwhile."""

from typing import Any

from tests.conformance import tables
from tests.conformance.drive import Connection
from tests.conformance.test_versions import baseline, migration


def altered(column: str, table: str = "t") -> dict[str, Any]:
    return {"alter_column": {"table": table, "column": column, "type": "bigint", "up": column, "down": column}}


def shown(conn: Connection, version: str, table: str = "t") -> list[str]:
    """What `select *` of a version gives."""
    found = conn.execute(f"select * from public_{version}.{table}".encode()).description or ()
    return [column.name for column in found]


def test_columns_keep_their_places(conn: Connection, url: str) -> None:
    """Of a table that is changed again, there and back and to the end, and of one that is not."""
    conn.execute("create table t (id int primary key, a int, b int, c int); insert into t values (1, 2, 3, 4)")
    conn.execute("create table u (id int primary key, a int, b int); insert into u values (1, 2, 3)")
    baseline(url)
    for version, operations in {
        "v2": [altered("a"), altered("a", "u")],
        "v3": [altered("b"), {"add_column": {"table": "t", "column": {"name": "d", "type": "int", "default": "5"}}}],
        "v4": [altered("a"), {"rename_column": {"table": "t", "from": "b", "to": "z"}}],
    }.items():
        before = f"v{int(version[1]) - 1}"
        names = shown(conn, before)
        catalogue = tables.catalogue(conn)
        made = migration(url, version, operations)
        for end in (made.roll_back, made.contract)[version != "v4" :]:
            made.before_swap()
            made.swap()
            assert shown(conn, before) == names
            assert shown(conn, version) == shown_after(names, version)
            end()
            if end == made.roll_back:
                assert tables.catalogue(conn) == catalogue
                assert shown(conn, before) == names
                made.begin()
        assert shown(conn, version, "u") == ["id", "a", "b"]
    row = conn.execute("insert into public_v4.t values (11, 12, 13, 14, 15) returning a, z, c, d").fetchone()
    assert row == (12, 13, 14, 15)
    assert conn.execute("select id, a, z, c, d from t where id = 1").fetchall() == [(1, 2, 3, 4, 5)]


def shown_after(names: list[str], version: str) -> list[str]:
    """What a version makes of the columns of the one before."""
    return {"v3": [*names, "d"], "v4": ["z" if name == "b" else name for name in names]}.get(version, names)
