"""Foreign keys that come, or go, with a new table: nobody meets them before the swap, and no rollback loses a row."""

import pytest

from tasks.engines.translate import in_our_words
from tasks.model.errors import StepError
from tasks.model.steps import Phase
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_shadow_writers import finish, rebuilt, rows

SCHEMA = """
create table o (id int primary key); insert into o values (1), (2), (3);
create table t (id int primary key, a int, b int constraint old references o);
insert into t values (1, 1, 1), (2, 2, null), (3, null, 3);
"""
COMES = {
    "create_constraint": {
        "table": "t",
        "name": "new",
        "type": "foreign_key",
        "columns": ["a"],
        "references": {"table": "o", "columns": ["id"], "on_delete": "CASCADE"},
    }
}
GOES = {"drop_constraint": {"table": "t", "name": "old"}}
OTHER = {"alter_column": {"table": "t", "column": "b", "type": "bigint"}}


def test_rows_that_refer_to_nothing_are_found_before_the_run_and_before_the_swap(conn: Connection, url: str) -> None:
    """One key comes, another one goes, a third is called otherwise, and so is the primary key."""
    conn.execute(SCHEMA.encode())
    conn.execute("alter table t add constraint kept foreign key (b) references o")
    called = [{"rename_constraint": {"table": "t", "from": one, "to": f"{one} 2"}} for one in ("kept", "t_pkey")]
    full = {"set_replica_identity": {"table": "t", "identity": {"type": "full"}}}
    migration = Migration(url, [COMES, GOES, *called, full], strategy="shadow_table")
    before = migration.engine.inspect(["public.t"])
    plan = migration.engine.plan(migration.spec)
    conn.execute("update t set a = 9 where id = 2")
    (one,) = [c for c in migration.engine.examine(plan, values_in_reports=True).checks if not c.passed]
    assert (one.name, one.examples) == ("public.t (a) refers to public.o by new", ("2",))
    conn.execute(one.fix.encode())
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL)
    # Neither the one nor the other notices.
    conn.execute("insert into t values (4, 8, 1), (5, 3, 1)")
    conn.execute("delete from o where id = 3 and not exists (select from t where b = 3); update t set b = null")
    conn.execute("delete from o where id = 3")
    migration.run(Phase.INDEX, Phase.RECONCILE)
    assert migration.failures("before_swap") == ["public.t (a) refers to public.o by new: 2"]
    conn.execute("delete from t where a in (3, 8)")
    migration.pass_gate("before_swap")
    migration.swap()
    conn.execute("insert into t values (6, 2, null)")
    with pytest.raises(Exception, match="violates foreign key constraint"):
        conn.execute("insert into t values (7, 7, null)")
    conn.execute("delete from o where id = 2")
    assert rows(conn, "select id from t order by id") == [(1,), (3,)]
    (found,) = migration.engine.inspect(["public.t"]).tables
    assert [one.name for one in found.constraints] == ["kept 2", "new", "t_pkey 2"]
    assert all(one.validated for one in found.constraints)
    assert found.replica_identity == "full"
    migration.roll_back()
    assert migration.engine.inspect(["public.t"]) == before
    assert rows(conn, "select id from t order by id") == [(1,), (3,)]
    conn.execute("insert into t values (7, 7, null)")


@pytest.mark.every_leg
def test_a_row_that_refers_to_nothing_and_comes_after_the_gate_is_named_by_the_swap(conn: Connection, url: str) -> None:
    """The new table is in its place then, refuses others, and is whole once that one is mended."""
    migration = rebuilt(conn, url, SCHEMA, [COMES])
    migration.run(Phase.BACKFILL, Phase.INDEX, Phase.RECONCILE)
    migration.pass_gate("before_swap")
    conn.execute("insert into t values (4, 8, 1)")
    with pytest.raises(StepError, match="23503: ForeignKeyViolation by new"), in_our_words("t"):
        migration.run(Phase.SWAP)
    assert migration.swapped
    conn.execute("update t set a = 1 where id = 4")
    migration.swap()
    migration.contract()
    assert rows(conn, "select a from t where id = 4") == [(1,)]


@pytest.mark.every_leg
def test_what_the_key_that_went_would_refuse_keeps_a_rollback_from_coming(conn: Connection, url: str) -> None:
    migration = rebuilt(conn, url, SCHEMA, [GOES, OTHER])
    finish(migration)
    conn.execute("insert into t values (4, null, 9); delete from o where id = 3")
    assert migration.before_rollback() == ["public.t refers by old"]
    conn.execute("update t set b = null where id in (3, 4)")
    migration.roll_back()
    assert rows(conn, "select id, b from t order by id") == [(1, 1), (2, None), (3, None), (4, None)]
    with pytest.raises(Exception, match="violates foreign key constraint"):
        conn.execute("insert into t values (5, null, 9)")
