"""Copies between PostgreSQL and MongoDB: against what somebody would write who only wants the rows over there."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from pymongo import MongoClient
from pymongo.database import Database

from benchmarks import specs, transfer_peers
from benchmarks.result import Result, Sizes, ratio, spread
from benchmarks.server import template
from benchmarks.surroundings import Surroundings

NAMES = ("transfer_cursor", "transfer_bson", "transfer_find", "apply_mongodb")
SERVER = "MONGODB"
"""The environment variable with the URL of a server on which a database may be made and dropped."""
APPLIED = 100_000
"""Changes a second that are to be carried into PostgreSQL."""
_DATABASE = "changeover_benchmark"
_FIELDS = {"_id": "id", **{name: name for name in transfer_peers.COLUMNS[1:]}}
_TYPES = {"_id": {"type": "bigint"}, "amount": {"type": "numeric"}}
Took = Mapping[str, float]


def measure(place: Surroundings, sizes: Sizes) -> list[Result]:
    """Copy a table into MongoDB and back, in turns with others; nothing where there is no MongoDB."""
    server = os.environ.get(SERVER)
    if not server:
        return []
    with template(place.postgres, sizes.rows, indexed=False) as name, _database(server) as documents:
        source = place.postgres.url_of(name)
        with psycopg.connect(source, autocommit=True) as conn:
            # What a date of MongoDB holds.
            conn.execute("alter table orders alter created_at type timestamptz(3)")
            conn.execute("vacuum (freeze, analyze) orders")
        return [*_into_mongodb(place, sizes, source, documents), *_into_postgresql(place, sizes, documents)]


@contextmanager
def _database(server: str) -> Iterator[str]:
    """Name a database on a server of MongoDB, and drop it."""
    url = urlunsplit(urlsplit(server)._replace(path=f"/{_DATABASE}"))
    try:
        yield url
    finally:
        with MongoClient[Any](url) as client:
            client.drop_database(_DATABASE)


@contextmanager
def fresh(postgres_url: str, url: str, name: str) -> Iterator[str]:
    """Make an empty database of PostgreSQL, give its URL, and drop it."""
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute(f"create database {name} template template0".encode())
        try:
            yield url
        finally:
            conn.execute(f"drop database {name} with (force)".encode())


def moved(place: Surroundings, spec: Path, urls: Mapping[str, str], changes: int = 0) -> Took:
    """Copy through our tasks, in a process of its own, and return how long each part took."""
    more = {specs.URLS[name]: url for name, url in urls.items()}
    profile = specs.write_copying_profile(place.folder)
    return place.run("benchmarks.moving", spec, profile, changes, more=more)


def told(ours: list[Took]) -> str:
    """Say what our copies took, and what came before and after them."""

    def of(what: str) -> str:
        return spread([one[what] for one in ours])

    return (
        f"ours {of('copy')}, of which this process {of('copy_cpu')}; the checks before it {of('checks')}, the gate"
        f" that compares all rows {of('gate')}; at most {max(one['memory'] for one in ours):.0f} MB"
    )


def _into_mongodb(place: Surroundings, sizes: Sizes, source: str, documents: str) -> Iterator[Result]:
    ours: list[Took] = []
    cursor: list[tuple[float, float]] = []
    ready: list[tuple[float, float]] = []
    with MongoClient[Any](documents) as client:
        database = client.get_default_database()
        for number in range(sizes.rounds):
            if number:
                database.drop_collection("orders")
            cursor.append(_timed(lambda: transfer_peers.cursor_to_documents(source, database["orders"])))
            made = transfer_peers.ready_documents(documents, "orders")
            ready.append(_timed(lambda made=made: transfer_peers.insert_ready(made, database["ready"])))
            del made
            name = f"into_mongodb_{number}"
            to = {"database": "documents", "collection": name}
            transfer = {"table": "orders", "to": to, "fields": _FIELDS}
            spec = specs.write_transfer(place.folder, name, "main", transfer)
            ours.append(moved(place, spec, {"main": source, "documents": documents}))
            _require_same(database, "orders", "ready", name)
            database.drop_collection("ready")
            database.drop_collection(name)
    copies = [one["copy"] for one in ours]
    rows = f"{sizes.rows:,} rows of eight columns, wall: {told(ours)}"
    for name, theirs, what, goal in (
        (NAMES[0], cursor, "a cursor, dictionaries and insert_many", 2.0),
        (NAMES[1], ready, "insert_many of documents that were encoded before", 0.75),
    ):
        walls, cpu = ([one[n] for one in theirs] for n in (0, 1))
        detail = f"{rows}; {what} {spread(walls)}, of which this process {spread(cpu)}; the collections have one hash"
        yield Result(name=name, measured=ratio(walls, copies), goal=goal, unit="x", better="higher", detail=detail)


def _into_postgresql(place: Surroundings, sizes: Sizes, documents: str) -> Iterator[Result]:
    ours: list[Took] = []
    find: list[tuple[float, float]] = []
    changes = sizes.rows // 5
    with MongoClient[Any](documents) as client:
        orders = client.get_default_database()["orders"]
        for number in range(sizes.rounds):
            name = f"into_postgresql_{number}"
            url = place.postgres.url_of(name)
            spec = specs.write_transfer(place.folder, name, "documents", of_documents(name))
            with fresh(place.postgres.url, url, name):
                find.append(_timed(lambda url=url: transfer_peers.documents_to_copy(orders, url, "peer")))
                ours.append(moved(place, spec, {"main": url, "documents": documents}))
                require_same_rows(url, "_id", "peer", name)
        spec = specs.write_transfer(place.folder, "stream", "documents", of_documents("stream", "change_stream"))
        url = place.postgres.url_of("stream")
        with fresh(place.postgres.url, url, "stream"):
            carried = moved(place, spec, {"main": url, "documents": documents}, changes)
            transfer_peers.documents_to_copy(orders, url, "peer")
            require_same_rows(url, "_id", "peer", "stream")
    walls, cpu = ([one[n] for one in find] for n in (0, 1))
    yield Result(
        name=NAMES[2],
        measured=ratio(walls, [one["copy"] for one in ours]),
        goal=1.8,
        unit="x",
        better="higher",
        detail=f"{sizes.rows:,} documents of eight fields, wall: {told(ours)}; find and COPY {spread(walls)}, of which"
        f" this process {spread(cpu)}; the tables have the same rows",
    )
    yield applied(NAMES[3], carried, changes, "a change stream")


def of_documents(name: str, capture: str = "none") -> dict[str, Any]:
    """Return what copies `orders` of MongoDB into a table."""
    to = {"database": "main", "table": name}
    return {"collection": "orders", "to": to, "columns": _TYPES, "capture": capture}


def applied(name: str, took: Took, changes: int, told_by: str) -> Result:
    """Return how many changes a second were carried into PostgreSQL."""
    return Result(
        name=name,
        measured=round(changes / took["carry"]),
        goal=APPLIED,
        unit="changes/s",
        better="higher",
        detail=f"{changes:,} rows, written by one statement, told by {told_by}, and carried in {took['carry']:.2f} s,"
        f" of which this process {took['carry_cpu']:.2f} s; then every row was compared",
    )


def _timed(act: Any) -> tuple[float, float]:
    """Return wall time, and processor time of this process."""
    began, cpu = perf_counter(), process_time()
    act()
    return perf_counter() - began, process_time() - cpu


def _require_same(database: Database[Any], *names: str) -> None:
    """Raise RuntimeError unless collections have the same documents, to the byte."""
    found = database.command("dbHash", collections=list(names))["collections"]
    if len({found[name] for name in names}) != 1:
        raise RuntimeError(f"the collections are not equal: {found}")


def require_same_rows(url: str, key: str, *tables: str) -> None:
    """Raise RuntimeError unless tables have the same rows, in whichever order their columns stand."""
    columns = ", ".join((key, *transfer_peers.COLUMNS[1:]))
    asked = f"select count(*), sum(hash_record_extended(t, 0)) from (select {columns} from {{}}) as t"
    with psycopg.connect(url) as conn:
        found = {conn.execute(asked.format(name).encode()).fetchone() for name in tables}
    if len(found) != 1:
        raise RuntimeError(f"the tables are not equal: {found}")
