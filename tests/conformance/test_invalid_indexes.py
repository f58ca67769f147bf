"""What an interrupted build left: of somebody else it is named and left alone, of ours it is built again."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tasks.model.errors import ChangeoverError, StepError
from tasks.model.steps import Phase
from tests.conformance import tables
from tests.conformance.drive import Connection, Migration
from tests.servers.remains import soon

T = "create table t (id int primary key, a int, b int); insert into t values (1, 1, 1), (2, 1, 2)"
WIDEN = {"alter_column": {"table": "t", "column": "a", "type": "bigint", "up": "a", "down": "a"}}
BY_B = {"create_index": {"table": "t", "name": "by b", "columns": ["b"]}}
UNIQUE = {"alter_column": {"table": "t", "column": "b", "unique": {"name": "Left"}}}
AS_LEFT = {"create_index": {"table": "t", "name": "Left", "columns": ["b"]}}
DROP, REINDEX = 'drop index concurrently "Left"', "Reindex it concurrently, or drop it."
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("expand_contract", AS_LEFT, DROP),
    ("expand_contract", UNIQUE, DROP),
    ("expand_contract", WIDEN, REINDEX),
    ("shadow_table", WIDEN, REINDEX),
]


def of_t(conn: Connection) -> dict[str, tuple[int, bool]]:
    """Return number and validity of the indexes of the table, by name."""
    statement = "select indexrelid::regclass::text, indexrelid, indisvalid from pg_index where indrelid = 't'::regclass"
    found = conn.execute(statement)
    return {name: (oid, valid) for name, oid, valid in found}


def test_one_of_somebody_else_is_named_and_stays(conn: Connection, url: str) -> None:
    """Where a migration would need its name, or make another one like it; any other goes its way beside it."""
    conn.execute(T.encode())
    with pytest.raises(psycopg.errors.UniqueViolation):
        conn.execute('create unique index concurrently "Left" on t (a)')
    before = of_t(conn)
    for strategy, operation, hint in REFUSED:
        with pytest.raises(ChangeoverError, match=r"Left.* invalid") as refused:
            Migration(url, [operation], strategy=strategy).begin()
        assert hint in refused.value.hint
    rename = {"rename_column": {"table": "t", "from": "a", "to": "z"}}
    migration = Migration(url, [rename, BY_B])
    migration.begin()
    migration.before_swap()
    migration.swap()
    migration.contract()
    assert of_t(conn)['"Left"'] == before['"Left"']
    assert tables.leftovers(conn) == ['invalid index "Left"']


@pytest.mark.parametrize("made", ['index "by b" on t (a)', 'table "by b" ()'])
def test_a_name_taken_since_the_plan_was_made_is_somebody_elses(made: str, conn: Connection, url: str) -> None:
    """The run says so, a rollback leaves it alone, and when it is gone the next run does its work."""
    conn.execute(T.encode())
    migration = Migration(url, [BY_B])
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL)
    conn.execute(f"create {made}".encode())
    theirs = conn.execute("""select '"by b"'::regclass::oid""").fetchone()
    for _ in range(2):
        with pytest.raises(StepError, match="somebody has made") as refused:
            migration.run(Phase.INDEX)
        assert "concurrently" in refused.value.hint
    migration.roll_back_steps()
    assert conn.execute("""select '"by b"'::regclass::oid""").fetchone() == theirs
    conn.execute(f'drop {made.partition(" ")[0]} "by b"'.encode())
    migration.begin()
    migration.before_swap()
    assert of_t(conn)['"by b"'][1]


def test_a_build_of_ours_that_failed_makes_nothing_ours(conn: Connection, url: str) -> None:
    """Neither after duplicates nor where somebody commits that name while the server makes it."""
    conn.execute(T.encode())
    migration = Migration(url, [{"create_index": {**BY_B["create_index"], "columns": ["a"], "unique": True}}])
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL)
    with psycopg.connect(url) as other, ThreadPoolExecutor() as pool:
        other.execute('create view "by b" as select 1')
        building = pool.submit(migration.run, Phase.CONSTRAIN)
        assert soon(lambda: conn.execute("select from pg_locks where not granted").rowcount > 0)
        other.commit()
        with pytest.raises(StepError, match="somebody has made"):
            building.result(20)
    conn.execute('drop view "by b"')
    with pytest.raises(StepError, match="cannot be unique"):
        migration.run(Phase.CONSTRAIN)
    conn.execute('create index "by b" on t (b)')
    theirs = of_t(conn)
    with pytest.raises(StepError, match="somebody has made"):
        migration.run(Phase.CONSTRAIN)
    migration.roll_back_steps()
    assert of_t(conn) == theirs


def test_what_a_lost_build_comes_to_is_ours(conn: Connection, url: str) -> None:
    """It waited for the table when its session was lost, and goes on; unless it is another index."""
    waiting = "select pid from pg_stat_activity where wait_event_type = 'Lock' and query ilike 'create index conc%'"
    conn.execute(T.encode())
    migration = Migration(url, [BY_B])
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL)
    for made in ('unique index "by b" on t (id)', 'index "by b" on t (b)'):
        with psycopg.connect(url) as lost, ThreadPoolExecutor() as pool:
            lost.execute("lock table t in share update exclusive mode")
            building = pool.submit(migration.run, Phase.INDEX)
            assert soon(lambda: conn.execute(waiting).rowcount > 0)
            first = conn.execute(waiting).fetchall()
            conn.execute("select pg_terminate_backend(%s)", first[0])
            assert soon(lambda: conn.execute(waiting).fetchall() not in ([], first))  # noqa: B023
            lost.execute(f"create {made}".encode())
            lost.commit()
            if "unique" in made:
                with pytest.raises(StepError, match="somebody has made"):
                    building.result(20)
                conn.execute('drop index "by b"')
            else:
                building.result(20)
    migration.roll_back_steps()
    assert '"by b"' not in of_t(conn)


def test_one_of_ours_is_taken_away_and_built_again(conn: Connection, url: str) -> None:
    """The server ends the session in the middle of the build."""
    conn.execute(T.encode())
    migration = Migration(url, [BY_B])
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL)
    with psycopg.connect(url) as older:
        older.execute("set transaction isolation level repeatable read")
        older.execute("select 1 from pg_class limit 1")
        building = threading.Thread(target=migration.run, args=(Phase.INDEX,))
        building.start()
        deadline = time.monotonic() + 20
        while (left := of_t(conn).get('"by b"', (0, True)))[1]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'create index concurrently%'"
        )
        while of_t(conn).get('"by b"', left) == left:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    building.join(20)
    number, valid = of_t(conn)['"by b"']
    assert valid
    assert number != left[0]
