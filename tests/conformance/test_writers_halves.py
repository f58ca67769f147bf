"""One table becomes two, or two become one, under writers of both shapes: nothing is lost, fails, or deadlocks."""

from typing import Any

import pytest

from tests.conformance import tables
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.halves_writers import TWIN, HalvesWriters
from tests.conformance.outbox import carry
from tests.legs import EVERY_LEG

ONE = """
create table u (id int primary key, a text, b text, n int default 0);
insert into u (id, a, b) select i, 'a' || i, nullif('b' || i % 3, 'b0') from generate_series(1, 400) i;
"""
TWO = """
create table u (id int primary key, n int default 0);
create table d (u_id int primary key references u on delete cascade on update cascade, a text, b text);
insert into u select generate_series(1, 400);
insert into d select i, 'a' || i, nullif('b' || i % 3, 'b0') from generate_series(1, 400) i;
"""
MERGE: list[dict[str, Any]] = [{"merge_tables": {"table": "u", "from": "d"}}]
SPLITS = [
    {"table": "u", "columns": ["a", "b"], "to": "d", "key": {"id": "u_id"}, "when_null": rule}
    for rule in ("row", "no_row")
]
OF_ONE = "select id, a, b from u"
OF_TWO = "select u.id, d.a, d.b from u left join d on d.u_id = u.id"
WAYS = [
    (ONE, {"split_table": SPLITS[0]}, "one table", "two tables", OF_TWO),
    (ONE, {"split_table": SPLITS[1]}, "one table", "two tables", OF_TWO),
    (TWO, MERGE[0], "two tables", "one table", OF_ONE),
]


def different(conn: Connection, rows: str) -> list[tuple[Any, ...]]:
    """Return rows that are not what the twin says."""
    return conn.execute(
        f"select t.*, x.* from twin t full join ({rows}) x on x.id = t.id"
        " where row(t.id, t.a, t.b) is distinct from row(x.id, x.a, x.b) limit 5".encode()
    ).fetchall()


def partless(conn: Connection) -> list[tuple[Any, ...]]:
    """Return rows without another half that have something to say there."""
    return conn.execute(
        "select t.* from twin t where num_nonnulls(a, b) > 0 and not exists (select from d where u_id = t.id)"
    ).fetchall()


@pytest.mark.parametrize("way", WAYS if EVERY_LEG else WAYS[::2], ids=lambda way: str(way[2]))
def test_there_and_back_under_writers(way: tuple[str, Any, str, str, str], conn: Connection, url: str) -> None:
    """Old applications never notice; new ones stand beside them, and nothing that anybody wrote is lost."""
    schema, operation, old, new, _ = way
    conn.execute((schema + TWIN).encode())
    before = tables.catalogue(conn)
    migration = Migration(url, [operation], batch_rows=50)
    with HalvesWriters(url, old, old, old) as writers:
        migration.begin()
        for phase in BEFORE_SWAP:
            migration.run(phase)
            writers.work(60)
        migration.pass_gate("before_swap")
        migration.swap()
        writers.work(60)
    with HalvesWriters(url, old, new, old, new) as writers:
        writers.work(400)
        migration.pass_gate("after_swap")
    carry(conn)
    assert different(conn, OF_ONE) == different(conn, OF_TWO) == partless(conn) == []
    with HalvesWriters(url, old, old) as writers:
        migration.roll_back()
        writers.work(60)
    assert different(conn, OF_ONE if old == "one table" else OF_TWO) == []
    assert tables.catalogue(conn) == before
    assert tables.leftovers(conn) == []


@pytest.mark.parametrize("way", WAYS[1:] if EVERY_LEG else WAYS[1:2], ids=lambda way: str(way[2]))
def test_to_the_end_under_writers(way: tuple[str, Any, str, str, str], conn: Connection, url: str) -> None:
    """The contract happens under applications that know the new shape."""
    schema, operation, old, new, rows = way
    conn.execute((schema + TWIN).encode())
    migration = Migration(url, [operation], batch_rows=50)
    with HalvesWriters(url, old, old) as writers:
        migration.begin()
        migration.before_swap()
        migration.swap()
        writers.work(60)
    with HalvesWriters(url, new, new) as writers:
        writers.work(60)
        migration.contract()
        writers.work(60)
    assert different(conn, rows) == []
    assert tables.leftovers(conn) == []
