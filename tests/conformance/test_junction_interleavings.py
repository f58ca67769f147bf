"""What transactions do to the references of a row, in its column and in the junction, statement by statement."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tasks.model.steps import Phase
from tests.conformance import tables
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.outbox import waiting
from tests.conformance.test_linked_interleavings import applications

SCHEMA = """
create table o (id int primary key);
insert into o select generate_series(1, 9);
create table u (id int primary key, o_id int references o, n int default 0);
insert into u (id, o_id) select i, i from generate_series(1, 9) i;
"""
ARRAY = """
create table o (id int primary key);
insert into o select generate_series(1, 9);
create table u (id int primary key, o_id int[] not null, n int default 0);
insert into u (id, o_id) select i, array[i, 9] from generate_series(1, 8) i;
"""
JUNCTION: list[dict[str, Any]] = [
    {"extract_junction": {"table": "u", "column": "o_id", "references": "o", "to": "j", "key": {"id": "u_id"}}}
]


@pytest.fixture
def swapped(conn: Connection, url: str) -> Migration:
    """A migration after its swap."""
    conn.execute(SCHEMA.encode())
    migration = Migration(url, JUNCTION)
    migration.begin()
    migration.before_swap()
    migration.swap()
    return migration


def said(conn: Connection, key: int) -> tuple[Any, list[int]]:
    """Return what the column says of a key, and then the junction."""
    row = conn.execute("select o_id from u where id = %s", (key,)).fetchone()
    rows = conn.execute("select o_id from j where u_id = %s order by 1", (key,)).fetchall()
    return row and row[0], [one for (one,) in rows]


def blocked(conn: Connection, other: Connection) -> None:
    """Wait until a session waits for another one."""
    for _ in range(500):
        row = conn.execute("select cardinality(pg_blocking_pids(%s))", (other.info.backend_pid,)).fetchone()
        if row and row[0]:
            return
        time.sleep(0.01)
    raise AssertionError("it waits for nobody")


def later(conn: Connection, actions: str) -> None:
    """Make the foreign key of the column again: it acts after that of the junction then."""
    row = conn.execute(
        "select max(tgname collate \"C\") from pg_trigger where tgrelid = 'o'::regclass and tgisinternal"
    ).fetchone()
    assert row is not None
    for _ in range(20):
        conn.execute(
            "alter table u drop constraint u_o_id_fkey, add constraint u_o_id_fkey foreign key (o_id)"
            f" references o {actions}".encode()
        )
        found = conn.execute(
            'select min(t.tgname collate "C") > %s from pg_trigger t join pg_constraint c on c.oid = t.tgconstraint'
            " where t.tgrelid = 'o'::regclass and c.conname = 'u_o_id_fkey'",
            row,
        ).fetchone()
        if found and found[0]:
            return
    raise AssertionError("its triggers keep smaller names")


def test_an_old_application_writes_the_one_that_it_sees(swapped: Migration, conn: Connection) -> None:
    """The others stay, and the column shows one as long as there is any."""
    conn.execute("insert into j values (1, 5), (1, 7)")
    assert said(conn, 1) == (1, [1, 5, 7])
    conn.execute("update u set o_id = 3 where id = 1")
    assert said(conn, 1) == (3, [3, 5, 7])
    conn.execute("update u set o_id = null where id = 1")
    assert said(conn, 1) == (5, [5, 7])
    conn.execute("delete from j where u_id = 1 and o_id = 5")
    assert said(conn, 1) == (7, [7])
    conn.execute("update u set o_id = null where id = 1")
    assert said(conn, 1) == (None, [])
    conn.execute("insert into j values (1, 8)")
    assert said(conn, 1) == (8, [8])


def test_several_references_refuse_a_rollback(swapped: Migration, conn: Connection) -> None:
    """Until they are one again, however they become so."""
    conn.execute("insert into j values (1, 5)")
    assert len(swapped.before_rollback()) == 1
    conn.execute("delete from j where u_id = 1 and o_id = 1")
    swapped.roll_back()
    assert conn.execute("select o_id from u where id = 1").fetchone() == (5,)
    assert tables.leftovers(conn) == []


@pytest.mark.parametrize("swap", [True, False])
def test_a_second_reference_after_the_question(conn: Connection, url: str, swap: bool) -> None:
    """A rollback asks once more under its locks, of the rows that have been written, and nothing is lost."""
    conn.execute(SCHEMA.encode())
    migration = Migration(url, JUNCTION)
    migration.begin()
    migration.before_swap()
    if swap:
        migration.swap()
    conn.execute("insert into j values (1, 5)")
    assert len(migration.before_rollback()) == 1
    conn.execute("delete from j where (u_id, o_id) = (1, 5)")
    assert migration.before_rollback() == []
    conn.execute("insert into j values (2, 7)")
    with pytest.raises(psycopg.errors.RaiseException, match=r"rows of public\.j say what public\.u\.o_id cannot hold"):
        migration.roll_back_steps()
    assert said(conn, 2) == (2, [2, 7])
    conn.execute("update u set o_id = 8 where id = 2; update u set id = 102 where id = 2")
    assert said(conn, 102) == (8, [7, 8])
    conn.execute(
        "delete from j where (u_id, o_id) = (102, 7); insert into j values (3, 4), (4, 1); delete from u where id = 3"
    )
    conn.execute("update u set o_id = null where id = 4; delete from j where (u_id, o_id) = (4, 4)")
    migration.roll_back()
    assert conn.execute("select o_id from u where id in (102, 4) order by id").fetchall() == [(1,), (8,)]
    assert tables.leftovers(conn) == []


@pytest.mark.parametrize("swap", [True, False])
def test_a_rollback_carries_what_waits(conn: Connection, url: str, swap: bool) -> None:
    """It waits for whoever has a row of the other table; nobody else would carry what his row has kept waiting."""
    conn.execute(SCHEMA.encode())
    migration = Migration(url, JUNCTION)
    migration.begin()
    migration.before_swap()
    if swap:
        migration.swap()
    with applications(url) as (a, b):
        b.execute("update u set o_id = null where id = 1")
        b.execute("begin isolation level repeatable read; insert into j values (1, 5); commit")
        a.execute("begin; select from o where id = 5 for update")
        assert migration.blocked_back()
        assert said(conn, 1) == (None, [5])
        a.execute("commit")
    migration.roll_back()
    assert conn.execute("select o_id from u where id = 1").fetchone() == (5,)


def test_a_contract_carries_what_waits(swapped: Migration, conn: Connection, url: str) -> None:
    """It waits for whoever has a row of the other table, and does not fail."""
    with applications(url) as (a, b):
        b.execute("update u set o_id = null where id = 1")
        b.execute("begin isolation level repeatable read; insert into j values (1, 5); commit")
        b.execute("begin isolation level repeatable read; update u set o_id = 8 where id = 2; commit")
        a.execute("begin; select from o where id in (5, 8) for update")
        assert swapped.blocked_contract()
        a.execute("commit")
    swapped.contract()
    assert conn.execute("select o_id from j where u_id < 3 order by u_id").fetchall() == [(5,), (8,)]


@pytest.mark.parametrize("swap", [True, False])
@pytest.mark.parametrize("statement", ["delete from o where id = 1", "update o set id = 11 where id = 1"])
def test_who_takes_a_reference_away_lets_who_has_its_row_go_on(
    conn: Connection, url: str, statement: str, swap: bool
) -> None:
    """Whatever the names of the triggers of the foreign keys: he comes to the junction by way of the table, too."""
    conn.execute(SCHEMA.replace("references o,", "references o on delete set null on update cascade,").encode())
    migration = Migration(url, JUNCTION)
    migration.begin()
    migration.before_swap()
    if swap:
        migration.swap()
    else:
        later(conn, "on delete set null on update cascade")
    with applications(url) as (a, b), ThreadPoolExecutor(1) as pool:
        a.execute("begin; update u set n = 1 where id = 1")
        one = pool.submit(b.execute, statement.encode())
        blocked(conn, b)
        a.execute("delete from u where id = 1; commit")
        one.result(timeout=10)
    assert said(conn, 1) == (None, [])
    migration.roll_back()
    assert tables.leftovers(conn) == []


@pytest.mark.parametrize("made", ["before", "after"])
def test_a_new_key_that_the_column_does_not_follow(conn: Connection, url: str, made: str) -> None:
    """What the foreign key of the column takes away is gone in the junction, too, and of the rest nothing is."""
    conn.execute(SCHEMA.replace("references o,", "references o on update set null,").encode())
    migration = Migration(url, JUNCTION)
    migration.begin()
    migration.run(Phase.EXPAND)
    conn.execute("update o set id = 19 where id = 9")
    migration.before_swap()
    if made == "after":
        later(conn, "on update set null")
    conn.execute("insert into j values (2, 1)")
    conn.execute("update o set id = 11 where id = 1")
    assert [said(conn, key) for key in (1, 2)] == [(None, []), (2, [2, 11])]
    conn.execute("begin; update u set o_id = 4 where id = 3; update o set id = 14 where id = 4; commit")
    assert [said(conn, key) for key in (3, 4)] == [(None, []), (None, [])]
    assert waiting(conn) == 0
    migration.pass_gate("before_swap")
    migration.swap()
    conn.execute("delete from j where (u_id, o_id) = (2, 11)")
    migration.revert("swap/all")
    conn.execute("update o set id = 15 where id = 5")
    assert conn.execute("select o_id from u where id in (5, 9)").fetchall() == [(None,), (None,)]


def test_a_commit_waits_for_nobody(swapped: Migration, conn: Connection, url: str) -> None:
    """Not for a row of the table, not for one of the junction that is being made, not for who deletes the other."""
    with applications(url) as (a, b):
        a.execute("begin; select from u where id = 1 for update")
        b.execute("insert into j values (2, 5); update u set n = 1 where id = 2")
        b.execute("begin isolation level repeatable read; delete from j where u_id = 1; commit")
        b.execute("update u set n = 1 where id = 2")
        assert said(conn, 1) == (1, [])
        a.execute("commit; begin; insert into j values (3, 6)")
        b.execute("update u set o_id = 6 where id = 3")
        assert said(conn, 3) == (6, [])
        a.execute("commit")
        b.execute("delete from j where u_id = 4")
        b.execute("begin isolation level repeatable read; insert into j values (4, 8); commit")
        a.execute("begin; delete from o where id = 8")
        b.execute("update u set o_id = 7 where id = 5")
        assert said(conn, 4) == (None, [8])
        a.execute("commit")
        b.execute("update u set o_id = 1 where id = 6")
    assert [said(conn, key) for key in (1, 3, 4)] == [(None, []), (6, [6]), (None, [])]
    assert waiting(conn) == 0


def test_the_later_writer_of_one_reference_has_it(swapped: Migration, conn: Connection, url: str) -> None:
    """And those who write different ones have both."""
    strict = "begin isolation level repeatable read; {}; commit"
    with applications(url) as (a, b):
        a.execute(strict.format("update u set o_id = 5 where id = 1").encode())
        b.execute("delete from j where u_id = 1 and o_id = 1; insert into j values (1, 6)")
        assert said(conn, 1) == (5, [5, 6])
        a.execute(strict.format("delete from j where u_id = 2 and o_id = 2").encode())
        b.execute("update u set o_id = 3, id = 102 where id = 2")
        a.execute(strict.format("update u set o_id = null where id = 4").encode())
        a.execute("update u set n = 1, id = 104 where id = 4")
    assert said(conn, 102) == (3, [3])
    assert said(conn, 104) == (None, [])
    assert waiting(conn) == 0


def test_a_reference_follows_a_new_key(conn: Connection, url: str) -> None:
    """What has been taken away from the old one does not come back with the new one, and what was given is there."""
    conn.execute(SCHEMA.replace("references o,", "references o on update cascade,").encode())
    migration = Migration(url, JUNCTION)
    migration.begin()
    migration.run(*BEFORE_SWAP)
    conn.execute("insert into j values (5, 1), (6, 2)")
    conn.execute("update u set o_id = null where o_id = 1; update o set id = 11 where id = 1")
    conn.execute("update u set o_id = 9 where o_id = 2; update o set id = 12 where id = 2")
    conn.execute("update u set o_id = 3 where id = 4; update o set id = 13 where id = 3")
    assert [said(conn, key) for key in (1, 2, 4)] == [(None, []), (9, [9]), (13, [13])]
    assert [said(conn, key) for key in (3, 5, 6)] == [(13, [13]), (5, [5, 11]), (6, [6, 12])]
    migration.pass_gate("before_swap")
    migration.swap()
    conn.execute(
        "delete from j where u_id = 5 and o_id = 5; insert into j values (2, 5); update o set id = 15 where id = 5"
    )
    conn.execute(
        "update u set o_id = 4 where id = 1; delete from j where o_id = 6; update o set id = id + 10 where id in (4, 6)"
    )
    assert [said(conn, key) for key in (1, 2, 5, 6)] == [(14, [14]), (9, [9, 15]), (11, [11]), (12, [12])]
    with applications(url, 1) as (a,):
        a.execute("begin isolation level repeatable read; delete from j where o_id = 7; commit")
        a.execute("update o set id = 17 where id = 7; update u set n = 1 where id = 9")
    assert said(conn, 7) == (None, [])
    assert waiting(conn) == 0
    migration.pass_gate("after_swap")


def test_an_array_follows_a_new_key(conn: Connection, url: str) -> None:
    """By way of the junction: what an old application has taken out stays out, and what is there stays in."""
    conn.execute(ARRAY.encode())
    migration = Migration(url, JUNCTION)
    migration.begin()
    migration.before_swap()
    migration.swap()
    conn.execute("update u set o_id = array_remove(o_id, 1) where id = 1; update o set id = 11 where id = 1")
    conn.execute(
        "insert into j values (3, 2); update u set o_id = o_id || 2 where id = 3; update o set id = 12 where id = 2"
    )
    assert [said(conn, key) for key in (1, 2, 3)] == [([9], [9]), ([9, 12], [9, 12]), ([3, 9, 12], [3, 9, 12])]


def test_truncate_and_replica_role(swapped: Migration, conn: Connection, url: str) -> None:
    """Where replicas fire no cascade, the triggers do its work."""
    conn.execute("insert into j values (2, 7)")
    with applications(url, 1) as (a,):
        a.execute("set session_replication_role = replica")
        a.execute("delete from u where id = 1; update u set id = 102 where id = 2; insert into j values (3, 8)")
        a.execute("reset session_replication_role; update u set n = 1, o_id = 1 where id = 4")
    assert said(conn, 1) == (None, [])
    assert said(conn, 102) == (2, [2, 7])
    assert said(conn, 3) == (3, [3, 8])
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        conn.execute("truncate u")
    conn.execute("truncate j")
    assert conn.execute("select count(o_id) from u").fetchone() == (0,)
    assert waiting(conn) == 0
    swapped.pass_gate("after_swap")


def test_the_copy_meets_rows_that_change(conn: Connection, url: str) -> None:
    """It waits for whoever takes a reference away, and takes apart what he leaves; before the swap no row is lost."""
    conn.execute(ARRAY.encode())
    migration = Migration(url, JUNCTION, batch_rows=20)
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE)
    with applications(url) as (a, b):
        a.execute("begin; update u set o_id = '{3}' where id = 8; delete from u where id = 7")
        assert migration.blocked_copy()
        b.execute("update u set o_id = o_id || 1 where id = 6")
        a.execute("commit")
    migration.run(Phase.BACKFILL, Phase.INDEX)
    assert said(conn, 8) == ([3], [3])
    assert said(conn, 7) == (None, [])
    assert said(conn, 6) == ([6, 9, 1], [1, 6, 9])
    conn.execute("delete from j where u_id = 5")
    assert said(conn, 5) == ([5, 9], [5, 9])
    migration.before_swap()
    migration.swap()
    conn.execute("insert into u (id) values (101)")
    assert said(conn, 101) == ([], [])
    migration.roll_back()
    assert conn.execute("select o_id from u where id = 101").fetchone() == ([],)


def test_what_refers_to_nothing_is_named_after_the_swap(conn: Connection, url: str) -> None:
    """Before there is no way back; and the way back keeps it, for the old shape can hold it."""
    conn.execute(ARRAY.encode())
    migration = Migration(url, JUNCTION)
    migration.begin()
    migration.before_swap()
    migration.swap()
    with applications(url, 1) as (a,):
        a.execute("begin; select from u where id = 2 for update")
        conn.execute("delete from o where id = 2")
        assert said(conn, 2) == ([2, 9], [9])
        migration.pass_gate("after_swap")
    conn.execute("update u set o_id = '{1,99}' where id = 1; insert into j values (1, 5)")
    assert said(conn, 1) == ([1, 99, 5], [1, 5])
    assert migration.failures("after_swap") == ["public.u.o_id refers to rows of public.o: 1"]
    migration.roll_back()
    assert conn.execute("select o_id from u where id in (1, 2) order by id").fetchall() == [([1, 99, 5],), ([9],)]
    assert tables.leftovers(conn) == []


def test_what_refers_to_nothing_is_written_after_the_last_gate(conn: Connection, url: str) -> None:
    """The contract stops with both shapes there, and goes on once it is mended."""
    conn.execute(ARRAY.encode())
    migration = Migration(url, JUNCTION)
    migration.begin()
    migration.before_swap()
    migration.swap()
    migration.pass_gate("before_contract")
    conn.execute("update u set o_id = '{1,99}' where id = 1")
    with pytest.raises(psycopg.errors.RaiseException, match="could not be carried"):
        migration.run(Phase.CONTRACT)
    assert said(conn, 1) == ([1, 99], [1])
    conn.execute("update u set o_id = '{1,7}' where id = 1")
    migration.run(Phase.CONTRACT)
    assert conn.execute("select o_id from j where u_id = 1 order by 1").fetchall() == [(1,), (7,)]
    assert tables.leftovers(conn) == []


def test_a_version_takes_references_away_before_the_swap(conn: Connection, url: str) -> None:
    """But not the last one, as long as the column is NOT NULL."""
    conn.execute(SCHEMA.replace("references o,", "not null references o,").encode())
    migration = Migration(url, JUNCTION, version_schema="v2")
    migration.begin()
    migration.before_swap()
    conn.execute("update j set o_id = 5 where u_id = 1; delete from j where u_id = 2; insert into j values (3, 1)")
    conn.execute("delete from j where (u_id, o_id) = (3, 3)")
    assert [said(conn, key) for key in (1, 2, 3)] == [(5, [5]), (2, [2]), (1, [1])]
    assert waiting(conn) == 0
    migration.pass_gate("before_swap")
    migration.roll_back()
    assert conn.execute("select o_id from u where id < 4 order by id").fetchall() == [(5,), (2,), (1,)]


def test_what_a_version_takes_out_of_an_array(conn: Connection, url: str) -> None:
    """Before the swap no row of the other table that is deleted takes anything out of it."""
    conn.execute(ARRAY.encode())
    migration = Migration(url, JUNCTION, version_schema="v2")
    migration.begin()
    migration.before_swap()
    conn.execute("update j set o_id = 5 where (u_id, o_id) = (1, 9); delete from j where u_id = 2")
    assert [said(conn, key) for key in (1, 2)] == [([1, 5], [1, 5]), ([], [])]
    conn.execute("delete from o where id = 3")
    assert said(conn, 3) == ([3, 9], [9])
    assert migration.failures("before_swap") == ["public.u.o_id refers to rows of public.o: 1"]
    conn.execute("update u set o_id = array_remove(o_id, 3)")
    migration.pass_gate("before_swap")


def test_an_array_waits_for_who_has_what_it_refers_to(conn: Connection, url: str) -> None:
    """The swap and the way back, too: nobody else would carry what his row has kept waiting."""
    conn.execute(ARRAY.encode())
    migration = Migration(url, JUNCTION)
    migration.begin()
    migration.before_swap()
    with applications(url) as (a, b):
        a.execute("begin; select from o where id = 5 for update")
        b.execute("update u set o_id = o_id || 5 where id = 1")
        assert migration.blocked_swap()
        a.execute("commit")
        migration.swap()
        a.execute("begin; select from o where id = 6 for update")
        b.execute("update u set o_id = o_id || 6 where id = 1")
        assert migration.blocked_back()
        assert said(conn, 1) == ([1, 9, 5, 6], [1, 5, 9])
        a.execute("commit")
    migration.roll_back()
    assert conn.execute("select o_id from u where id = 1").fetchone() == ([1, 9, 5, 6],)
