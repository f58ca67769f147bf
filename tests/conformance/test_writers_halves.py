"""Columns go to a table of their own under writers of both shapes: nothing is lost, nothing fails, nobody deadlocks."""

from typing import Any

import pytest

from tests.conformance import tables
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.halves_writers import TWIN, HalvesWriters
from tests.conformance.test_writers_linked import carried, work
from tests.legs import EVERY_LEG

ONE = """
create table u (id int primary key, a text, b text, n int default 0);
insert into u (id, a, b) select i, 'a' || i, nullif('b' || i % 3, 'b0') from generate_series(1, 400) i;
"""
SPLITS = [
    {"table": "u", "columns": ["a", "b"], "to": "d", "key": {"id": "u_id"}, "when_null": rule}
    for rule in ("row", "no_row")
]
OF_ONE = "select id, a, b from u"
OF_TWO = "select u.id, d.a, d.b from u left join d on d.u_id = u.id"


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


@pytest.mark.parametrize("body", SPLITS if EVERY_LEG else SPLITS[:1], ids=lambda body: str(body["when_null"]))
def test_a_split_there_and_back_under_writers(body: dict[str, Any], conn: Connection, url: str) -> None:
    """Old applications never notice; new ones stand beside them, and nothing that anybody wrote is lost."""
    conn.execute((ONE + TWIN).encode())
    before = tables.catalogue(conn)
    migration = Migration(url, [{"split_table": body}], batch_rows=50)
    with HalvesWriters(url, "one table", "one table", "one table") as writers:
        migration.begin()
        for phase in BEFORE_SWAP:
            migration.run(phase)
            work(writers, 60)
        migration.pass_gate("before_swap")
        migration.swap()
        work(writers, 60)
    with HalvesWriters(url, "one table", "two tables", "one table", "two tables") as writers:
        work(writers, 400)
        migration.pass_gate("after_swap")
    carried(conn)
    assert different(conn, OF_ONE) == different(conn, OF_TWO) == partless(conn) == []
    with HalvesWriters(url, "one table", "one table") as writers:
        migration.roll_back()
        work(writers, 60)
    assert different(conn, OF_ONE) == []
    assert tables.catalogue(conn) == before
    assert tables.leftovers(conn) == []


def test_a_split_to_the_end_under_writers(conn: Connection, url: str) -> None:
    """The contract happens under applications that know the new shape."""
    conn.execute((ONE + TWIN).encode())
    migration = Migration(url, [{"split_table": SPLITS[1]}], batch_rows=50)
    with HalvesWriters(url, "one table", "one table") as writers:
        migration.begin()
        migration.before_swap()
        migration.swap()
        work(writers, 60)
    with HalvesWriters(url, "two tables", "two tables") as writers:
        work(writers, 60)
        migration.contract()
        work(writers, 60)
    assert different(conn, OF_TWO) == partless(conn) == []
    assert tables.leftovers(conn) == []
