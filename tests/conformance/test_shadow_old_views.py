"""The swap of a shadow table beside transactions whose snapshot is older than the copy: they never see a part of it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest
from psycopg import IsolationLevel

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.postgresql.old_views import Outlast
from tasks.model.errors import LockTimeoutError
from tasks.model.steps import Phase
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.test_cycle_attached import alter
from tests.conformance.test_shadow_notes import strict
from tests.conformance.test_shadow_writers import rows

SCHEMA = "create table t (id int primary key, a int); insert into t select i, i from generate_series(1, 30) i"
COUNT = "select count(*) from t"


@contextmanager
def reading(url: str, isolation: IsolationLevel = IsolationLevel.REPEATABLE_READ) -> Iterator[Connection]:
    """An application that has begun, and has not come to the table yet."""
    with psycopg.connect(url) as other:
        other.isolation_level = isolation
        other.execute("select count(*) from pg_class")
        yield other


def count(conn: Connection) -> int:
    """Read the table."""
    return int(rows(conn, COUNT)[0][0])


@pytest.fixture
def migration(conn: Connection, url: str) -> Migration:
    """Dual write is on."""
    conn.execute(SCHEMA.encode())
    migration = Migration(url, [alter("id", type="bigint")], strategy="shadow_table")
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE)
    return migration


@contextmanager
def waiting(act: Callable[[], object]) -> Iterator[threading.Thread]:
    """Act meanwhile, and look that it is not done in a second; it is to be at the end."""
    thread = threading.Thread(target=act)
    thread.start()
    try:
        thread.join(1.0)
        assert thread.is_alive()
        yield thread
    finally:
        thread.join(30)
    assert not thread.is_alive()


def is_swapped(conn: Connection) -> bool:
    """Tell which table applications use."""
    return rows(conn, "select pg_typeof(id)::text from t limit 1") == [("bigint",)]


@pytest.mark.parametrize("isolation", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
def test_the_swap_waits_for_a_snapshot_that_is_older_than_the_copy_and_for_no_other(
    isolation: IsolationLevel, migration: Migration, conn: Connection, url: str
) -> None:
    """Not for who began since, nor for a session at READ COMMITTED that is within a transaction."""
    with reading(url, isolation) as old, reading(url, IsolationLevel.READ_COMMITTED) as current:
        migration.run(*BEFORE_SWAP[2:])
        with reading(url, isolation) as young:
            with waiting(lambda: migration.run(Phase.SWAP)):
                assert not is_swapped(conn)
                assert count(old) == 30
                old.rollback()
            assert is_swapped(conn)
            assert count(young) == 30
        assert count(current) == 30


def test_who_does_not_end_is_named_and_the_old_table_stays(migration: Migration, conn: Connection, url: str) -> None:
    patient = migration.engine
    migration.engine = replace(patient, limits=patient.limits.model_copy(update={"snapshot_age": 0.5}))
    with reading(url) as old:
        migration.run(*BEFORE_SWAP[2:])
        with pytest.raises(
            LockTimeoutError, match=rf"only a part .*pid {old.info.backend_pid} \(.*idle in transaction"
        ):
            migration.run(Phase.SWAP)
        assert not is_swapped(conn)
        assert count(old) == 30
    migration.run(Phase.SWAP)
    assert is_swapped(conn)


def test_what_is_carried_over_last_is_waited_for_on_both_ways(migration: Migration, conn: Connection, url: str) -> None:
    """A writer at REPEATABLE READ leaves a note, which a reader who is younger than it does not see carried."""
    migration.run(*BEFORE_SWAP[2:])

    def note(number: int) -> None:
        with strict(url) as other:
            other.execute("insert into t values (%s, 1)", (number,))

    note(100)
    with reading(url) as old, waiting(lambda: migration.run(Phase.SWAP)):
        assert count(old) == 31
        old.rollback()
    assert is_swapped(conn)
    note(101)
    with reading(url) as old, waiting(lambda: migration.revert("swap/all")):
        assert count(old) == 32
        old.rollback()
    assert not is_swapped(conn)
    assert count(conn) == 32


def test_writers_that_note_all_the_time_hold_up_neither_way(migration: Migration, conn: Connection, url: str) -> None:
    """There is always somebody older than the last note: only who is older than the copy is waited for without end."""
    patient = migration.engine
    migration.engine = replace(patient, limits=patient.limits.model_copy(update={"snapshot_age": 5.0}))
    stop = threading.Event()

    def note() -> None:
        number = 1000
        while not stop.is_set():
            number += 1
            with strict(url) as other:
                other.execute("insert into t values (%s, 1)", (number,))

    def sleep() -> None:
        with psycopg.connect(url, autocommit=True) as other:
            while not stop.is_set():
                other.execute("select pg_sleep(0.7)")

    crowd = [threading.Thread(target=one) for one in (note, sleep, sleep)]
    for one in crowd:
        one.start()
        time.sleep(0.3)
    try:
        migration.run(*BEFORE_SWAP[2:])
        migration.run(Phase.SWAP)
        assert is_swapped(conn)
        migration.revert("swap/all")
    finally:
        stop.set()
        for one in crowd:
            one.join(30)
    assert not is_swapped(conn)


def test_a_rollback_waits_for_nobody_where_nothing_was_carried(
    migration: Migration, conn: Connection, url: str
) -> None:
    migration.run(*BEFORE_SWAP[2:])
    migration.swap()
    with reading(url) as old:
        began = time.monotonic()
        migration.revert("swap/all")
        assert time.monotonic() - began < 10
        assert count(old) == 30


def test_a_statement_that_runs_is_waited_for(migration: Migration, conn: Connection, url: str) -> None:
    """Nobody can tell at which isolation it runs, and a function in it may come to the table with its snapshot."""
    conn.execute(
        "create function seen(double precision) returns bigint stable language plpgsql as"
        " 'begin perform pg_sleep($1); return (select count(*) from t); end'"
    )
    found: list[int] = []
    with psycopg.connect(url, autocommit=True) as other:
        reader = threading.Thread(target=lambda: found.append(rows(other, "select seen(4)")[0][0]))
        reader.start()
        while not rows(conn, "select from pg_stat_activity where query like 'select seen%' and wait_event = 'PgSleep'"):
            time.sleep(0.05)
        migration.run(*BEFORE_SWAP[2:])
        migration.run(Phase.SWAP)
        assert is_swapped(conn)
        reader.join(30)
    assert found == [30]


def test_a_role_without_further_rights_sees_them_too(conn: Connection, url: str) -> None:
    """Not what they do, nor since when: only that they are there."""
    conn.execute("create role plain login password 'p'")
    try:
        with reading(url) as old, psycopg.connect(url, user="plain", password="p", autocommit=True) as plain:
            conn.execute("create table o ()")
            outlast = Outlast(
                conn=plain,
                limits=Limits(snapshot_age=0.2),
                journal=Journal(begin=lambda _: None, finish=lambda _: None),
                drain="",
                written="select xmin from pg_class where relname = 'o'",
            )
            with pytest.raises(LockTimeoutError, match=rf"pid {old.info.backend_pid} \(postgres, unknown"):
                outlast()
            old.rollback()
            outlast()
    finally:
        conn.execute("drop role plain")
