"""What several writers may do to one row or one key while both shapes stand, case by case."""

from typing import Any

import psycopg
import pytest

from tasks.engines.journal import Journal
from tasks.engines.postgresql.drift import refuse_drift_since
from tasks.ledger.fencing import fence
from tasks.ledger.steps import begin_step
from tasks.model.errors import DriftError, PreflightError, SpecError
from tasks.model.steps import ConcurrentIndex, Phase
from tests.conformance.drive import Connection, Migration

WIDEN: dict[str, Any] = {"alter_column": {"table": "t", "column": "n", "type": "bigint", "up": "n", "down": "n"}}
ADD: dict[str, Any] = {
    "add_column": {"table": "t", "column": {"name": "big", "type": "int", "nullable": True}, "up": "n * 100"}
}


def rows(conn: Connection, query: str) -> list[tuple[Any, ...]]:
    return conn.execute(query.encode()).fetchall()


def dual_write(url: str, *operations: dict[str, Any]) -> Migration:
    migration = Migration(url, operations)
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE)
    return migration


def test_what_an_application_says_of_an_added_column_stands(conn: Connection, url: str) -> None:
    """Also where the same statement changes what `up` reads; an old application still gets `up`."""
    conn.execute("create table t (id int primary key, n int); insert into t values (1, 1), (2, 2), (3, 3)")
    dual_write(url, ADD)
    conn.execute("update t set n = 7, big = 8 where id = 1; update t set n = 7 where id = 2")
    conn.execute("update t set n = 7, big = null where id = 2; insert into t values (4, 4, 5), (5, 5, null)")
    conn.execute("update t set n = 6 where id = 5")
    assert rows(conn, "select id, big from t where id <> 3 order by id") == [(1, 8), (2, None), (4, 5), (5, 600)]


def test_rows_given_by_position_after_the_swap(conn: Connection, url: str) -> None:
    """INSERT and COPY without a list of columns come from applications of the old shape: nothing of it is lost."""
    conn.execute("create table t (id int primary key, n int default 5, note text)")
    migration = dual_write(url, WIDEN)
    migration.before_swap()
    migration.swap()
    conn.execute("insert into t values (1, 11, 'a')")
    with conn.cursor().copy("copy t from stdin with (default '\\D')") as copy:
        copy.write("2\t22\tb\t\\D\n")
    conn.execute("insert into t (id, note, n) values (3, 'c', 33); insert into t (id, note) values (4, 'd')")
    assert rows(conn, "select id, n, note from t order by id") == [
        (1, 11, "a"),
        (2, 22, "b"),
        (3, 33, "c"),
        (4, 5, "d"),
    ]
    migration.pass_gate("after_swap")
    migration.roll_back()
    assert rows(conn, "select n from t order by id") == [(11,), (22,), (33,), (5,)]


def test_a_deferrable_key_stays_deferrable_at_every_moment(conn: Connection, url: str) -> None:
    """Two rows exchange their numbers in one transaction, as applications with such a constraint do."""
    conn.execute("create table t (id int primary key, n int unique deferrable); insert into t values (1, 1), (2, 2)")
    migration = dual_write(url, WIDEN)

    def exchange() -> None:
        conn.execute("update t set n = 3 - n")
        with pytest.raises(psycopg.errors.UniqueViolation):
            conn.execute("update t set n = 1")

    exchange()
    migration.before_swap()
    exchange()
    migration.swap()
    exchange()
    migration.roll_back()
    exchange()
    migration.begin()
    migration.before_swap()
    migration.swap()
    migration.contract()
    exchange()


