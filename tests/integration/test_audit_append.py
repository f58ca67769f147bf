"""Appending to the audit log: a line without gaps, whoever writes at the same time."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pytest
import rfc8785

from tasks.ledger import audit
from tasks.ledger.install import install
from tasks.ledger.verify import verify
from tasks.model.errors import StepError
from tests.integration.ledger_samples import at_once, wait_for_a_waiter


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as conn:
        install(conn)
        yield conn


def test_a_record_says_who_what_when_where_and_how_it_ended(conn: psycopg.Connection) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    record = audit.append(conn, "ana", "swap", "widen_ids", "done", "d1", {"rows": 7, "dry": False, "to": "ä"})

    assert record == audit.head(conn)
    assert (record.seq, record.actor, record.action, record.outcome) == (2, "ana", "swap", "done")
    assert (record.subject, record.digest) == ("widen_ids", "d1")
    assert record.role == conn.info.user
    assert record.place.startswith(f"{conn.info.dbname}@")
    assert record.place.endswith(f":{conn.info.port}")
    assert before < record.at < datetime.now(UTC) + timedelta(minutes=1)
    assert record.at.tzinfo is UTC
    body = json.loads(record.body)
    assert body["detail"] == {"rows": 7, "dry": False, "to": "ä"}
    assert body["at"] == record.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert record.body == rfc8785.dumps(body).decode()


def test_the_chain_can_be_recomputed_by_the_database_alone(conn: psycopg.Connection) -> None:
    for number in range(5):
        audit.append(conn, "ana", "test", f"ü {number}", "done")
    row = conn.execute(
        """
        select count(*),
               bool_and(hash = encode(sha256('\\x00'::bytea || decode(prev_hash, 'hex')
                                             || convert_to(body, 'UTF8')), 'hex')),
               bool_and(prev_hash = coalesce(before, repeat('0', 64)))
          from (select *, lag(hash) over (order by seq) as before from changeover.audit) a
        """
    ).fetchone()
    assert row == (6, True, True)


def test_the_moment_does_not_depend_on_settings_of_the_session(conn: psycopg.Connection) -> None:
    conn.execute("set timezone = 'Asia/Kathmandu'")
    record = audit.append(conn, "ana", "test", "subject", "done")
    assert json.loads(record.body)["at"].endswith("Z")
    assert abs(record.at - datetime.now(UTC)) < timedelta(minutes=1)
    conn.execute("set timezone = 'UTC'")
    assert verify(conn, None).ok


def test_eight_writers_make_one_line(conn: psycopg.Connection, database: str) -> None:
    def write(name: str) -> None:
        with psycopg.connect(database) as own:
            for number in range(25):
                audit.append(own, name, "test", str(number), "done")
                # Every fifth is undone: its number must be used by the next.
                if number % 5:
                    own.commit()
                else:
                    own.rollback()

    assert at_once(*(partial(write, f"writer {n}") for n in range(8))) == []

    verdict = verify(conn, None)
    assert verdict.problems == ()
    assert verdict.records == 1 + 8 * 20
    assert conn.execute("select max(seq) from changeover.audit").fetchone() == (161,)
    assert conn.execute("select count(distinct actor) from changeover.audit").fetchone() == (9,)


def test_a_writer_waits_for_one_that_has_not_committed(conn: psycopg.Connection, database: str) -> None:
    with psycopg.connect(database) as first:
        held = audit.append(first, "first", "test", "subject", "done")
        waited: list[audit.AuditRecord] = []

        def append() -> None:
            waited.append(audit.append(conn, "second", "test", "subject", "done"))

        second = threading.Thread(target=append)
        second.start()
        wait_for_a_waiter(first)
        assert waited == []
        first.commit()
        second.join()
    assert waited[0].prev_hash == held.hash


def test_the_wait_is_bounded_by_lock_timeout(conn: psycopg.Connection, database: str) -> None:
    with psycopg.connect(database) as first:
        audit.append(first, "first", "test", "subject", "done")
        conn.execute("set lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            audit.append(conn, "second", "test", "subject", "done")


def test_a_killed_writer_leaves_nothing(conn: psycopg.Connection, database: str) -> None:
    with closing(psycopg.connect(database)) as victim:
        lost = audit.append(victim, "victim", "test", "subject", "done")
        conn.execute("select pg_terminate_backend(%s, 10000)", (victim.info.backend_pid,))
        assert audit.append(conn, "next", "test", "subject", "done").seq == lost.seq
    assert verify(conn, None).ok


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_snapshot_that_cannot_see_the_last_record_is_refused(conn: psycopg.Connection, level: str) -> None:
    with conn.transaction():
        conn.execute(f"set transaction isolation level {level}")
        with pytest.raises(StepError, match=f"read committed transaction, not a {level}"):
            audit.append(conn, "ana", "test", "subject", "done")


@pytest.mark.parametrize(
    "statement",
    [
        "update changeover.audit set actor = 'x'",
        "update changeover.audit set actor = 'x' where false",
        "delete from changeover.audit",
        "truncate changeover.audit",
        "insert into changeover.audit table changeover.audit on conflict (seq) do update set actor = 'x'",
    ],
)
@pytest.mark.parametrize("role", ["origin", "replica"])
def test_it_can_only_be_appended_to(conn: psycopg.Connection, statement: str, role: str) -> None:
    conn.execute(f"set session_replication_role = {role}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        conn.execute(statement)
    assert verify(conn, None).ok


def test_a_fork_and_a_wrong_hash_are_constraint_violations(conn: psycopg.Connection) -> None:
    audit.append(conn, "ana", "test", "subject", "done")
    copy = """
        insert into changeover.audit
        select {seq}, prev_hash, {hash}, at, actor, role, place, action, subject, outcome, digest, detail,
               {body}
          from changeover.audit where seq = 2
    """
    with pytest.raises(psycopg.errors.CheckViolation):
        conn.execute(copy.format(seq=3, hash="repeat('a', 64)", body="body"))
    with pytest.raises(psycopg.errors.UniqueViolation):
        conn.execute(
            copy.format(
                seq=3,
                hash="encode(sha256('\\x00'::bytea || decode(prev_hash, 'hex') || 'other'::bytea), 'hex')",
                body="'other'",
            )
        )


def test_odd_text_is_kept_as_an_escape(conn: psycopg.Connection) -> None:
    record = audit.append(conn, "a\x00b", "test", "\ud800", "done", detail={"k\x00": "v\udfff"})
    assert (record.actor, record.subject, record.detail) == ("a\\x00b", "\\ud800", {"k\\x00": "v\\udfff"})
    assert verify(conn, None).ok


def test_details_that_have_no_exact_json_are_refused(conn: psycopg.Connection) -> None:
    with pytest.raises(TypeError, match="not float"):
        audit.append(conn, "ana", "test", "subject", "done", detail={"rate": 0.1})  # type: ignore[dict-item]
    with pytest.raises(rfc8785.IntegerDomainError):
        audit.append(conn, "ana", "test", "subject", "done", detail={"rows": 2**60})
    assert verify(conn, None).records == 1


def test_its_commit_is_durable_where_commits_are_not(conn: psycopg.Connection) -> None:
    conn.execute("set synchronous_commit = off")
    with conn.transaction():
        audit.append(conn, "ana", "test", "subject", "done")
        assert conn.execute("show synchronous_commit").fetchone() == ("on",)
    assert conn.execute("show synchronous_commit").fetchone() == ("off",)


def test_a_stronger_setting_of_commits_is_kept(conn: psycopg.Connection) -> None:
    conn.execute("set synchronous_commit = remote_apply")
    with conn.transaction():
        audit.append(conn, "ana", "test", "subject", "done")
        assert conn.execute("show synchronous_commit").fetchone() == ("remote_apply",)
