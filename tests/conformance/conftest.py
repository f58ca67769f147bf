"""Databases with a ledger in them: made once, then copied."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tasks.ledger.install import install
from tests.conformance.drive import Connection
from tests.servers.postgres import PostgresServer

_TEMPLATE = "changeover_conformance"
_COPY = "changeover_conformance_copy"


@pytest.fixture(scope="session")
def with_ledger(postgres: PostgresServer) -> Iterator[str]:
    """Name of a database with nothing but the ledger."""
    drop = sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(_TEMPLATE))
    with psycopg.connect(postgres.url, autocommit=True) as conn:
        conn.execute(drop)
        conn.execute(sql.SQL("create database {} template template0").format(sql.Identifier(_TEMPLATE)))
        with psycopg.connect(postgres.url_of(_TEMPLATE), autocommit=True) as inside:
            install(inside, actor="test")
        yield _TEMPLATE
        conn.execute(drop)


@pytest.fixture
def url(postgres: PostgresServer, with_ledger: str) -> Iterator[str]:
    """URL of a fresh database with a ledger."""
    copy, template = sql.Identifier(_COPY), sql.Identifier(with_ledger)
    with psycopg.connect(postgres.url, autocommit=True) as conn:
        conn.execute(sql.SQL("create database {} template {} strategy file_copy").format(copy, template))
        try:
            yield postgres.url_of(_COPY)
        finally:
            conn.execute(sql.SQL("drop database if exists {} with (force)").format(copy))


@pytest.fixture
def conn(url: str) -> Iterator[Connection]:
    """A session of an application on it."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection
