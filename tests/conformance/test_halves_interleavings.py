"""What transactions do to the two halves of a row, statement by statement."""

from typing import Any

import psycopg
import pytest

from tasks.model.steps import Phase
from tests.conformance import tables
from tests.conformance.drive import Connection, Migration
from tests.conformance.outbox import outboxes, waiting
from tests.conformance.test_linked_interleavings import applications

SCHEMA = """
create table u (id int primary key, bio text not null default 'none', photo text, n int default 0);
insert into u (id, bio, photo) select i, 'b' || i, 'p' || i from generate_series(1, 9) i;
"""
SPLIT: list[dict[str, Any]] = [
    {"split_table": {"table": "u", "columns": ["bio", "photo"], "to": "d", "key": {"id": "u_id"}}}
]


@pytest.fixture
def filled(conn: Connection, url: str) -> Migration:
    """A migration before its gate."""
    conn.execute(SCHEMA.encode())
    migration = Migration(url, SPLIT)
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL, Phase.INDEX)
    assert migration.plan is not None
    migration.engine.refuse_drift_since(migration.ledger, migration.plan)
    return migration


@pytest.fixture
def swapped(filled: Migration) -> Migration:
    """The same after its swap."""
    filled.before_swap()
    filled.swap()
    return filled


def halves(conn: Connection, key: int) -> list[tuple[str | None, ...]]:
    """Return what u says of a key, and then d."""
    rows = conn.execute(
        "select bio, photo from u where id = %(k)s union all (select bio, photo from d where u_id = %(k)s)", {"k": key}
    )
    return rows.fetchall()


def test_locks_in_opposite_orders_are_no_deadlock(filled: Migration, conn: Connection, url: str) -> None:
    """Each has the row that the other one's write has to be carried to."""
    with applications(url) as (a, b):
        a.execute("begin; update u set bio = 'a' where id = 1")
        b.execute("begin; update d set photo = 'b' where u_id = 2")
        b.execute("select from d where u_id = 1 for update")
        a.execute("select from u where id = 2 for update")
        a.execute("commit")
        assert halves(conn, 1) == [("a", "p1"), ("b1", "p1")]
        b.execute("commit")
    assert halves(conn, 1) == [("a", "p1")] * 2
    assert halves(conn, 2) == [("b2", "b")] * 2
    assert waiting(conn) == 0


def test_a_row_that_somebody_else_is_just_making(swapped: Migration, conn: Connection, url: str) -> None:
    """The commit that has it to make does not wait for it; whoever wrote last has it."""
    conn.execute("delete from d where u_id = 1")
    assert halves(conn, 1) == [(None, None)]
    with applications(url) as (a, b):
        a.execute("begin; insert into d values (1, 'a', 'a')")
        b.execute("update u set bio = 'b' where id = 1")
        assert waiting(conn) == 1
        assert halves(conn, 1) == [("b", None)]
        a.execute("commit")
    assert halves(conn, 1) == [("b", "a")] * 2
    assert waiting(conn) == 0


def test_a_new_application_inserts_one_half_after_the_other(swapped: Migration, conn: Connection) -> None:
    """In one transaction it gives both; a row that it gives alone gets what the defaults of the columns say."""
    conn.execute("begin; insert into u (id) values (101); insert into d values (101, 'x', null); commit")
    conn.execute("insert into u (id) values (102)")
    assert halves(conn, 101) == [("x", None)] * 2
    assert halves(conn, 102) == [("none", None)] * 2


def test_what_the_new_table_cannot_hold_is_taken_back(swapped: Migration, conn: Connection) -> None:
    """NOT NULL is lifted from the old column at the swap; the new table has it, and the old shape had it, too."""
    conn.execute("update u set bio = null where id = 1")
    assert halves(conn, 1) == [("b1", "p1")] * 2
    conn.execute("insert into u (id, bio) values (101, null)")
    assert halves(conn, 101) == [(None, None)]
    swapped.pass_gate("after_swap")
    assert swapped.before_rollback() == ["public.u.bio is not null"]
    conn.execute("insert into d values (101, 'x', null)")
    swapped.roll_back()
    assert conn.execute("select bio from u where id = 101").fetchone() == ("x",)
    assert tables.leftovers(conn) == []


def test_writers_of_different_columns_have_both(swapped: Migration, conn: Connection, url: str) -> None:
    """Whoever wrote one column says nothing about the other one, wherever either was written."""
    with applications(url) as (a, b):
        a.execute("begin isolation level repeatable read; update u set bio = 'r' where id = 4; commit")
        b.execute("update d set photo = 'x' where u_id = 4")
        assert halves(conn, 4) == [("r", "x")] * 2
        a.execute("begin isolation level repeatable read; update d set bio = 's' where u_id = 4; commit")
        b.execute("update u set photo = 'y' where id = 4")
        assert halves(conn, 4) == [("s", "y")] * 2
        a.execute("begin; update u set bio = 'a' where id = 5")
        b.execute("begin; update d set photo = 'b' where u_id = 5")
        a.execute("commit")
        b.execute("commit")
        assert halves(conn, 5) == [("a", "b")] * 2
        a.execute("begin isolation level repeatable read; update u set bio = 'a', photo = 'a' where id = 6; commit")
        a.execute("begin isolation level repeatable read; update d set photo = 'b' where u_id = 6; commit")
        b.execute("update u set id = 106, bio = 'c' where id = 6")
    assert halves(conn, 106) == [("c", "b")] * 2
    assert waiting(conn) == 0


