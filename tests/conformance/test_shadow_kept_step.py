"""After the swap: what differs between the new table and the old one is found, and nothing else is."""

from pathlib import Path

import psycopg
import pytest

from tasks.engines.postgresql.planning.shadow import kept_step
from tasks.model.errors import ChangeoverError, Paused
from tasks.model.steps import Phase
from tasks.run import Run
from tasks.steps import repeat_step
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_shadow_partitions import BROUGHT, DIVIDED, FEW, SMALL, attached_again, ids, ready
from tests.conformance.test_shadow_writers import finish, rebuilt, rows

# The table is called like what a careless query would give another name.
SCHEMA = """
create table b (id int primary key, a text, n int not null, gone text not null default '');
insert into b select g, case when g % 3 = 0 then null else ' x' || g end, g, '{"k": ' || g || '}'
from generate_series(1, 60) g;
"""
K = {"table": "b", "column": {"name": "k", "type": "int", "nullable": True}, "up": "(gone::json ->> 'k')::int"}
OPERATIONS = (
    {"alter_column": {"table": "b", "column": "id", "type": "bigint"}},
    {"alter_column": {"table": "b", "column": "a", "type": "text", "up": "trim(a)", "down": "a", "lossy": True}},
    {"add_column": K},
    # A row that is made after the swap has a text in the old table that `up` of k could not read.
    {"drop_column": {"table": "b", "column": "gone"}},
)
KEPT_STEP = "the old table has kept step with public.b"
WRITTEN = (
    "insert into b (id, a, n, k) values (-1, 'first', 1, 1), (61, 'last', 61, null)",
    "update b set a = ' written', n = n + 1, k = k + 1 where id % 5 = 0",
    "update b set id = -id where id between 10 and 20",
    "delete from b where id % 4 = 0",
    # What the old type refuses is noted, and so is what was there.
    "insert into b (id, n) values (3000000000, 1)",
    "update b set id = id + 3000000000 where id = 7",
    "truncate b",
    "insert into b (id, n) values (1, 1)",
)
OFF = "alter table b disable trigger all; "
PLANTED = (
    "update {old} set n = n + 1 where id = {key}",
    "update {old} set a = null, gone = '{{}}' where id = {key}",
    "delete from {old} where id = {key}",
    "insert into {old} (id, n) values ({key} + 100, 1)",
    OFF + "delete from b where id = {key}",
    OFF + "update b set n = 0 where id = {key}",
    OFF + "update b set a = a || '.', k = null where id = {key}",
    OFF + "insert into b (id, n) values (-{key}, 1)",
)


@pytest.fixture
def swapped(conn: Connection, url: str, monkeypatch: pytest.MonkeyPatch) -> Migration:
    monkeypatch.setattr(kept_step, "MOST", 3)
    conn.execute(SCHEMA.encode())
    migration = Migration(url, OPERATIONS, strategy="shadow_table")
    migration.begin()
    migration.before_swap()
    migration.swap()
    return migration


def old(conn: Connection) -> str:
    """Return the old table, quoted and qualified."""
    (found,) = conn.execute(
        "select format('%I.%I', relnamespace::regnamespace::text, relname) from pg_class"
        " where relname = 'b' and relnamespace::regnamespace::text like '%old%'"
    ).fetchall()
    return str(found[0])


def test_what_applications_write_is_no_difference(swapped: Migration, conn: Connection, url: str) -> None:
    """Neither at once nor noted: by a transaction that cannot see the old table, or because the old type refuses it."""
    with psycopg.connect(url) as strict:
        strict.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        strict.execute("update b set n = n + 1 where id < 3")
        strict.execute("delete from b where id = 4")
    for statement in WRITTEN:
        conn.execute(statement.encode())
        swapped.pass_gate("after_swap")
    swapped.pass_gate("before_contract")


