"""What two transactions do to a pair of rows between which a column moves, statement by statement."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from tasks.engines.postgresql.drain import TOO_MUCH
from tasks.model.errors import ChangeoverError, LockTimeoutError
from tasks.model.steps import Phase, ShortTransaction
from tests.conformance import tables
from tests.conformance.drive import Connection, Migration
from tests.conformance.outbox import waiting

SCHEMA = """
create table s (id int primary key, v text, n int default 0);
create table t (id int primary key, s_id int, n int default 0);
create index on t (s_id);
insert into s select i, 'v' || i from generate_series(1, 9) i;
insert into t select i, i from generate_series(1, 9) i;
"""
MOVE: list[dict[str, Any]] = [{"move_column": {"table": "s", "column": "v", "to": "t", "on": {"id": "s_id"}}}]


@contextmanager
def applications(url: str, count: int = 2) -> Iterator[list[Connection]]:
    """Open sessions of applications, in which a wait is a failure."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(psycopg.connect(url, autocommit=True, options="-c lock_timeout=2s"))
            for _ in range(count)
        ]


@pytest.fixture
def filled(conn: Connection, url: str) -> Migration:
    """A migration before its gate."""
    conn.execute(SCHEMA.encode())
    migration = Migration(url, MOVE)
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL, Phase.INDEX)
    return migration


def values(conn: Connection, key: int) -> list[str | None]:
    """Return what s says, and then the rows of t that belong to it."""
    rows = conn.execute(
        "select v from s where id = %(k)s union all (select v from t where s_id = %(k)s order by id)", {"k": key}
    )
    return [row[0] for row in rows.fetchall()]


def test_a_commit_shows_both(filled: Migration, conn: Connection, url: str) -> None:
    """Not before it, and at once after it."""
    with applications(url) as (a, b):
        with a.transaction():
            a.execute("update s set v = 'x' where id = 1")
            assert values(b, 1) == ["v1", "v1"]
        assert values(b, 1) == ["x", "x"]
    assert waiting(conn) == 0


def test_locks_in_opposite_orders_are_no_deadlock(filled: Migration, conn: Connection, url: str) -> None:
    """Each has the row that the other one's write has to be carried to."""
    with applications(url) as (a, b):
        a.execute("begin")
        b.execute("begin")
        a.execute("update s set v = 'a' where id = 1")
        b.execute("update t set n = 1 where s_id = 1")
        b.execute("update t set n = 1 where s_id = 2")
        a.execute("update s set v = 'a' where id = 2")
        started = time.monotonic()
        a.execute("commit")
        assert time.monotonic() - started < 1.5, "it waited for a row"
        assert values(a, 1) == ["a", "v1"]
        b.execute("commit")
        # Nobody who waited: the next commit of anybody carries it.
        b.execute("update s set v = 'b' where id = 3")
    assert [values(conn, key) for key in (1, 2, 3)] == [["a", "a"], ["a", "a"], ["b", "b"]]
    assert waiting(conn) == 0


def test_a_row_that_the_other_cannot_see_yet(filled: Migration, conn: Connection, url: str) -> None:
    """One inserts a row of t, another one changes its row of s; neither sees what the other did."""
    with applications(url) as (a, b):
        a.execute("begin")
        b.execute("begin")
        a.execute("insert into t (id, s_id) values (101, 1)")
        b.execute("update s set v = 'b' where id = 1")
        b.execute("commit")
        a.execute("commit")
    assert values(conn, 1) == ["b", "b", "b"]


def test_the_same_while_one_of_them_commits(filled: Migration, conn: Connection, url: str) -> None:
    """The window between carrying and the end of the commit, held open: the second one leaves its note."""
    conn.execute("insert into s (id, v) values (10, 'a')")
    with applications(url) as (a, b):
        a.execute("begin")
        b.execute("begin")
        a.execute("insert into t (id, s_id) values (101, 10)")
        b.execute("update s set v = 'b' where id = 10")
        a.execute("set constraints all immediate")
        b.execute("set constraints all immediate")
        b.execute("commit")
        a.execute("commit")
        assert waiting(conn) == 1
        a.execute("update s set v = 'c' where id = 2")
    assert values(conn, 10) == ["b", "b"]
    assert waiting(conn) == 0