def test_a_deferrable_primary_key_is_refused(conn: Connection, url: str) -> None:
    conn.execute("create table t (n int primary key deferrable)")
    with pytest.raises(PreflightError, match="deferrable"):
        Migration(url, [WIDEN]).begin()


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("made", "blocking"),
    [
        ("create view v as select big from t", "view v"),
        ("create policy p on t using (big > 0)", "policy p on table t"),
        ("create materialized view v as select id, z from t", "view v"),
        ("alter table t add unique (big); create table c (big int references t (big))", "constraint c_big_fkey"),
        ("create view v as select n from t", "view v"),
        ("create index i on t (big, z); create table c (id int references t)", None),
    ],
)
def test_what_others_built_on_new_columns_is_named(
    made: str, blocking: str | None, swapped: bool, conn: Connection, url: str
) -> None:
    """Before a rollback begins, for it could not end; and where nothing is named, it can."""
    conn.execute("create table t (id int primary key, n int, m int); insert into t values (1, 1, 1)")
    migration = dual_write(url, ADD, WIDEN, {"rename_column": {"table": "t", "from": "m", "to": "z"}})
    migration.before_swap()
    if swapped:
        migration.swap()
    conn.execute(made.encode())
    # Of a renamed column the original stays, and before the swap an altered column is the one that stays.
    if (swapped and " z " in made) or (not swapped and " n " in made):
        blocking = None
    found = migration.before_rollback()
    assert [blocking in one for one in found] == [True] if blocking else found == []
    if blocking is None:
        migration.roll_back_steps()
        assert rows(conn, "select attname from pg_attribute where attrelid = 't'::regclass and attname = 'big'") == []


def test_a_rollback_knows_beforehand_that_an_odd_unique_index_cannot_be_built(conn: Connection, url: str) -> None:
    """Partial, and over an expression: what the index would refuse is counted as the index would."""
    conn.execute("create table t (id int primary key, n int); insert into t values (1, 1), (2, 2), (3, 300)")
    conn.execute("create unique index i on t ((n / 10)) where n > 100")
    migration = Migration(
        url, [{"alter_column": {"table": "t", "column": "n", "type": "bigint", "up": "n", "down": "least(n, 999)"}}]
    )
    migration.begin()
    migration.before_swap()
    migration.swap()
    assert migration.before_rollback() == []
    conn.execute("insert into t (id, n) values (4, 5000), (5, 7000)")
    assert migration.before_rollback() == ["public.t is unique by i"]


@pytest.mark.parametrize("prefix", ["", "select "])
def test_orphans_become_null_on_the_way_to_a_foreign_key(prefix: str, conn: Connection, url: str) -> None:
    """`up` may look for the parent in the table that the new foreign key points to; what it says is not compared."""
    conn.execute(
        "create table users (id int primary key); insert into users values (1), (2);"
        " create table t (id int primary key, user_id int); insert into t values (1, 1), (2, 7), (3, null)"
    )
    up = f"({prefix}case when exists (select from users where users.id = user_id) then user_id end)"
    reference = {"name": "f", "table": "users", "column": "id", "on_delete": "CASCADE"}
    alter = {"alter_column": {"table": "t", "column": "user_id", "references": reference, "up": up, "down": "user_id"}}
    migration = dual_write(url, alter)
    assert [finding.rule for finding in migration.findings] == ["SAF-09"]
    conn.execute("insert into t values (4, 9), (5, 2)")
    migration.before_swap()
    migration.swap()
    assert rows(conn, "select id, user_id from t order by id") == [(1, 1), (2, None), (3, None), (4, None), (5, 2)]
    migration.roll_back()
    assert rows(conn, "select id, user_id from t order by id") == [(1, 1), (2, 7), (3, None), (4, 9), (5, 2)]
    migration.begin()
    migration.before_swap()
    migration.swap()
    drop = {"drop_constraint": {"table": "t", "name": "f", "up": "user_id", "down": up}}
    migration.contract()
    dropped = Migration(url, [drop], name="dropped")
    dropped.begin()
    dropped.before_swap()
    dropped.swap()
    conn.execute("update t set user_id = 8 where id = 1")
    dropped.roll_back()
    assert rows(conn, "select id, user_id from t order by id") == [(1, None), (2, None), (3, None), (4, None), (5, 2)]


def test_no_other_table_may_be_read(conn: Connection, url: str) -> None:
    conn.execute("create table t (id int primary key, n int); create table u (id int primary key, n int)")
    read = {
        "add_column": {
            "table": "t",
            "column": {"name": "c", "type": "int"},
            "up": "(select u.n from u where u.id = t.n)",
        }
    }
    with pytest.raises(SpecError, match="cannot read another table: u"):
        Migration(url, [read]).begin()


