"""A table of PostgreSQL that rows of MariaDB were copied into goes back only where nobody loses anything by it."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pymysql
import pytest

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.mysql import transient
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.receiving.place import WRITING, hold, require_free, session_of
from tasks.engines.postgresql.receiving.target import RowTarget
from tasks.engines.postgresql.transient import PASSING
from tasks.engines.retrying import either
from tasks.engines.session import Session
from tasks.model.errors import PreflightError, StateError
from tasks.model.steps import Step
from tasks.model.transfer_steps import Relation, RowTransfer
from tests.integration.test_receiving import engine_of, plan_of
from tests.servers.mariadb import connected


class Copied:
    """A copy of three rows that has been put in its place."""

    def __init__(self, source: str, target: str) -> None:
        self.steps = {step.action.does: step for step in plan_of(source).steps if isinstance(step.action, Relation)}
        self.action = next(one.action for one in plan_of(source).steps if isinstance(one.action, RowTransfer))
        engine = engine_of(source)
        self.target = RowTarget(
            url=target, limits=Limits(), name="m", epoch=1, source=engine.rows(),
            passing=either(transient.PASSING, PASSING), copy=self.action,
        )  # fmt: skip
        self.target.apply(self.steps["make"], self.journal())
        with (
            engine.rows().reading("test") as reading,
            self.target.open("test") as conn,
            conn.cursor() as cursor,
            cursor.copy(f"copy {self.action.into.staged} from stdin".encode()) as rows,
        ):
            for one in reading.lines(self.action, None, None):
                rows.write(one.line + b"\n")

    @staticmethod
    def journal(guard: Callable[[Session], None] = lambda _: None) -> Journal:
        """Return a journal that records nothing."""
        return Journal(begin=lambda _: None, finish=lambda _: None, guard=guard)

    def put(self) -> None:
        """Put the table in its place."""
        self.target.apply(self.steps["put"], self.journal())

    def revert(self, step: Step, guard: Callable[[Session], None] = lambda _: None) -> None:
        """Take a step back."""
        self.target.revert(step, self.journal(guard))


@pytest.fixture
def copied(maria_database: str, database: str) -> Copied:
    with connected(maria_database) as conn, conn.cursor() as cursor:
        cursor.execute("create table t (id int primary key, v text)")
        cursor.execute("insert into t values (1, 'a'), (2, null), (3, '')")
    return Copied(maria_database, database)


@pytest.fixture
def target(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


def test_columns_that_were_added_are_named(copied: Copied, target: psycopg.Connection[Any]) -> None:
    """What is in them is nowhere else; and where the loss is accepted, nothing stumbles over them."""
    copied.put()
    assert copied.target.written_since(copied.action) == 0
    target.execute("alter table t add note text not null default 'x', add \"100%\" int")
    with pytest.raises(StateError, match="added: note, 100%"):
        copied.target.written_since(copied.action)
    target.execute("alter table t rename v to w")
    with pytest.raises(StateError, match="added: w, note, 100%; gone: v"):
        copied.target.written_since(copied.action)
    copied.revert(copied.steps["put"])
    copied.revert(copied.steps["make"])
    assert target.execute("select to_regclass('t')").fetchone() == (None,)


def test_what_others_have_built_on_it_is_named_first(copied: Copied, target: psycopg.Connection[Any]) -> None:
    """The table is not taken away; what goes with it, as its own trigger, is no matter."""
    copied.put()
    target.execute("create sequence own owned by t.id; alter table t add up int references t, add check (id > 0)")
    target.execute("create function nothing() returns trigger language plpgsql as 'begin return new; end'")
    target.execute("create trigger own before insert on t for each row execute function nothing()")
    for built, named, gone in (
        ("create table c (t int references t (id))", "constraint c_t_fkey on table c", "drop table c"),
        ("create view v as select id from t", "rule _RETURN on view v", "drop view v"),
        ("create function f(t) returns int language sql as 'select 1'", "function f", "drop function f"),
        ("create table c (n int default nextval('own'))", "default value for column n of table c", "drop table c"),
    ):
        copied.target.require_alone(copied.action)
        target.execute(built.encode())
        with pytest.raises(StateError, match=named):
            copied.target.require_alone(copied.action)
        with pytest.raises(StateError, match=named):
            copied.revert(copied.steps["put"])
        assert target.execute("select to_regclass('public.t') is not null").fetchone() == (True,)
        target.execute(gone.encode())
    copied.revert(copied.steps["put"])
    copied.revert(copied.steps["make"])


def test_whatever_goes_wrong_when_it_is_away_it_comes_back(copied: Copied, target: psycopg.Connection[Any]) -> None:
    copied.put()

    def broken(conn: Session) -> None:
        assert target.execute("select to_regclass('public.t') is null").fetchone() == (True,)
        conn.execute("select nothing")

    def built(_: Session) -> None:
        target.execute(
            f"create function f({copied.action.into.staged}) returns int language sql as 'select 1'".encode()
        )

    with pytest.raises(pymysql.err.MySQLError):
        copied.revert(copied.steps["put"], broken)
    assert target.execute("select count(*) from public.t").fetchone() == (3,)
    copied.revert(copied.steps["put"], built)
    with pytest.raises(StateError, match="function f"):
        copied.revert(copied.steps["make"])
    assert target.execute(f"select count(*) from {copied.action.into.staged}".encode()).fetchone() == (3,)


def test_a_process_that_stands_still_holds_no_rollback_up(copied: Copied, target: psycopg.Connection[Any]) -> None:
    """It may have stopped in the middle of a batch: its session is ended, and the table goes."""
    name = f"{session_of(copied.action.into)} m {WRITING}"
    with connect(copied.target.url, application_name=name) as stopped:
        stopped.execute("begin")
        hold(stopped, copied.action.into, 1)
        stopped.execute(f"insert into {copied.action.into.staged} values (9, 'x')".encode())
        copied.revert(copied.steps["make"])
        with pytest.raises(psycopg.OperationalError):
            stopped.execute("commit")
    assert target.execute("select to_regnamespace(%s)", (copied.action.into.helpers,)).fetchone() == (None,)


def test_who_may_not_compare_is_told_before(copied: Copied, target: psycopg.Connection[Any], database: str) -> None:
    copied.revert(copied.steps["make"])
    (name,) = target.execute("select current_database()").fetchone() or ("",)
    target.execute(f'revoke temporary on database "{name}" from public'.encode())
    target.execute("create role changeover_no_temporary")
    try:
        target.execute(f'grant create on database "{name}" to changeover_no_temporary'.encode())
        target.execute("grant create, usage on schema public to changeover_no_temporary")
        with connect(database, application_name="test") as conn:
            conn.execute("set role changeover_no_temporary")
            with pytest.raises(PreflightError, match="temporary tables"):
                require_free(conn, copied.action.into)
            target.execute(f'grant temporary on database "{name}" to changeover_no_temporary'.encode())
            require_free(conn, copied.action.into)
    finally:
        target.execute("drop owned by changeover_no_temporary; drop role changeover_no_temporary")