def test_the_last_of_two_shapes_wins(filled: Migration, conn: Connection, url: str) -> None:
    """Whoever wrote last, not whoever committed last."""
    filled.pass_gate("before_swap")
    filled.run(Phase.CONSTRAIN, Phase.SWAP)
    with applications(url) as (a, b):
        a.execute("begin")
        b.execute("begin")
        a.execute("update s set v = 'old' where id = 1")
        b.execute("update t set v = 'new' where s_id = 1")
        b.execute("commit")
        assert values(b, 1) == ["v1", "new"]
        a.execute("commit")
        assert values(b, 1) == ["new", "new"]


def test_strict_isolation_and_replica_role(filled: Migration, conn: Connection, url: str) -> None:
    """A strict transaction leaves its note; one that plain triggers do not see is noted all the same."""
    with applications(url, 1) as (a,):
        a.execute("begin isolation level repeatable read")
        a.execute("update s set v = 'r' where id = 1")
        a.execute("commit")
        assert waiting(conn) == 1
        a.execute("set session_replication_role = replica")
        a.execute("update s set v = 'q' where id = 2")
    assert [values(conn, key) for key in (1, 2)] == [["r", "r"], ["q", "q"]]
    assert waiting(conn) == 0


def test_a_value_that_cannot_be_carried_keeps_nobody_waiting(filled: Migration, conn: Connection, url: str) -> None:
    """Somebody forbade it meanwhile: the statement succeeds, the note stays, the swap does not happen."""
    conn.execute("alter table t add check (v <> 'bad') not valid")
    with applications(url, 1) as (a,):
        a.execute("update s set v = 'bad' where id = 1")
        a.execute("update s set v = 'good' where id = 2")
    assert [values(conn, key) for key in (1, 2)] == [["bad", "v1"], ["good", "good"]]
    assert waiting(conn) == 1
    with pytest.raises(psycopg.errors.CheckViolation):
        filled.run(Phase.SWAP)
    assert not filled.swapped
    conn.execute("alter table t drop constraint t_v_check")
    filled.roll_back()
    assert tables.leftovers(conn) == []


def test_truncate_and_many_rows(filled: Migration, conn: Connection, url: str) -> None:
    """More than one commit carries: the rest follows with the next ones, and at the swap."""
    with applications(url, 1) as (a,):
        a.execute("insert into t (id, v) values (0, 'belongs to none')")
        a.execute("truncate s; delete from t where id = 0")
        assert conn.execute("select count(*) from t where v is not null").fetchone() == (0,)
        a.execute("insert into s select i, 'm' || i from generate_series(1, 500) i")
        a.execute("insert into t (id, s_id) select i, i from generate_series(10, 500) i")
    left = waiting(conn)
    assert left > 0
    filled.pass_gate("before_swap")
    filled.run(Phase.CONSTRAIN, Phase.SWAP)
    assert waiting(conn) == 0
    assert conn.execute("select count(*) from t join s on s.id = t.s_id and s.v = t.v").fetchone() == (500,)


def test_a_row_that_belongs_to_none_any_more_has_nothing(filled: Migration, conn: Connection) -> None:
    """As after ON DELETE SET NULL: the gate asks that a row has only what its row of s says."""
    conn.execute("insert into t (id, s_id) values (103, 3)")
    conn.execute("update t set s_id = null where id = 3")
    assert values(conn, 3) == ["v3", "v3"]
    filled.pass_gate("before_swap")
    filled.run(Phase.CONSTRAIN)
    filled.swap()
    assert conn.execute("select v from t where id = 3").fetchone() == (None,)


