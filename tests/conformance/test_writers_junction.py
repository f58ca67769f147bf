"""References become rows of a junction under writers of both shapes: nothing is lost, fails, or deadlocks."""

from typing import Any

import pytest

from tests.conformance import tables
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.junction_writers import OTHER, TWIN, JunctionWriters
from tests.conformance.outbox import carry
from tests.legs import EVERY_LEG

ONE = f"""{OTHER}
create table u (id int primary key, o_id int references o, n int default 0);
create index on u (o_id);
insert into u (id, o_id) select i, nullif(i % 5, 0) from generate_series(1, 400) i;
{TWIN.format("array[o_id]")}"""
ARRAY = f"""{OTHER}
create table u (id int primary key, o_ids int[], n int default 0);
insert into u (id, o_ids) select i, case when i % 5 > 0 then array[i % 5, 6] end from generate_series(1, 400) i;
{TWIN.format("o_ids")}"""
BODY = {"table": "u", "references": "o", "to": "j", "key": {"id": "u_id"}, "reference": "o_id"}
WAYS = [("column", ONE, "o_id"), ("array", ARRAY, "o_ids")]


def junction(column: str) -> list[dict[str, Any]]:
    """Return the operation."""
    return [{"extract_junction": {**BODY, "column": column}}]


def different(conn: Connection) -> list[tuple[Any, ...]]:
    """Return rows whose junction is not what the twin says."""
    return conn.execute(
        "with found as (select u.id, (select array_agg(o_id order by o_id) from j where u_id = u.id) as refs from u),"
        " wanted as (select id, (select array_agg(r order by r) from unnest(refs) as r) as refs from twin)"
        " select * from wanted as w full join found as f using (id) where w.refs is distinct from f.refs limit 5"
    ).fetchall()


def unsaid(conn: Connection, column: str) -> list[tuple[Any, ...]]:
    """Return rows whose column says something else: one of the references at least, or of an array all of them."""
    said = {
        "o_id": "(o_id is not null and o_id <> all (refs)) or (o_id is null) <> (refs = '{}')",
        "o_ids": "not (coalesce(o_ids, '{}') <@ refs and refs <@ coalesce(o_ids, '{}'))",
    }
    return conn.execute(
        "select u.*, t.refs from u full join twin t using (id)"
        f" where {said[column]} or u.id is null or t.id is null limit 5".encode()
    ).fetchall()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way[0])
def test_there_and_back_under_writers(way: tuple[str, str, str], conn: Connection, url: str) -> None:
    """Old applications never notice; new ones stand beside them, and nothing that anybody wrote is lost."""
    shape, schema, column = way
    conn.execute(schema.encode())
    before = tables.catalogue(conn)
    migration = Migration(url, junction(column), batch_rows=50)
    with JunctionWriters(url, shape, shape, shape) as writers:
        migration.begin()
        for phase in BEFORE_SWAP:
            migration.run(phase)
            writers.work(60)
        migration.pass_gate("before_swap")
        migration.swap()
        writers.work(60)
    with JunctionWriters(url, shape, "junction", shape, "junction") as writers:
        writers.work(300)
        migration.pass_gate("after_swap")
    carry(conn)
    assert different(conn) == unsaid(conn, column) == []
    if shape == "column":
        # What one column cannot hold is refused first, and nobody loses a reference.
        assert len(migration.before_rollback()) == 1
        conn.execute("delete from j using u where u.id = u_id and j.o_id <> u.o_id")
        conn.execute("update twin set refs = array_remove(array[o_id], null) from u where u.id = twin.id")
    with JunctionWriters(url, shape, shape) as writers:
        migration.roll_back()
        writers.work(60)
    assert unsaid(conn, column) == []
    assert tables.catalogue(conn) == before
    assert tables.leftovers(conn) == []


@pytest.mark.parametrize("way", WAYS if EVERY_LEG else WAYS[:1], ids=lambda way: way[0])
def test_to_the_end_under_writers(way: tuple[str, str, str], conn: Connection, url: str) -> None:
    """The contract happens under applications that know the new shape."""
    shape, schema, column = way
    conn.execute(schema.encode())
    migration = Migration(url, junction(column), batch_rows=50)
    with JunctionWriters(url, shape, shape) as writers:
        migration.begin()
        migration.before_swap()
        migration.swap()
        writers.work(60)
    with JunctionWriters(url, "junction", "junction") as writers:
        writers.work(60)
        migration.contract()
        writers.work(60)
    assert different(conn) == []
    assert tables.leftovers(conn) == []