def test_a_half_that_is_deleted_while_another_commit_makes_it(swapped: Migration, conn: Connection, url: str) -> None:
    """What was seen before says that it is wanted; the note that came since says that it is not."""
    conn.execute("begin isolation level repeatable read; insert into u (id, bio) values (101, 'x'); commit")
    (outbox,) = outboxes(conn)
    make = outbox.replace("outbox_", "dual_make_")
    conn.execute("begin isolation level repeatable read; insert into d (u_id, bio) values (101, 'y'); commit")
    seen = conn.execute(f'select array_agg(id) from changeover."{outbox}"'.encode()).fetchone()
    conn.execute("begin isolation level repeatable read; delete from d where u_id = 101; commit")
    made = conn.execute(f"select changeover.\"{make}\"(101, 'x', null, %s)".encode(), seen).fetchone()
    assert made == (False,)
    conn.execute("update u set n = 1 where id = 101; update u set bio = 'z' where id = 9")
    assert halves(conn, 101) == [(None, None)]
    assert waiting(conn) == 0


def test_a_half_that_goes_to_another_row(swapped: Migration, conn: Connection) -> None:
    """The one that it leaves has NULLs."""
    conn.execute("delete from d where u_id = 2")
    conn.execute("update d set u_id = 2 where u_id = 1")
    assert halves(conn, 1) == [(None, None)]
    assert halves(conn, 2) == [("b1", "p1")] * 2


def test_a_key_that_changes_takes_along_what_is_still_to_be_said(filled: Migration, conn: Connection, url: str) -> None:
    """In the same transaction, and of another one that could not carry it."""
    filled.before_swap()
    filled.swap()
    with applications(url) as (a, b):
        a.execute("begin; update d set bio = 'x' where u_id = 1; update u set id = 101 where id = 1; commit")
        a.execute("begin; update u set bio = 'y' where id = 2; update u set id = 102 where id = 2; commit")
        b.execute("begin; select from u where id = 3 for update")
        a.execute("update d set bio = 'z' where u_id = 3")
        assert halves(conn, 3) == [("b3", "p3"), ("z", "p3")]
        b.execute("update u set id = 103 where id = 3; commit")
        a.execute("delete from d where u_id = 4")
        b.execute("begin; delete from d where u_id = 5; update u set id = 105 where id = 5; commit")
    assert [halves(conn, key) for key in (101, 102, 103)] == [[(bio, f"p{i}")] * 2 for i, bio in enumerate("xyz", 1)]
    assert halves(conn, 4) == halves(conn, 105) == [(None, None)]
    assert waiting(conn) == 0


def test_truncate_and_replica_role_and_strict_isolation(swapped: Migration, conn: Connection, url: str) -> None:
    """Where replicas fire no cascade, the notes do its work; a strict transaction leaves its notes to others."""
    with applications(url, 1) as (a,):
        a.execute("set session_replication_role = replica")
        a.execute(
            "delete from u where id = 1; update u set id = 102 where id = 2; update d set bio = 'x' where u_id = 3"
        )
        a.execute("reset session_replication_role")
        a.execute("begin isolation level repeatable read; update u set bio = 'r' where id = 4; commit")
        assert halves(conn, 4) == [("r", "p4"), ("b4", "p4")]
        a.execute("update u set bio = 's' where id = 5")
    assert halves(conn, 1) == halves(conn, 2) == []
    assert halves(conn, 102) == [("b2", "p2")] * 2
    assert [halves(conn, key)[0][0] for key in (3, 4, 5)] == [halves(conn, key)[1][0] for key in (3, 4, 5)]
    conn.execute("truncate d")
    assert conn.execute("select count(bio), count(photo) from u").fetchone() == (0, 0)
    swapped.pass_gate("after_swap")
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        conn.execute("truncate u")
    conn.execute("truncate u cascade")
    assert waiting(conn) == 0


def test_before_the_swap_a_half_that_is_deleted_is_made_again(filled: Migration, conn: Connection) -> None:
    """Nobody uses it yet."""
    conn.execute("delete from d where u_id < 5")
    assert halves(conn, 1) == [("b1", "p1")] * 2
    conn.execute("truncate d")
    filled.pass_gate("before_swap")
    assert halves(conn, 9) == [("b9", "p9")] * 2


def test_the_copy_meets_a_row_that_becomes_none(conn: Connection, url: str) -> None:
    """It waits for whoever takes the values away, and then has nothing to copy."""
    conn.execute(
        "create table u (id int primary key, bio text); insert into u select i, 'b' from generate_series(1, 9) i"
    )
    split = {"table": "u", "columns": ["bio"], "to": "d", "key": {"id": "u_id"}, "when_null": "no_row"}
    migration = Migration(url, [{"split_table": split}], batch_rows=3)
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE)
    with applications(url, 1) as (a,):
        a.execute("begin; update u set bio = null where id = 9")
        assert migration.blocked_copy()
        a.execute("commit")
    migration.before_swap()
    assert conn.execute("select from d where u_id = 9").fetchone() is None
    migration.swap()


def test_the_backfill_meets_a_row_that_is_being_deleted(conn: Connection, url: str) -> None:
    """It gives way, and no row comes back."""
    conn.execute(SCHEMA.encode())
    migration = Migration(url, SPLIT, batch_rows=3)
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE)
    with applications(url) as (a, _):
        a.execute("begin; delete from u where id = 9; update u set bio = 'late' where id = 8")
        assert migration.blocked_copy()
        a.execute("commit")
    migration.before_swap()
    assert halves(conn, 9) == []
    assert halves(conn, 8) == [("late", "p8")] * 2
