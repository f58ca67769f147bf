"""The PostgreSQL servers of a test session, and a fresh database on one of them."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from tasks.engines.postgresql import embedded

OWN_SERVER = "CHANGEOVER_TEST_POSTGRES_URL"


class PostgresServer(Protocol):
    """A server on which tests may make databases of their own."""

    @property
    def url(self) -> str:
        """URL of a database that exists, as a user who may create databases."""
        ...

    def url_of(self, database: str) -> str:
        """Give the URL of another database on the server."""
        ...


@dataclass(frozen=True, kw_only=True)
class OwnPostgres:
    """A server of the developer's: nothing on it is touched but the databases that we make."""

    url: str

    def url_of(self, database: str) -> str:
        """Give the URL of another database on the server."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{database}"))


@contextmanager
def server(version: int = 18) -> Iterator[PostgresServer]:
    """Give the server of the environment, or an embedded one for as long as the context lasts."""
    url = os.environ.get(OWN_SERVER)
    if url and version == 18:
        yield OwnPostgres(url=url)
    else:
        with embedded.start(version=version) as postgres:
            yield postgres


@contextmanager
def fresh_database(on: PostgresServer) -> Iterator[str]:
    """Make an empty database, give its URL, and drop it whoever is still connected."""
    name = f"changeover_test_{secrets.token_hex(6)}"
    named = sql.Identifier(name)
    with psycopg.connect(on.url, autocommit=True) as conn:
        conn.execute(sql.SQL("create database {} template template0 strategy file_copy").format(named))
    try:
        yield on.url_of(name)
    finally:
        with psycopg.connect(on.url, autocommit=True) as conn:
            conn.execute(sql.SQL("drop database if exists {} with (force)").format(named))