def test_a_difference_is_found_and_nothing_else(swapped: Migration, conn: Connection, url: str) -> None:
    """In the first row, in the last, on one side only; in a column that keeps its values, and in one that does not."""
    assert swapped.plan is not None
    (check,) = (one for one in swapped.plan.requirements if one.name == KEPT_STEP)
    there = old(conn)
    for statement in PLANTED:
        for key in (1, 31, 59):
            with conn.transaction(force_rollback=True):
                conn.execute(statement.format(old=there, key=key).encode())
                found = [row[0] for row in conn.execute(check.violations.encode())]
            assert [abs(one) % 100 for one in found] == [key], statement
    assert conn.execute(check.violations.encode()).fetchall() == []
    with conn.transaction(force_rollback=True):
        # As many rows as before.
        conn.execute(f"delete from {there} where id = 31; insert into {there} (id, n) values (131, 1)".encode())
        assert sorted(conn.execute(check.violations.encode()).fetchall()) == [(31,), (131,)]
    with conn.transaction(force_rollback=True):
        # No more than are held.
        conn.execute(
            f"{OFF}update b set n = 0; insert into {there} (id, n) select -g, 1 from generate_series(1, 9) g".encode()
        )
        assert len(conn.execute(check.violations.encode()).fetchall()) == 6
    with conn.transaction(force_rollback=True), psycopg.connect(url) as strict:
        # As many, because of what is noted.
        strict.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        strict.execute("delete from b where id = 4")
        strict.execute("insert into b (id, n) values (-2, 1), (-3, 1)")
        strict.commit()
        conn.execute(f"insert into {there} (id, n) values (131, 1)".encode())
        assert conn.execute(check.violations.encode()).fetchall() == [(131,)]
    conn.execute(f"delete from {there} where id = 31".encode())
    assert swapped.failures("after_swap") == [f"{KEPT_STEP}: 1"]
    assert swapped.failures("before_contract") == [f"{KEPT_STEP}: 1"]


COMES_BACK = {
    "another value": ({"type": "bigint", "up": "coalesce(n, 0)", "down": "n"}, 3),
    "lossy": ({"type": "bigint", "up": "coalesce(n, 0)", "down": "n", "lossy": True}, 0),
    "rounded": ({"type": "numeric(5, 1)"}, 1),
    "the same": ({"type": "text", "up": "n::text", "down": "n::numeric"}, 0),
    # Not immutable, and the same every time.
    "zone": ({"type": "timestamptz", "up": "to_timestamp(n::float)", "down": "extract(epoch from n + age(n, n))"}, 0),
}
FAILS = {"column": "n", "type": "text", "up": "coalesce(n::text, 'none')", "down": "n::numeric", "lossy": True}
NUMBERS = "create table t (id int primary key, n numeric); insert into t values (1, null), (2, null), (3, 1.25), (4, 2)"


@pytest.mark.parametrize("name", COMES_BACK)
def test_what_does_not_come_back_refuses_the_swap_unless_it_is_lossy(name: str, conn: Connection, url: str) -> None:
    change, found = COMES_BACK[name]
    migration = rebuilt(conn, url, NUMBERS, [{"alter_column": {"table": "t", "column": "n", **change}}])
    migration.run(Phase.BACKFILL, Phase.INDEX, Phase.RECONCILE)
    assert migration.failures("before_swap") == [f"what public.t has had comes back by down: {found}"] * bool(found)
    if not found:
        finish(migration)
        migration.contract()


def test_what_cannot_be_made_again_refuses_the_swap(conn: Connection, url: str) -> None:
    migration = rebuilt(conn, url, NUMBERS, [{"alter_column": {"table": "t", **FAILS}}])
    migration.run(Phase.BACKFILL, Phase.INDEX, Phase.RECONCILE)
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        migration.failures("before_swap")


def test_a_cast_that_depends_on_the_time_zone_does_not_depend_on_the_writer(conn: Connection, url: str) -> None:
    schema = "create table t (id int primary key, at timestamp); insert into t values (1, '2020-02-02')"
    zone = [{"alter_column": {"table": "t", "column": "at", "type": "timestamptz"}}]
    migration = rebuilt(conn, url, schema, zone)
    migration.run(Phase.BACKFILL, Phase.INDEX, Phase.RECONCILE)
    conn.execute("set timezone = 'Asia/Tokyo'; insert into t values (2, '2020-02-02')")
    finish(migration)
    assert rows(conn, "select count(distinct at) from t") == [(1,)]
    conn.execute("insert into t values (3, '2020-02-02 00:00+00')")
    migration.pass_gate("after_swap")
    migration.roll_back()
    assert rows(conn, "select count(distinct at), count(*) from t") == [(1, 3)]


