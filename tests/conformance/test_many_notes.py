"""What triggers have noted may be much: it is carried beside the applications, and not while they wait for a swap."""

import psycopg
import pytest

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.postgresql.drain import BUDGET, FEW, LATE, TOO_MUCH, drain
from tasks.engines.postgresql.old_views import Outlast
from tasks.engines.postgresql.short_transaction import run_short
from tasks.model.errors import LockTimeoutError
from tasks.model.steps import Copy, Lock, LockMode, Phase, ShortTransaction
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_shadow_notes import noted, notes, strict
from tests.conformance.test_shadow_writers import rows
from tests.legs import EVERY_LEG

MANY = 100_000 if EVERY_LEG else 4_000
SCHEMA = (
    'create table t (id text collate "C" primary key, a text);'
    f" insert into t select i::text, 'x' from generate_series(1, {MANY}) i"
)
NARROW = [{"alter_column": {"table": "t", "column": "a", "type": "varchar(3)", "down": "a"}}]
SILENT = Journal(begin=lambda _: None, finish=lambda _: None)


def test_all_that_is_noted_is_carried_without_a_lock_or_there_is_no_swap(conn: Connection, url: str) -> None:
    """However short the patience is. A subtransaction takes an xid only for what is refused, and no scan is needed."""
    conn.execute(SCHEMA.encode())
    pages = "pg_relation_size('t') / current_setting('block_size')::int"
    conn.execute(f"update pg_class set reltuples = 2e6, relpages = {pages} where oid = 't'::regclass".encode())
    migration = Migration(url, NARROW, strategy="shadow_table", batch_rows=100_000)
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL)
    with strict(url) as other:
        other.execute("update t set a = case id when '77' then 'long one' else 'y' end")
    table, plan = notes(conn), migration.plan
    assert plan is not None
    assert noted(conn) == 2 * MANY
    assert "SHD-11" in {one.rule for one in plan.findings}
    before_swap = [one.violations for one in plan.requirements if one.gate == "before_swap"]
    asked = [one for one in before_swap if "_changeover_notes" in one]
    asked.append(
        f"select _changeover_number from {table} where _changeover_failed is null"
        " and _changeover_number > 9 order by 1 limit 1"
    )
    conn.execute(f"analyze {table}, t".encode())
    for query in asked:
        explained = "\n".join(line for (line,) in rows(conn, f"explain {query}"))
        assert "Seq Scan on _changeover_notes" not in explained.replace('"', ""), explained
    assert len(asked) > 2
    (action,) = (step.action for step in plan.steps if isinstance(step.action, Copy))
    conn.execute(f"update {table} set _changeover_failed = 'x' where _changeover_number < 50".encode())
    assert rows(conn, action.drain.format(most=0, after=0)) == [(0, 49, 2 * MANY, 0)]
    conn.execute(f"update {table} set _changeover_failed = null where _changeover_number < 50".encode())
    (swap,) = (step.action for step in plan.steps if step.key == "swap/all")
    assert isinstance(swap, ShortTransaction)
    conn.execute(f"begin; set local lock_timeout = '10s'; set local {BUDGET} = '20ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable, match=TOO_MUCH):
        conn.execute(swap.forward[0].encode())
    conn.execute("rollback")
    xid = "select pg_current_xact_id()::text::bigint"
    (before,), *_ = rows(conn, xid)
    assert drain(conn, action.drain, Limits(lock_patience=0.001, lock_budget=5000, batch_target=100)) == 0
    (after,), *_ = rows(conn, xid)
    assert after - before < MANY / 20
    assert rows(conn, f"select _changeover_failed from {table}") == [("22001",)] * 2
    assert rows(conn, f"select a, count(*) from {action.target} group by a order by 1") == [("x", 1), ("y", MANY - 1)]


def test_no_lock_is_taken_where_writers_note_faster_than_it_is_carried(conn: Connection) -> None:
    conn.execute("create table t (); create table f (n int)")
    limits = Limits(lock_patience=0.2)
    outlast = Outlast(conn=conn, limits=limits, journal=SILENT, drain=f"select {10**9}", written="")
    assert "go on noting" in outlast()
    assert limits.batch_rows > FEW
    lock = Lock(table="t", mode=LockMode.ACCESS_EXCLUSIVE)
    with pytest.raises(LockTimeoutError, match="go on noting"):
        run_short(conn, ["insert into f values (1)"], [lock], limits, SILENT, guard=False, before=outlast)
    assert rows(conn, "select * from f") == []
    conn.execute("set deadlock_timeout = '20ms'")
    left = f"insert into f values (extract(epoch from {LATE} - clock_timestamp()))"
    run_short(conn, [left], [lock], Limits(lock_budget=5000), SILENT, guard=False)
    assert rows(conn, "select * from f") == [(5,)], "it waits for others for 10 ms"
