"""A database with one of everything that a table can carry."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from tasks.engines.postgresql.inspect import inspect
from tasks.model.catalogue import Catalogue, Table
from tests.servers.postgres import PostgresServer, fresh_database

ROLES = ("the_reader", '"The Owner"')
NAMES = ("orders", "items", "animals", "dogs", "events", "events_2024", "event_notes", "scratch", "open_orders",
         "by_region", 'Weird.Schema.a "b', "Weird.Schema._changeover_shadow", "shop.regions")  # fmt: skip


@contextmanager
def roles(server: PostgresServer) -> Iterator[None]:
    """Make the roles of the shop, and drop them unless another database still uses them."""
    with psycopg.connect(server.url, autocommit=True) as conn:
        for role in ROLES:
            conn.execute(f"do $$ begin create role {role}; exception when duplicate_object then null; end $$".encode())
    try:
        yield
    finally:
        with psycopg.connect(server.url, autocommit=True) as conn:
            for role in ROLES:
                with suppress(psycopg.errors.DependentObjectsStillExist):
                    conn.execute(f"drop role if exists {role}".encode())


def make_shop(conn: psycopg.Connection[Any]) -> None:
    """Make the schemas and publications of the shop; the roles must be there."""
    conn.execute(Path(__file__).with_name("rich_catalogue.sql").read_bytes())


@contextmanager
def shop_on(server: PostgresServer) -> Iterator[str]:
    """Give the URL of a fresh database with a shop in it."""
    with roles(server), fresh_database(server) as url:
        with psycopg.connect(url, autocommit=True) as conn:
            make_shop(conn)
        yield url


def read_shop(conn: psycopg.Connection[Any]) -> Catalogue:
    """Inspect every table of the shop."""
    return inspect(conn, NAMES, "shop")


def table(conn: psycopg.Connection[Any], name: str) -> Table:
    """Inspect one table."""
    return inspect(conn, [name], "shop, public").tables[0]
