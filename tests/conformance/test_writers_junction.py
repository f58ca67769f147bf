"""References become rows of a junction under writers of both shapes: nothing is lost, fails, or deadlocks."""

from typing import Any

from tests.conformance import tables
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.junction_writers import OTHER, TWIN, JunctionWriters
from tests.conformance.test_writers_linked import carried, work

ONE = f"""{OTHER}
create table u (id int primary key, o_id int references o, n int default 0);
create index on u (o_id);
insert into u (id, o_id) select i, nullif(i % 5, 0) from generate_series(1, 400) i;
{TWIN}"""
JUNCTION: list[dict[str, Any]] = [
    {"extract_junction": {"table": "u", "column": "o_id", "references": "o", "to": "j", "key": {"id": "u_id"}}}
]


def different(conn: Connection) -> list[tuple[Any, ...]]:
    """Return rows whose junction is not what the twin says."""
    return conn.execute(
        "with found as (select u.id, (select array_agg(o_id order by o_id) from j where u_id = u.id) as refs from u),"
        " wanted as (select id, (select array_agg(r order by r) from unnest(refs) as r) as refs from twin)"
        " select * from wanted as w full join found as f using (id) where w.refs is distinct from f.refs limit 5"
    ).fetchall()


def unsaid(conn: Connection) -> list[tuple[Any, ...]]:
    """Return rows whose column shows something else than one of the references, or none where there are some."""
    return conn.execute(
        "select u.*, t.refs from u full join twin t using (id) where (o_id is not null and o_id <> all (refs))"
        " or (o_id is null) <> (refs = '{}') or u.id is null or t.id is null limit 5"
    ).fetchall()


def test_there_and_back_under_writers(conn: Connection, url: str) -> None:
    """Old applications never notice; new ones stand beside them, and nothing that anybody wrote is lost."""
    conn.execute(ONE.encode())
    before = tables.catalogue(conn)
    migration = Migration(url, JUNCTION, batch_rows=50)
    with JunctionWriters(url, "column", "column", "column") as writers:
        migration.begin()
        for phase in BEFORE_SWAP:
            migration.run(phase)
            work(writers, 60)
        migration.pass_gate("before_swap")
        migration.swap()
        work(writers, 60)
    with JunctionWriters(url, "column", "junction", "column", "junction") as writers:
        work(writers, 300)
        migration.pass_gate("after_swap")
    carried(conn)
    assert different(conn) == unsaid(conn) == []
    # What one column cannot hold is refused first, and nobody loses a reference.
    assert len(migration.before_rollback()) == 1
    conn.execute("delete from j using u where u.id = u_id and j.o_id <> u.o_id")
    conn.execute("update twin set refs = array_remove(array[o_id], null) from u where u.id = twin.id")
    with JunctionWriters(url, "column", "column") as writers:
        migration.roll_back()
        work(writers, 60)
    assert unsaid(conn) == []
    assert tables.catalogue(conn) == before
    assert tables.leftovers(conn) == []


def test_to_the_end_under_writers(conn: Connection, url: str) -> None:
    """The contract happens under applications that know the new shape."""
    conn.execute(ONE.encode())
    migration = Migration(url, JUNCTION, batch_rows=50)
    with JunctionWriters(url, "column", "column") as writers:
        migration.begin()
        migration.before_swap()
        migration.swap()
        work(writers, 60)
    with JunctionWriters(url, "junction", "junction") as writers:
        work(writers, 60)
        migration.contract()
        work(writers, 60)
    assert different(conn) == []
    assert tables.leftovers(conn) == []
