"""A column moves between two tables under writers of both shapes: nothing is lost, nothing fails, nobody deadlocks."""

import multiprocessing
from typing import Any

import psycopg
import pytest

from tasks.ledger.fencing import take_over
from tasks.model.plan import Plan
from tests.conformance import tables
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.linked_writers import TABLES, LinkedWriters
from tests.conformance.outbox import carry
from tests.servers.remains import soon

MOVE: list[dict[str, Any]] = [{"move_column": {"table": "u", "column": "mail", "to": "p", "on": {"id": "u_id"}}}]


def different(conn: Connection, table: str, key: str) -> list[tuple[object, ...]]:
    """Return rows that are not what the twin says."""
    return conn.execute(
        f"select t.id, t.mail, x.{key}, x.mail from twin t full join {table} x on x.{key} = t.id"
        f" where t.id is distinct from x.{key} or t.mail is distinct from x.mail limit 5".encode()
    ).fetchall()


@pytest.mark.every_leg
def test_old_applications_through_swap_and_rollback(conn: Connection, url: str) -> None:
    """They never notice: not the swap, not the way back."""
    conn.execute(TABLES.encode())
    before = tables.catalogue(conn)
    migration = Migration(url, MOVE, batch_rows=50)
    with LinkedWriters(url, "old", "old", "old") as writers:
        migration.begin()
        for phase in BEFORE_SWAP:
            migration.run(phase)
            writers.work(60)
        migration.pass_gate("before_swap")
        migration.swap()
        writers.work(100)
        migration.pass_gate("after_swap")
    carry(conn)
    assert different(conn, "u", "id") == []
    assert different(conn, "p", "u_id") == []
    with LinkedWriters(url, "old", "old", "old") as writers:
        migration.roll_back()
        writers.work(60)
    assert different(conn, "u", "id") == []
    assert tables.catalogue(conn) == before
    assert tables.leftovers(conn) == []


def test_both_applications_side_by_side(conn: Connection, url: str) -> None:
    """What each of them writes is what the other one sees; the last one to write a pair has it."""
    conn.execute(TABLES.encode())
    migration = Migration(url, MOVE, batch_rows=50)
    with LinkedWriters(url, "old", "old") as writers:
        migration.begin()
        migration.before_swap()
        writers.work(60)
        migration.swap()
    with LinkedWriters(url, "old", "new", "old", "new") as writers:
        writers.work(400)
        migration.pass_gate("after_swap")
    carry(conn)
    assert different(conn, "u", "id") == []
    assert different(conn, "p", "u_id") == []
    with LinkedWriters(url, "new", "new") as writers:
        migration.contract()
        writers.work(60)
    assert different(conn, "p", "u_id") == []
    assert tables.leftovers(conn) == []


def test_a_rollback_brings_back_what_new_applications_wrote(conn: Connection, url: str) -> None:
    """Also while they write."""
    conn.execute(TABLES.encode())
    migration = Migration(url, MOVE, batch_rows=50)
    migration.begin()
    migration.before_swap()
    migration.swap()
    with LinkedWriters(url, "new", "new", "new") as writers:
        writers.work(200)
    migration.roll_back()
    assert different(conn, "u", "id") == []
    assert tables.leftovers(conn) == []


def _before_swap(url: str, plan: str, epoch: int) -> None:
    """In a process of its own, a row a batch."""
    migration = Migration(url, MOVE, batch_rows=1)
    migration.plan, migration.epoch = Plan.model_validate_json(plan), epoch
    migration.before_swap()


def _filled(conn: Connection) -> int:
    try:
        row = conn.execute("select count(mail) from p where u_id > 40").fetchone()
    except psycopg.errors.UndefinedColumn:
        return 0
    assert row is not None
    return int(row[0])


def test_killed_in_the_backfill(conn: Connection, url: str) -> None:
    """Another process goes on where it stopped; applications write all the time."""
    conn.execute(TABLES.encode())
    migration = Migration(url, MOVE, batch_rows=50)
    migration.begin()
    assert migration.plan is not None
    with LinkedWriters(url, "old", "old") as writers:
        run = multiprocessing.get_context("spawn").Process(
            target=_before_swap, args=(url, migration.plan.model_dump_json(), migration.epoch)
        )
        run.start()
        assert soon(lambda: _filled(conn) > 60, seconds=60)
        run.kill()
        run.join()
        assert 60 < _filled(conn) < 360
        conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
            " and application_name like 'changeover%' and application_name not like '% test'"
        )
        migration.epoch = take_over(migration.ledger, migration.name, "t", executor="test")
        migration.before_swap()
        migration.swap()
        writers.work(60)
    carry(conn)
    assert different(conn, "u", "id") == []
    assert different(conn, "p", "u_id") == []