def test_a_key_without_overlaps_stays_as_it_is(conn: Connection, url: str) -> None:
    """Nothing can be built like it, and nothing has to be where its columns are left alone."""
    conn.execute(
        "create table t (id int unique not null, a int4range, v int4range, n int, primary key (a, v without overlaps));"
        " insert into t values (1, '[1,2)', '[1,5)', 1), (2, '[1,2)', '[5,9)', 2)"
    )
    migration = Migration(url, [WIDEN])
    migration.begin()
    migration.before_swap()
    migration.swap()
    migration.roll_back()
    assert rows(conn, "select n from t order by id") == [(1,), (2,)]


def test_values_that_only_the_new_shape_can_hold_do_not_keep_it_from_being_contracted(
    conn: Connection, url: str
) -> None:
    """That is what it was widened for. It is the rollback that could not express them."""
    conn.execute("create table t (id int primary key, n int); insert into t values (1, 1)")
    migration = dual_write(url, WIDEN)
    migration.before_swap()
    migration.swap()
    conn.execute("insert into t (id, n) values (2, 5000000000); update t set n = 6000000000 where id = 1")
    migration.pass_gate("after_swap")
    migration.contract()
    assert rows(conn, "select n from t order by id") == [(6000000000,), (5000000000,)]


NEEDED: dict[str, Any] = {
    "alter_column": {
        "table": "t", "column": "note", "nullable": False, "up": "coalesce(note, about || '!')", "down": "note",
    }
}  # fmt: skip


@pytest.mark.parametrize("lossy", [True, False])
def test_a_column_of_both_shapes_that_up_reads_changes_after_the_swap(
    conn: Connection, url: str, *, lossy: bool
) -> None:
    """The new value is what it was, and the old one leads to it: the gates pass, on both ways."""
    conn.execute("create table t (id int primary key, about text, note text)")
    conn.execute("insert into t values (1, 'a', null), (2, 'b', null), (3, 'c', 'said'), (4, 'd', null)")
    for contracted in (False, True):
        migration = Migration(url, [{"alter_column": {**NEEDED["alter_column"], "lossy": lossy}}])
        migration.begin()
        migration.before_swap()
        migration.run(Phase.SWAP)
        conn.execute("update t set about = 'z' where id in (1, 3); update t set about = 'z', note = 'new' where id = 2")
        found = [(1, "z", "a!"), (2, "z", "new"), (3, "z", "said"), (4, "d", "d!")]
        assert rows(conn, "select id, about, note from t order by id") == found
        assert migration.failures("after_swap") == migration.failures("before_contract") == []
        if not contracted:
            migration.roll_back()
            assert rows(conn, "select id, about, note from t order by id") == [*found[:3], (4, "d", None)]
            conn.execute("update t set about = 'a', note = null where id = 1")
    migration.run(Phase.CONTRACT)
    assert rows(conn, "select id, about, note from t order by id") == found


ACTIVE: dict[str, Any] = {
    "alter_column": {
        "table": "t", "column": "status", "type": "boolean", "lossy": True,
        "up": "status = 'active' and country is not null",
        "down": "case when status then 'active' else 'inactive' end",
    }
}  # fmt: skip


def test_an_old_value_of_which_up_still_makes_the_new_one_stays(conn: Connection, url: str) -> None:
    """A column of both shapes changes, and nobody has written the old one: what only that can hold is not lost."""
    conn.execute("create table t (id int primary key, status text, country text)")
    conn.execute("insert into t values (1, 'suspended', 'DE'), (2, 'active', 'DE'), (3, 'suspended', 'DE')")
    migration = Migration(url, [ACTIVE])
    migration.begin()
    migration.before_swap()
    migration.run(Phase.SWAP)
    conn.execute("update t set country = 'FR' where id < 3; update t set country = 'FR', status = true where id = 3")
    assert rows(conn, "select status from t order by id") == [(False,), (True,), (True,)]
    assert migration.failures("after_swap") == []
    migration.roll_back()
    found = [("suspended", "FR"), ("active", "FR"), ("active", "FR")]
    assert rows(conn, "select status, country from t order by id") == found


def test_what_others_built_on_a_new_table_is_named(conn: Connection, url: str) -> None:
    made: dict[str, Any] = {"create_table": {"name": "w", "columns": [{"name": "id", "type": "int", "pk": True}]}}
    reference = {"name": "f", "table": "w", "column": "id"}
    columns = [{"name": "id", "type": "int", "pk": True, "references": reference}]
    child: dict[str, Any] = {"create_table": {"name": "x", "columns": columns}}
    migration = Migration(url, [made, child])
    migration.begin()
    migration.before_swap()
    migration.swap()
    conn.execute("create view v as select id from w; create table theirs (id int references x)")
    assert sorted(migration.before_rollback()) == [
        "constraint theirs_id_fkey on table theirs",
        "rule _RETURN on view v",
    ]
    conn.execute("drop view v; drop table theirs")
    migration.roll_back()


@pytest.mark.parametrize("whole", [True, False])
def test_a_unique_index_of_a_killed_run_is_no_drift(conn: Connection, url: str, *, whole: bool) -> None:
    """It is built outside of a transaction, so a kill leaves it, valid or not, without an entry in the ledger."""
    conn.execute("create table t (id int primary key, n int); insert into t values (1, 1), (2, 2)")
    unique = {"name": "t_n_is_unique"}
    migration = dual_write(url, {"alter_column": {"table": "t", "column": "n", "unique": unique}}, ADD)
    migration.run(Phase.BACKFILL, Phase.INDEX)
    migration.pass_gate("before_swap")
    plan = migration.plan
    assert plan is not None
    steps = [step for step in plan.phase(Phase.CONSTRAIN) if isinstance(step.action, ConcurrentIndex)]
    assert steps
    for step in steps:
        assert isinstance(step.action, ConcurrentIndex)
        conn.execute(step.action.create.encode())
        if not whole:
            conn.execute("update pg_index set indisvalid = false where indexrelid = %s::regclass", (step.action.name,))
    refuse_drift_since(conn, plan)
    conn.execute("create unique index somebody_elses on t (n)")
    with pytest.raises(DriftError, match="somebody_elses"):
        refuse_drift_since(conn, plan)
    conn.execute("drop index somebody_elses")
    migration.run(Phase.CONSTRAIN)
    migration.swap()
    with pytest.raises(psycopg.errors.UniqueViolation):
        conn.execute("insert into t values (3, 1)")


class KilledError(Exception):
    """What stands for `kill -9` between two statements of ours."""


@pytest.mark.parametrize("unique", [True, False])
def test_an_index_that_a_killed_run_has_built_goes_with_the_rollback(
    conn: Connection, url: str, *, unique: bool
) -> None:
    """It stands on a column that stays, so that dropping what is new would not take it along."""
    conn.execute("create table t (id int primary key, n int); insert into t values (1, 1), (2, 2)")
    migration = dual_write(url, {"create_index": {"name": "by_n", "table": "t", "columns": ["n"], "unique": unique}})
    assert migration.plan is not None
    [step] = [step for step in migration.plan.steps if isinstance(step.action, ConcurrentIndex)]

    def begin(ledger: Connection) -> None:
        fence(ledger, migration.name, migration.epoch)
        begin_step(ledger, migration.name, migration.epoch, step.key)

    def finish(_: Connection) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        migration.engine.apply(step, Journal(begin=begin, finish=finish, waiting=print, between=lambda: None))
    assert rows(conn, "select indisvalid from pg_index where indexrelid = 'by_n'::regclass") == [(True,)]
    migration.roll_back()
    assert rows(conn, "select to_regclass('by_n')") == [(None,)]


def test_a_default_that_goes_stays_for_old_applications(conn: Connection, url: str) -> None:
    """Where NULL is refused: new applications leave such a column out as little as without it."""
    conn.execute("create table t (id int primary key, kind text not null default 'k', n int default 7)")
    gone = [{"alter_column": {"table": "t", "column": column, "default": None}} for column in ("kind", "n")]
    for contracted in (False, True):
        migration = Migration(url, gone)
        migration.begin()
        migration.before_swap()
        migration.swap()
        conn.execute("delete from t; insert into t (id) values (1); insert into t (id, kind) values (2, 'x')")
        assert rows(conn, "select * from t order by id") == [(1, "k", None), (2, "x", None)]
        migration.contract() if contracted else migration.roll_back()
    with pytest.raises(psycopg.errors.NotNullViolation):
        conn.execute("insert into t (id) values (3)")
