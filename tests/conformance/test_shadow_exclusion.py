"""An exclusion constraint comes with a new table: who writes what it refuses notices nothing before the swap."""

import threading
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from tasks.model.errors import ChangeoverError, StepError
from tasks.model.steps import Phase
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_shadow_notes import noted, strict
from tests.conformance.test_shadow_writers import finish, rebuilt, rows
from tests.legs import EVERY_LEG

# The index reads like that of the constraint, and demands nothing.
BOOKINGS = """
create table t (id int primary key, room int, during int4range);
create index on t using gist (int4range(room, room, '[]'), during);
insert into t select i, i % 5, int4range(i * 10, i * 10 + 10) from generate_series(1, 20) i;
"""


def one_at_a_time(**more: Any) -> dict[str, Any]:
    """Nobody has a room while somebody else does."""
    elements = "int4range(room, room, '[]') with =, during with &&"
    rule = {"table": "t", "name": "once", "type": "exclusion", "exclude": {"elements": elements}}
    return {"create_constraint": rule | more}


WIDER = {"alter_column": {"table": "t", "column": "room", "type": "bigint"}}


def test_who_brings_rows_that_exclude_each_other_is_not_refused_and_the_swap_is(conn: Connection, url: str) -> None:
    migration = rebuilt(conn, url, BOOKINGS, [one_at_a_time()])
    migration.engine = replace(migration.engine, limits=migration.engine.limits.model_copy(update={"attempts": 1}))
    conn.execute("insert into t values (30, 1, '[15,25)'), (31, 1, '[300,310)')")
    with pytest.raises(StepError, match="a row that exists breaks once: 23P01"):
        migration.run(Phase.BACKFILL)
    assert migration.plan is not None
    found = migration.engine.examine(migration.plan, values_in_reports=True)
    assert [(one.examples, one.unexpected) for one in found.checks if not one.passed] == [(("1", "30"), 2)]
    conn.execute("update t set during = '[400,410)' where id = 30")
    migration.run(Phase.BACKFILL, Phase.INDEX)
    conn.execute("insert into t values (32, 1, '[305,306)')")
    conn.execute("update t set during = '[16,17)' where id = 30")
    assert noted(conn) == 3, "two rows, one of them before and after"
    with pytest.raises(StepError, match=r"rows of .* cannot be carried over to its shadow: 23P01"):
        migration.run(Phase.RECONCILE)
    # One is corrected itself, and of the other what it met.
    conn.execute("update t set during = '[500,510)' where id = 30; delete from t where id = 31")
    wanted = rows(conn)
    finish(migration)
    assert rows(conn) == wanted
    with pytest.raises(psycopg.errors.ExclusionViolation):
        conn.execute("insert into t values (33, 1, '[305,306)')")
    conn.execute("insert into t values (34, 1, '[600,601)')")
    migration.roll_back()
    assert len(rows(conn)) == len(wanted) + 1
    conn.execute("insert into t values (35, 1, '[600,601)')")


def test_two_who_would_wait_for_each_other_in_the_new_table_do_not(conn: Connection, url: str) -> None:
    """Neither knows of the rule: without it their rows are strangers. One of them goes back, so all fits in the end."""
    migration = rebuilt(conn, url, BOOKINGS, [one_at_a_time()])
    migration.run(Phase.BACKFILL, Phase.INDEX)
    failed: list[Exception] = []
    with psycopg.connect(url) as one, psycopg.connect(url) as other:
        one.execute("insert into t values (40, 1, '[1000,1010)')")
        other.execute("insert into t values (50, 2, '[1000,1010)')")

        def cross() -> None:
            try:
                other.execute("insert into t values (51, 1, '[1005,1006)')")
            except psycopg.Error as error:
                failed.append(error)

        crossing = threading.Thread(target=cross)
        crossing.start()
        one.execute("insert into t values (41, 2, '[1005,1006)')")
        crossing.join(20)
        assert not crossing.is_alive()
        assert failed == []
        other.rollback()
    assert rows(conn, "select id from t where id >= 40 order by id") == [(40,), (41,)]
    finish(migration)
    assert rows(conn, "select id from t where id >= 40 order by id") == [(40,), (41,)]