def test_children_that_differ_keep_a_rollback_from_choosing(filled: Migration, conn: Connection, url: str) -> None:
    """The new shape can hold what the old one cannot."""
    conn.execute("insert into t (id, s_id) values (101, 1)")
    filled.pass_gate("before_swap")
    filled.run(Phase.CONSTRAIN, Phase.SWAP)
    conn.execute("update t set v = 'x' where id = 101")
    assert filled.before_rollback() == ["rows of public.t that belong to one row of public.s agree on v"]
    conn.execute("update t set v = 'x' where id = 1")
    assert filled.before_rollback() == []
    assert values(conn, 1) == ["x", "x", "x"]


def test_a_copy_follows_and_touches_no_other(conn: Connection, url: str) -> None:
    """What is written into a copy is overwritten; a row that is inserted leaves the rows beside it alone."""
    conn.execute(SCHEMA.encode())
    copy = [{"denormalize": MOVE[0]["move_column"]}]
    with pytest.raises(ChangeoverError, match=r"no valid unique index on \(n\)"):
        Migration(url, copy, backfill={"key": {"t": ["n"]}}).begin()
    migration = Migration(url, copy)
    migration.begin()
    migration.before_swap()
    migration.swap()
    with applications(url) as (a, b):
        a.execute("begin; update t set n = 1 where s_id = 1")
        b.execute("insert into t (id, s_id) values (101, 1), (102, 2)")
        b.execute("update t set v = 'mine' where id = 102")
        a.execute("commit")
        b.execute("update s set v = 'x' where id = 2")
        b.execute("update t set s_id = null where id = 3; insert into t (id, v) values (103, 'mine')")
    assert [values(conn, key) for key in (1, 2)] == [["v1", "v1", "v1"], ["x", "x", "x"]]
    assert conn.execute("select id, v from t where s_id is null order by id").fetchall() == [(3, None), (103, None)]
    migration.pass_gate("after_swap")
    assert waiting(conn) == 0


@pytest.mark.parametrize("drained", [True, False])
def test_what_waits_is_carried_before_the_swap_takes_its_locks(drained: bool, conn: Connection, url: str) -> None:
    """A bulk write that left its notes to others, just before the swap: more than fits into its short transaction."""
    conn.execute(SCHEMA.encode())
    conn.execute("insert into s select i, 'v' || i from generate_series(10, 6000) i")
    conn.execute("insert into t select i, i from generate_series(10, 6000) i")
    migration = Migration(url, MOVE, batch_rows=1000)
    migration.begin()
    migration.before_swap()
    with applications(url, 1) as (bulk,):
        bulk.execute("begin isolation level repeatable read")
        bulk.execute("update s set v = 'bulk' || id")
        bulk.execute("commit")
    assert waiting(conn) == 6000
    hurry = {"lock_budget": 150, "lock_patience": 60.0} if drained else {"lock_budget": 30, "lock_patience": 0.5}
    hurried = migration.engine.limits.model_copy(update=hurry)
    migration.engine = replace(migration.engine, limits=hurried)
    assert migration.plan is not None
    if not drained:
        (step,) = (one for one in migration.plan.phase(Phase.SWAP) if one.key == "swap/all")
        action = step.action.model_copy(update={"before": ""})
        with pytest.raises(LockTimeoutError, match=TOO_MUCH):
            migration.forward(step.model_copy(update={"action": action}))
        return
    migration.swap()
    assert waiting(conn) == 0
    assert conn.execute("select count(*) from t where v = 'bulk' || s_id").fetchone() == (6000,)


@pytest.mark.parametrize("operation", ["move_column", "denormalize"])
def test_the_swap_locks_in_the_order_of_applications(operation: str, conn: Connection, url: str) -> None:
    """Who writes the first table comes to the second at the commit, whatever the two are called."""
    conn.execute("create table z (id int primary key, v text); create table a (id int primary key references z)")
    migration = Migration(url, [{operation: {"table": "z", "column": "v", "to": "a", "on": {"id": "id"}}}])
    migration.begin()
    assert migration.plan is not None
    actions = {step.phase: step.action for step in migration.plan.steps if isinstance(step.action, ShortTransaction)}
    for phase in (Phase.DUAL_WRITE, Phase.SWAP):
        assert [lock.table for lock in actions[phase].locks] == ['"public"."z"', '"public"."a"'], phase