CHANGED_SINCE = {
    "one less": "drop table low",
    "one detached": "alter table t detach partition low; alter table low rename to archive; truncate archive",
    "one that is back": attached_again("delete from low where id = 3; insert into low values (12, 6)"),
    "one more": BROUGHT,
}


@pytest.mark.parametrize("name", CHANGED_SINCE)
def test_partitions_that_change_after_the_swap_refuse_the_way_back_and_not_the_contract(
    name: str, conn: Connection, url: str
) -> None:
    """What applications mean to have is in the new table, and that is what the contract keeps."""
    migration = ready(conn, url, SMALL, FEW)
    finish(migration)
    conn.execute(CHANGED_SINCE[name].encode())
    wanted = ids(conn)
    with pytest.raises((ChangeoverError, psycopg.DatabaseError), match=r"not what the plan|was attached, or made"):
        migration.revert("swap/all")
    migration.contract()
    assert ids(conn) == wanted


def test_an_error_of_the_server_is_not_taken_for_a_partition_that_went(conn: Connection, url: str) -> None:
    """Whatever a function of somebody says, the old table is still compared, and what is too much in it is found."""
    says = (
        "create function f(int) returns int immutable language plpgsql as"
        " 'begin if $1 < 0 then raise object_not_in_prerequisite_state; end if; return $1; end'"
    )
    down = {"alter_column": {"table": "t", "column": "at", "type": "bigint", "up": "at", "down": "f(at::int)"}}
    migration = ready(conn, url, f"{SMALL}; {says}", [*DIVIDED, down])
    finish(migration)
    conn.execute("insert into t values (70, -1)")
    assert rows(conn, "select direction, sqlstate from changeover.rejections") == [("down", "55000")]
    [(old,)] = rows(conn, "select nspname from pg_namespace where nspname like '\\_changeover\\_old%'")
    conn.execute(f'insert into "{old}".t values (71, 1)'.encode())
    assert migration.failures("after_swap") == ["the old table has kept step with public.t: 1"]


def test_the_comparison_holds_back_as_the_copy_does(conn: Connection, url: str, tmp_path: Path) -> None:
    """Before its first range it asks how far a standby is behind, which nobody can tell of one that is not there."""
    migration = Migration(url, OPERATIONS, strategy="shadow_table")
    conn.execute(SCHEMA)
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL)
    profile = tmp_path / "p.toml"
    profile.write_text(
        'name = "p"\nthrottle.replica_lag_bytes = 1\nthrottle.patience = 0.1\n'
        '[databases.main]\nurl_env = "SHADOW"\nreplicas = ["away"]\n'
    )
    this = Run(migration="m", profile=str(profile), database="main", run_id="t", actor="ana", epoch=migration.epoch)
    assert migration.plan is not None
    (step,) = migration.plan.phase(Phase.RECONCILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHADOW", url)
        with pytest.raises(Paused, match="standby"):
            repeat_step(this, step)


def test_what_an_earlier_attempt_has_noted_does_not_spare_a_row(conn: Connection, url: str) -> None:
    migration = ready(conn, url, SMALL, FEW)
    finish(migration)
    with psycopg.connect(url) as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.execute("truncate low")
    assert rows(conn, "select direction, sqlstate from changeover.rejections") == [("down", "40001")]
    migration.roll_back()
    migration.begin()
    migration.before_swap()
    migration.swap()
    (there,) = rows(conn, "select oid::regclass from pg_class where relname = 't' and oid <> 't'::regclass")[0]
    conn.execute(f"insert into {there} values (77, 15)".encode())
    assert [one for one in migration.failures("before_contract") if "kept step" in one]
