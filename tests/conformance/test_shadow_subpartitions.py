"""Partitions that have partitions are followed, emptied and put aside like all others."""

import psycopg
import pytest

from tasks.model.errors import ChangeoverError
from tasks.model.steps import Phase
from tests.conformance import tables
from tests.conformance.drive import Connection
from tests.conformance.test_shadow_partitions import BY_AT, ids, ready, rebuild
from tests.conformance.test_shadow_writers import finish, rows

DEEP = """
create table t (id int, at int not null, a text, primary key (id, at)) partition by range (at);
create table low partition of t for values from (minvalue) to (10) partition by list (id);
create table low_few partition of low for values in (0, 1, 2, 3); create table low_rest partition of low default;
create table high partition of t for values from (10) to (maxvalue) partition by hash (id);
create table "High 0" partition of high for values with (modulus 2, remainder 0) partition by range (id);
create table high_all partition of "High 0" default;
create table high_1 partition of high for values with (modulus 2, remainder 1);
insert into t select i, i, 'a' from generate_series(0, 19) i;
"""
WHOLE = rebuild(unpartition=True, primary_key=["id"])


@pytest.mark.every_leg
@pytest.mark.parametrize("operations", [WHOLE, BY_AT])
def test_there_and_back_and_there_for_good(operations: list[dict[str, object]], conn: Connection, url: str) -> None:
    """Rows are written, moved, and go with a partition on each level, on both sides of the swap."""
    conn.execute(DEEP.encode())
    before = tables.catalogue(conn)
    migration = ready(conn, url, "select", operations)
    conn.execute("update t set a = 'b' where id = 1; update t set at = 30 where id = 2; truncate low_rest, high_all")
    conn.execute("insert into t values (5, 5), (50, 50), (51, 51); delete from t where id = 51")
    wanted = rows(conn)
    finish(migration)
    assert rows(conn) == wanted
    conn.execute("update t set at = 4 where id = 50; insert into t values (60, 60); delete from t where id = 1")
    wanted = rows(conn)
    assert migration.failures("after_swap") == []
    migration.roll_back()
    assert rows(conn) == wanted
    assert tables.catalogue(conn) == before
    migration.begin()
    migration.before_swap()
    conn.execute("truncate high")
    migration.swap()
    migration.contract()
    assert rows(conn, "select count(*) from t where at >= 10") == [(0,)]
    assert tables.leftovers(conn) == []


def test_what_was_not_seen_of_one_below_refuses_the_swap(conn: Connection, url: str) -> None:
    migration = ready(conn, url, DEEP, WHOLE)
    migration.run(Phase.INDEX, Phase.RECONCILE)
    assert migration.failures("before_swap") == []
    conn.execute("truncate low_few")
    conn.execute('alter table "High 0" detach partition high_all')
    with pytest.raises(ChangeoverError, match="is not what the plan was made for"):
        migration.run(Phase.SWAP)
    conn.execute('delete from high_all; alter table "High 0" attach partition high_all default')
    assert [one for one in migration.failures("before_swap") if "is whole" in one]
    with pytest.raises(psycopg.DatabaseError, match="was attached, or made"):
        migration.run(Phase.SWAP)
    assert not migration.swapped
    wanted = ids(conn)
    migration.roll_back()
    assert ids(conn) == wanted
    assert 3 not in wanted
