"""Installing the ledger: once, whoever asks and however often, and forward from older versions."""

from collections.abc import Iterator

import psycopg
import pytest

from tasks.ledger import audit
from tasks.ledger.grants import grant_writer
from tasks.ledger.install import install, installation_id, is_installed, versions
from tasks.ledger.state import listing, load
from tasks.ledger.verify import verify
from tasks.model.errors import PreflightError, StateError
from tests.integration.ledger_samples import at_once

TABLES = {
    "approvals", "audit", "controls", "cursors", "gates", "installation", "migrations", "rejections",
    "snapshots", "steps", "versions",
}  # fmt: skip


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


@pytest.fixture
def role(conn: psycopg.Connection) -> Iterator[str]:
    name = f"role_of_{conn.info.dbname}"
    conn.execute(f"create role {name} login")
    yield name
    conn.execute(f"drop owned by {name} cascade")
    conn.execute(f"drop role {name}")


def tables(conn: psycopg.Connection) -> set[str]:
    rows = conn.execute(
        "select relname from pg_class where relnamespace = 'changeover'::regnamespace and relkind = 'r'"
    )
    return {row[0] for row in rows}


def test_a_database_without_a_ledger_says_so(conn: psycopg.Connection) -> None:
    assert not is_installed(conn)
    assert installation_id(conn) is None
    assert listing(conn) == ()
    with pytest.raises(StateError, match="no ledger"):
        load(conn, "widen_ids")


def test_it_is_installed_once_and_its_genesis_names_it(conn: psycopg.Connection) -> None:
    install(conn, actor="ana")
    first = installation_id(conn)
    install(conn, actor="ben")

    assert tables(conn) == TABLES
    assert is_installed(conn)
    assert installation_id(conn) == first
    newest = audit.head(conn)
    assert newest is not None
    assert (newest.seq, newest.actor, newest.prev_hash) == (1, "ana", audit.GENESIS)
    assert newest.detail["installation"] == first


def test_five_at_once_install_one_ledger(conn: psycopg.Connection, database: str) -> None:
    def work() -> None:
        with psycopg.connect(database, autocommit=True) as own:
            install(own)

    assert at_once(*[work] * 5) == []
    assert verify(conn, None).records == 1
    assert verify(conn, None).ok


def test_it_joins_the_transaction_of_the_caller(conn: psycopg.Connection, database: str) -> None:
    with psycopg.connect(database) as own:
        own.execute("select 1")
        install(own)
        assert is_installed(own)
        own.rollback()
    assert not is_installed(conn)


def test_an_older_ledger_is_brought_forward_with_its_rows(conn: psycopg.Connection) -> None:
    install(conn, version=1)
    assert "audit" not in tables(conn)
    assert not is_installed(conn)
    conn.execute(
        """
        insert into changeover.rejections (migration, table_name, direction, sqlstate)
        values ('m', 'public.t', 'up', '22003')
        """
    )
    identity = installation_id(conn)

    install(conn, actor="ana")

    assert is_installed(conn)
    assert installation_id(conn) == identity
    assert conn.execute("select count(*) from changeover.rejections").fetchone() == (1,)
    newest = audit.head(conn)
    assert newest is not None
    assert (newest.action, newest.detail["from"], newest.detail["to"]) == (
        "upgrade ledger",
        1,
        max(versions()),
    )
    assert verify(conn, None).ok


def test_a_ledger_of_a_newer_program_is_left_alone(conn: psycopg.Connection) -> None:
    install(conn)
    conn.execute("update changeover.installation set version = 99")
    with pytest.raises(StateError, match="version 99, newer"):
        install(conn)


def test_versions_follow_each_other_without_a_gap() -> None:
    assert list(versions()) == list(range(1, len(versions()) + 1))


def test_a_schema_of_somebody_else_is_refused_and_untouched(conn: psycopg.Connection) -> None:
    conn.execute("create schema changeover; create table changeover.steps (mine int)")
    with pytest.raises(PreflightError, match="not the ledger's"):
        install(conn)
    assert tables(conn) == {"steps"}


def test_a_role_that_may_not_create_it_learns_what_to_grant(conn: psycopg.Connection, database: str, role: str) -> None:
    with (
        psycopg.connect(database, user=role, autocommit=True) as own,
        pytest.raises(PreflightError) as caught,
    ):
        install(own)
    assert caught.value.hint == f'Grant it: grant create on database "{conn.info.dbname}" to "{role}"'
    conn.execute(caught.value.hint.removeprefix("Grant it: "))
    with psycopg.connect(database, user=role, autocommit=True) as own:
        install(own)
        assert is_installed(own)


def test_the_writing_role_appends_but_cannot_change(conn: psycopg.Connection, database: str, role: str) -> None:
    install(conn)
    grant_writer(conn, role)
    with psycopg.connect(database, user=role, autocommit=True) as own:
        assert audit.append(own, "ana", "test", "subject", "done").role == role
        assert verify(own, None).ok
        for statement in (
            "update changeover.audit set actor = 'x'",
            "delete from changeover.audit",
            "truncate changeover.audit",
            "alter table changeover.audit disable trigger all",
            "delete from changeover.approvals",
            "update changeover.installation set id = 'x'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                own.execute(statement)


def test_nothing_depends_on_the_search_path(conn: psycopg.Connection) -> None:
    conn.execute("create schema elsewhere; create table elsewhere.audit (seq int)")
    conn.execute("set search_path = elsewhere")
    install(conn)
    assert audit.append(conn, "ana", "test", "subject", "done").seq == 2
    assert verify(conn, None).ok
