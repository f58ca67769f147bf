"""Sessions that a run keeps for the next who needs one: none is lost, none stays, and a dead one is not given."""

import os
from pathlib import Path

import psycopg
import pytest

from profiles.model import Database, Limits
from tasks.engines.postgresql.engine import PostgresEngine
from tasks.engines.session import Session
from tasks.idle_sessions import kept_idle, leave_session, open_session
from tasks.run import Run


def pid(conn: Session) -> int:
    assert isinstance(conn, psycopg.Connection)
    return conn.info.backend_pid


def test_a_session_is_used_again_while_it_answers_and_ends_with_its_run(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = PostgresEngine(
        url=database, database=Database(url_env="UNUSED"), limits=Limits(), migration="m", run_id="r"
    )

    def opened(purpose: str = "ledger") -> Session:
        return open_session(engine, "r", purpose)

    with psycopg.connect(database, autocommit=True) as other:
        with kept_idle("r"):
            first, second = opened(), opened()
            # Two at once are two; of those that are left, the next is the last one.
            assert pid(first) != pid(second)
            leave_session("r", "ledger", first)
            assert opened() is first
            leave_session("r", "ledger", first)
            other.execute("select pg_terminate_backend(%s, 10000)", (pid(first),))
            third = opened()
            assert first.closed
            assert third.execute("select 1").fetchone() == (1,)
            # What is not at its end goes no further, nor does one in which something may be set.
            third.execute("begin")
            leave_session("r", "ledger", third)
            drift = opened("drift")
            leave_session("r", "drift", drift)
            assert third.closed
            assert drift.closed
            # No more are kept than a few, and none for another run.
            several = [second, opened(), opened()]
            for one in several:
                leave_session("r", "ledger", one)
            assert [one.closed for one in several] == [False, False, True]
            late = open_session(engine, "another", "ledger")
            leave_session("another", "ledger", late)
            assert late.closed
            # A process that was forked meanwhile uses none of them.
            with monkeypatch.context() as forked:
                forked.setattr(os, "getpid", lambda: -1)
                its = opened()
                assert its not in several
                leave_session("r", "ledger", its)
                assert its.closed
            used = opened("boundary")
        assert [one.closed for one in several] == [True, True, True]
        assert not used.closed
        leave_session("r", "boundary", used)
        assert used.closed


def test_a_run_leaves_what_ended_well_and_closes_what_failed(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_URL", database)
    profile = tmp_path / "p.toml"
    profile.write_text(f'name = "p"\nevidence = "{tmp_path}/evidence"\n[databases.main]\nurl_env = "TEST_URL"\n')
    run = Run(migration="m", profile=str(profile), database="main", run_id="s", actor="ada")
    left: list[Session] = []

    def fails() -> None:
        with run.ledger() as conn:
            left.append(conn)
            conn.execute("select from nowhere")

    def goes_wrong() -> None:
        with kept_idle("s"):
            with run.ledger() as first:
                pass
            with pytest.raises(psycopg.errors.UndefinedTable):
                fails()
            assert left == [first]
            assert first.closed
            with run.ledger() as second, run.ledger() as third:
                left.extend((second, third))
            assert [conn.closed for conn in left] == [True, False, False]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        goes_wrong()
    assert [conn.closed for conn in left] == [True, True, True]
    with run.ledger() as alone:
        pass
    assert alone.closed
