"""Comparing a table of PostgreSQL with one of MariaDB: against reladiff, where both are to be had."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from time import perf_counter
from urllib.parse import urlsplit, urlunsplit

import psycopg

from benchmarks import reladiff
from benchmarks.result import Result, Sizes, ratio, spread
from benchmarks.server import template
from benchmarks.surroundings import Surroundings
from tasks.engines.mysql.session import connect
from validations.parity.compare import Table, compare
from validations.parity.report import Verdict

NAMES = ("parity_mariadb",)
SERVER = "MARIADB"
"""The environment variable with the URL of a server on which a database may be made and dropped."""
_DATABASE = "changeover_benchmark"
_AT_ONCE = 5_000
_TABLE = """
    create table orders (
        id bigint primary key, customer text, amount decimal(12, 2) not null, currency varchar(10) not null,
        status varchar(20) not null, note text, created_at datetime(6) not null, quantity int not null
    ) character set utf8mb4
"""


def measure(place: Surroundings, sizes: Sizes) -> list[Result]:
    """Compare equal tables of two engines, in turns; nothing where MariaDB or reladiff is missing."""
    server, program = os.environ.get(SERVER), reladiff.program()
    if not (server and program):
        return []
    ours, theirs = [], []
    with template(place.postgres, sizes.rows, indexed=False) as name, database(server) as other:
        url = place.postgres.url_of(name)
        fill(url, other)
        for _ in range(sizes.rounds):
            ours.append(_compare(url, other))
            theirs.append(reladiff.compare(program, url, "orders", other, "orders"))
    detail = f"two equal tables of {sizes.rows:,} rows, wall: ours {spread(ours)}, reladiff {spread(theirs)}"
    return [Result(name="parity_mariadb", measured=ratio(ours, theirs), goal=1.0, unit="x", detail=detail)]


@contextmanager
def database(server: str) -> Iterator[str]:
    """Make a database on a server of MariaDB, give its URL, and drop it."""
    of_server = urlsplit(server)._replace(scheme="mysql", path="/information_schema")
    with connect(urlunsplit(of_server)) as conn:
        conn.execute(f"create database {_DATABASE}")
        try:
            yield urlunsplit(of_server._replace(path=f"/{_DATABASE}"))
        finally:
            conn.execute(f"drop database {_DATABASE}")


def fill(url: str, other: str) -> None:
    """Copy `orders`, so that both hold the same."""
    with (
        psycopg.connect(url) as conn,
        conn.cursor(name="orders") as rows,
        connect(other) as maria,
        closing(maria.raw.cursor()) as into,
    ):
        into.execute(_TABLE)
        rows.itersize = _AT_ONCE
        rows.execute(
            "select id, customer, amount, currency, status, note, created_at at time zone 'UTC', quantity from orders"
        )
        while batch := rows.fetchmany(_AT_ONCE):
            into.executemany("insert into orders values (%s, %s, %s, %s, %s, %s, %s, %s)", batch)
        into.execute("analyze table orders")


def _compare(url: str, other: str) -> float:
    started = perf_counter()
    found = compare(
        Table(url=url, database="postgresql", name="orders"), Table(url=other, database="mariadb", name="orders")
    )
    taken = perf_counter() - started
    if found.verdict is not Verdict.EQUAL:
        raise RuntimeError(f"{len(found.differences)} rows of equal tables differ")
    return taken
