"""Verifying the audit log against a superuser who switches every protection off, and on again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tasks.ledger import audit
from tasks.ledger.anchor import anchor_head
from tasks.ledger.install import install
from tasks.ledger.verify import MOST_PROBLEMS, verify
from tasks.model.errors import StepError

# Numbers all records anew and computes a chain that holds.
REHASH = """
    do $$
    declare r record; before text := repeat('0', 64); number bigint := 0; said text;
    begin
        for r in select ctid, body from changeover.audit order by seq loop
            number := number + 1;
            said := regexp_replace(r.body, '"seq":\\d+', '"seq":' || number);
            update changeover.audit
               set seq = number, prev_hash = before, body = said,
                   hash = encode(sha256('\\x00'::bytea || decode(before, 'hex')
                                         || convert_to(said, 'UTF8')), 'hex')
             where ctid = r.ctid
            returning hash into before;
        end loop;
    end $$
"""
CUT_OFF = "the log ends at record {}: the end, up to record 9, was cut off"


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as conn:
        install(conn)
        for number in range(2, 10):
            audit.append(conn, "ana", "test", f"subject {number}", "done", "d", {"number": number})
        yield conn


@contextmanager
def unprotected(conn: psycopg.Connection) -> Iterator[None]:
    """Do what only the owner or a superuser can, and leave no trace of having done it."""
    conn.execute("alter table changeover.audit disable trigger all")
    conn.execute("alter table changeover.audit drop constraint audit_hash")
    yield
    conn.execute("alter table changeover.audit enable always trigger append_only")
    # Not checked against rows that are there, yet marked as if it were.
    conn.execute("alter table changeover.audit add constraint audit_hash check (true)")


def tampered(conn: psycopg.Connection, *statements: str) -> tuple[str, ...]:
    assert verify(conn, None).ok
    with unprotected(conn):
        for statement in statements:
            assert conn.execute(statement).statusmessage not in ("UPDATE 0", "DELETE 0", "INSERT 0 0")
    return verify(conn, None).problems


def test_an_honest_log_passes(conn: psycopg.Connection, tmp_path: Path) -> None:
    anchor_head(conn, tmp_path)
    verdict = verify(conn, tmp_path)
    newest = audit.head(conn)
    assert newest is not None
    assert verdict.ok
    assert (verdict.records, verdict.anchors, verdict.head) == (9, 1, newest.hash)


@pytest.mark.parametrize(
    "change",
    [
        "seq = 5, at = at + interval '1 microsecond'",
        "at = 'infinity'",
        "actor = 'ben'",
        "role = 'ben'",
        "place = 'elsewhere'",
        "action = 'rest'",
        "subject = 'subject 6'",
        "outcome = 'failed'",
        "digest = ''",
        """detail = '{"number": 6}'""",
        """detail = '{"number": 5, "more": true}'""",
        """detail = '{"number": 5.00000000000000000001}'""",
        """detail = '{"number": 50000000000000000000000}'""",
        """detail = '{"number": "5"}'""",
        "detail = '[]'",
    ],
)
def test_an_edited_column_is_found(conn: psycopg.Connection, change: str) -> None:
    assert tampered(conn, f"update changeover.audit set {change} where seq = 5") == (
        "record 5 was edited: its columns do not say what its body says",
    )


def test_an_edited_body_is_found(conn: psycopg.Connection) -> None:
    problems = tampered(
        conn,
        """
        update changeover.audit set actor = 'ben', body = replace(body, '"actor":"ana"', '"actor":"ben"')
         where seq = 5
        """,
    )
    assert problems == ("record 5 was edited: its hash is not the hash of its body",)


def test_a_body_that_says_the_same_in_other_words_is_found(conn: psycopg.Connection) -> None:
    problems = tampered(conn, "update changeover.audit set body = body || ' ' where seq = 5")
    assert len(problems) == 2


def test_an_edited_record_with_a_fitting_hash_breaks_the_chain(conn: psycopg.Connection) -> None:
    problems = tampered(
        conn,
        """
        update changeover.audit
           set actor = 'ben', body = replace(body, '"actor":"ana"', '"actor":"ben"'),
               hash = encode(sha256('\\x00'::bytea || decode(prev_hash, 'hex') || convert_to(
                          replace(body, '"actor":"ana"', '"actor":"ben"'), 'UTF8')), 'hex')
         where seq = 5
        """,
    )
    assert problems == ("record 6 does not follow record 5",)


@pytest.mark.parametrize("change", ["prev_hash = repeat('a', 64)", "hash = repeat('a', 64)"])
def test_an_edited_hash_is_found(conn: psycopg.Connection, change: str) -> None:
    problems = tampered(conn, f"update changeover.audit set {change} where seq = 5")
    assert "record 5 was edited: its hash is not the hash of its body" in problems


def test_a_hash_that_is_none_is_found(conn: psycopg.Connection) -> None:
    problems = tampered(
        conn,
        "alter table changeover.audit drop constraint audit_prev_hash_check",
        "update changeover.audit set prev_hash = 'none' where seq = 5",
    )
    assert "record 5 does not follow record 4" in problems


@pytest.mark.parametrize(
    ("gone", "problem"),
    [
        ("seq = 5", "record 5 is missing"),
        ("seq in (5, 6, 7)", "records 5 to 7 are missing"),
        ("seq = 1", "record 1 is missing"),
    ],
)
def test_a_gap_is_found(conn: psycopg.Connection, gone: str, problem: str) -> None:
    assert problem in tampered(conn, f"delete from changeover.audit where {gone}")


def test_a_gap_that_was_closed_by_numbering_anew_is_found(conn: psycopg.Connection) -> None:
    problems = tampered(
        conn,
        "delete from changeover.audit where seq = 5",
        "update changeover.audit set seq = seq - 1 + 100 where seq > 5",
        "update changeover.audit set seq = seq - 100 where seq > 100",
    )
    assert "record 5 does not follow record 4" in problems
    assert "record 5 was edited: its columns do not say what its body says" in problems


def test_a_changed_order_is_found(conn: psycopg.Connection) -> None:
    problems = tampered(
        conn,
        "update changeover.audit set seq = 100 where seq = 5",
        "update changeover.audit set seq = 5 where seq = 6",
        "update changeover.audit set seq = 6 where seq = 100",
    )
    assert {f"record {n} does not follow record {n - 1}" for n in (5, 6, 7)} <= set(problems)


def test_a_fork_is_found(conn: psycopg.Connection) -> None:
    problems = tampered(
        conn,
        """
        alter table changeover.audit drop constraint audit_pkey, drop constraint audit_prev_hash_key,
              drop constraint audit_hash_key
        """,
        "insert into changeover.audit select * from changeover.audit where seq = 5",
    )
    assert "there are two records 5: the log forks" in problems
    assert any("constraint" in problem for problem in problems)


def test_an_invented_record_is_found(conn: psycopg.Connection) -> None:
    problems = tampered(
        conn,
        """
        insert into changeover.audit
        select 10, hash, repeat('b', 64), at, actor, role, place, action, subject, outcome, digest, detail,
               body
          from changeover.audit where seq = 9
        """,
    )
    assert "record 10 was edited: its hash is not the hash of its body" in problems


@pytest.mark.parametrize(
    "statement",
    [
        "alter table changeover.audit disable trigger append_only",
        "alter table changeover.audit enable trigger append_only",
        "drop trigger append_only on changeover.audit",
        "alter table changeover.audit drop constraint audit_prev_hash_key",
        "alter table changeover.audit drop constraint audit_hash",
    ],
)
def test_protection_that_is_off_is_found(conn: psycopg.Connection, statement: str) -> None:
    conn.execute(statement)
    assert len(verify(conn, None).problems) == 1


@pytest.mark.parametrize(
    ("statements", "problem"),
    [
        (["delete from changeover.audit where seq > 6"], CUT_OFF.format(6)),
        (["truncate changeover.audit"], CUT_OFF.format(0)),
        (["delete from changeover.audit where seq = 4", REHASH], CUT_OFF.format(8)),
        (
            ["update changeover.audit set actor = 'ben', body = replace(body, '\"ana\"', '\"ben\"')", REHASH],
            "record 9 is not the one that was anchored",
        ),
    ],
    ids=["end", "wiped", "hole", "edited"],
)
def test_what_the_chain_cannot_show_the_anchors_do(
    conn: psycopg.Connection, tmp_path: Path, statements: list[str], problem: str
) -> None:
    anchor_head(conn, tmp_path)
    tampered(conn, *statements)
    assert problem in verify(conn, tmp_path).problems


def test_without_anchors_a_log_computed_anew_passes(conn: psycopg.Connection, tmp_path: Path) -> None:
    """Why there are anchors, and why asking for them where there are none does not pass."""
    assert tampered(conn, "delete from changeover.audit where seq = 4", REHASH) == ()
    (problem,) = verify(conn, tmp_path).problems
    assert problem.startswith("no anchor in ")


def test_an_emptied_log_is_found_without_anchors_too(conn: psycopg.Connection) -> None:
    problems = tampered(conn, "truncate changeover.audit")
    assert problems == ("the log is empty: its first record is written when it is installed",)


@pytest.mark.parametrize("again", [False, True], ids=["dropped", "installed again"])
def test_a_dropped_ledger_is_found(conn: psycopg.Connection, tmp_path: Path, again: bool) -> None:
    anchor_head(conn, tmp_path)
    conn.execute("drop schema changeover cascade")
    if again:
        install(conn)
        for number in range(20):
            audit.append(conn, "ana", "test", f"subject {number}", "done")
    problems = verify(conn, tmp_path).problems
    expected = "the ledger was made anew" if again else "the log is gone; anchors know 9 records"
    assert any(problem.startswith(expected) for problem in problems)


def test_a_database_that_was_made_anew_is_found(conn: psycopg.Connection, database: str, tmp_path: Path) -> None:
    anchor_head(conn, tmp_path)
    name = conn.info.dbname
    conn.close()
    with psycopg.connect(database, dbname="postgres", autocommit=True) as server:
        server.execute(f'drop database "{name}" with (force)')
        server.execute(f'create database "{name}"')
    with psycopg.connect(database, autocommit=True) as own:
        install(own)
        assert CUT_OFF.format(1) in verify(own, tmp_path).problems


def test_a_lost_or_forged_identity_is_found(conn: psycopg.Connection) -> None:
    conn.execute("update changeover.installation set id = 'other'")
    assert verify(conn, None).problems == ("the first record names another installation than the ledger",)
    conn.execute("delete from changeover.installation")
    assert "the ledger has lost the name of its installation" in verify(conn, None).problems
    conn.execute("drop table changeover.audit")
    conn.execute("insert into changeover.installation values (true, 'x', 2)")
    assert verify(conn, None).problems == ("the log is gone; anchors know 0 records",)


def test_a_database_that_never_had_a_ledger_has_nothing_wrong(database: str, tmp_path: Path) -> None:
    with psycopg.connect(database, autocommit=True) as own:
        verdict = verify(own, tmp_path)
    assert verdict.ok
    assert verdict.records == 0


def test_records_appended_meanwhile_are_not_taken_for_an_attack(conn: psycopg.Connection, tmp_path: Path) -> None:
    anchor_head(conn, tmp_path)
    audit.append(conn, "ana", "test", "after the anchor", "done")
    assert verify(conn, tmp_path).ok


def test_an_old_snapshot_is_refused(conn: psycopg.Connection) -> None:
    with conn.transaction():
        conn.execute("set transaction isolation level repeatable read")
        with pytest.raises(StepError, match="read committed"):
            verify(conn, None)


def test_it_leaves_the_transaction_of_the_caller_open(conn: psycopg.Connection) -> None:
    with conn.transaction():
        xid: Callable[[], object] = lambda: conn.execute("select pg_current_xact_id()").fetchone()  # noqa: E731
        before = xid()
        assert verify(conn, None).ok
        assert xid() == before


def test_a_thousand_problems_are_told_in_brief(conn: psycopg.Connection) -> None:
    with conn.transaction():
        for number in range(MOST_PROBLEMS + 20):
            audit.append(conn, "ana", "test", str(number), "done")
    problems = tampered(conn, "update changeover.audit set actor = 'ben'")
    assert len(problems) == MOST_PROBLEMS + 1
    assert problems[-1] == "and 29 more"
