"""Versions of a schema whose tables are renamed and dropped: each application sees those that it knows."""

import pytest

from tasks.model.errors import PreflightError
from tests.conformance import tables
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_versions import baseline, migration

SCHEMA = """
create table t (id int primary key, a text default 'd'); create table o (id int primary key references t);
insert into t select i from generate_series(1, 5) i;
"""
RENAME = [{"rename_table": {"from": "t", "to": "r"}}]
DROP = [{"drop_table": {"name": "o"}}]


def shown(conn: Connection) -> list[str]:
    """Name every view."""
    rows = conn.execute(
        "select schemaname || '.' || viewname from pg_views where schemaname like 'public%' order by 1"
    ).fetchall()
    return [row[0] for row in rows]


def test_a_version_shows_the_new_name(conn: Connection, url: str) -> None:
    """The version before keeps the old one until the contract; both write to the same table all the time."""
    conn.execute(SCHEMA)
    baseline(url)
    before = tables.catalogue(conn)
    second = migration(url, "v2", RENAME)
    for swapped in (False, True):
        second.before_swap()
        if swapped:
            second.swap()
        for name in ("public.t", "public.r", "public_v1.t", "public_v2.r"):
            statement = f"insert into {name} (id) select max(id) + 1 from {name} returning a"
            assert conn.execute(statement.encode()).fetchall() == [("d",)]
        second.roll_back()
        assert tables.catalogue(conn) == before
        second.begin()
    second.before_swap()
    second.swap()
    second.contract()
    assert shown(conn) == ["public_v2.o", "public_v2.r"]
    assert conn.execute("select count(*) from public_v2.r").fetchone() == (13,)


def test_a_version_does_not_show_a_table_that_goes(conn: Connection, url: str) -> None:
    """The version before shows it until the contract, which drops that version first."""
    conn.execute(SCHEMA)
    baseline(url)
    with pytest.raises(PreflightError, match=r"applications see public\.o through the version public_v1"):
        Migration(url, DROP).begin()
    second = migration(url, "v2", DROP)
    second.before_swap()
    second.swap()
    assert shown(conn) == ["public_v1.o", "public_v1.t", "public_v2.t"]
    second.roll_back()
    second.begin()
    second.before_swap()
    second.swap()
    conn.execute("create view v as select id from o")
    assert second.failures("after_swap") == ["nothing else depends on public.o: 1"]
    conn.execute("drop view v")
    second.contract()
    assert (shown(conn), tables.names(conn)) == (["public_v2.t"], ["public.t"])