@pytest.mark.every_leg
@pytest.mark.parametrize("initially", [True, False])
def test_a_rule_that_may_be_checked_at_the_commit_fails_no_commit_before_the_swap(
    initially: bool, conn: Connection, url: str
) -> None:
    unique = {"table": "t", "name": "u", "type": "unique", "columns": ["during"]}
    when = {"deferrable": True, "initially_deferred": initially}
    operations = [one_at_a_time(**when), {"create_constraint": unique | when}]
    migration = rebuilt(conn, url, BOOKINGS, operations)
    migration.run(Phase.BACKFILL, Phase.INDEX)
    # As it is in the end, between the index that cannot wait and the constraint that can, and once that is there.
    for phases in ((Phase.RECONCILE,), (Phase.CONSTRAIN,), ()):
        migration.run(*phases)
        with psycopg.connect(url) as other:
            other.execute("set constraints all deferred")
            other.execute("update t set during = int4range(10, 20), room = 1 where id = 2")
            other.execute("update t set during = int4range(20, 30), room = 2 where id = 1")
            other.execute("update t set room = 5 where id = 2")
            other.execute("update t set during = int4range(700, 701) where id = 1")
            other.commit()
            other.execute("insert into t values (60, 1, '[30,40)')")
            other.commit()
            other.execute("delete from t where id = 60")
            other.commit()
    with strict(url) as other:
        other.execute("update t set during = int4range(10, 20), room = 1 where id = 3")
        other.execute("update t set during = int4range(800, 801) where id = 2")
    wanted = rows(conn)
    finish(migration)
    assert rows(conn) == wanted
    with psycopg.connect(url) as other:
        other.execute("set constraints all deferred; update t set during = int4range(700, 701) where id = 4")
        other.execute("update t set during = int4range(40, 50) where id = 1")
    migration.roll_back()
    assert rows(conn, "select id from t where during = '[700,701)'") == [(4,)]


def test_it_is_part_of_a_change_that_needs_a_new_table(conn: Connection, url: str) -> None:
    """And said to be what needs one, where it stands alone on a table that could be changed in place."""
    conn.execute(BOOKINGS.encode())
    migration = Migration(url, [WIDER, one_at_a_time()], strategy="shadow_table")
    with pytest.raises(ChangeoverError, match="bigint"):
        migration.begin()
    with pytest.raises(ChangeoverError, match="without blocking those who write to it") as refused:
        Migration(url, [one_at_a_time()]).begin()
    assert "strategy: shadow_table" in refused.value.hint


LATE = """
create table t (id int primary key, k int, constraint u unique (k) deferrable initially deferred,
  constraint e exclude (k with =) deferrable);
insert into t select i, i from generate_series(1, 20) i;
"""
FREE = [{"drop_constraint": {"table": "t", "name": name}} for name in "ue"]


@pytest.mark.parametrize("operations", [[{"rebuild_table": {"table": "t"}}], FREE][: 2 if EVERY_LEG else 1])
def test_what_applications_break_and_mend_within_a_transaction_is_carried(
    operations: list[dict[str, Any]], conn: Connection, url: str
) -> None:
    """There, also what others note only in the moment of the swap, and back."""
    migration = rebuilt(conn, url, LATE, operations)
    migration.run(Phase.BACKFILL, Phase.INDEX)

    def exchange(first: int, second: int) -> None:
        conn.execute("update t set k = k + 1 where id > 10")
        for session in (psycopg.connect(url), strict(url)):
            with session as other:
                other.execute("set constraints all deferred")
                other.execute("update t set k = (select k from t where id = %s) where id = %s", (second, first))
                other.execute("update t set k = k - 500 where id = %s", (second,))

    exchange(1, 2)
    migration.run(Phase.RECONCILE)
    exchange(3, 4)
    finish(migration)
    wanted = rows(conn)
    assert migration.failures("after_swap") == []
    exchange(5, 6)
    wanted = rows(conn)
    assert rows(conn, "select * from changeover.rejections") == []
    migration.roll_back()
    assert rows(conn) == wanted


def test_two_who_break_a_rule_until_their_commits_do_not_wait_for_each_other(conn: Connection, url: str) -> None:
    """Nor with the table that takes their place: where they write, nothing is checked before."""
    migration = rebuilt(conn, url, LATE)
    migration.run(Phase.BACKFILL, Phase.INDEX)

    def cross() -> None:
        with psycopg.connect(url) as one, psycopg.connect(url) as other:
            for session in (one, other):
                session.execute("set constraints all deferred; set local statement_timeout = '5s'")
            one.execute("update t set k = 100 where id = 1")
            other.execute("update t set k = 100 where id = 2; update t set k = 200 where id = 3")
            one.execute("update t set k = 200 where id = 4")
            other.execute("update t set k = id where id in (2, 3)")
            other.commit()
            one.execute("update t set k = id where id = 4")

    cross()
    finish(migration)
    cross()
    wanted = rows(conn)
    assert rows(conn, "select * from changeover.rejections") == []
    migration.roll_back()
    assert rows(conn) == wanted


def test_a_statement_of_many_rows_waits_once(conn: Connection, url: str) -> None:
    migration = rebuilt(conn, url, BOOKINGS, [one_at_a_time()])
    migration.run(Phase.BACKFILL, Phase.INDEX)
    with psycopg.connect(url) as one, psycopg.connect(url) as other:
        one.execute("insert into t values (40, 1, '[1000,2000)')")
        other.execute("set local statement_timeout = '3s'")
        other.execute("insert into t select i, 1, int4range(i, i + 1) from generate_series(1000, 1039) i")
        one.rollback()
    finish(migration)
    assert rows(conn, "select count(*) from t where id >= 1000") == [(40,)]
