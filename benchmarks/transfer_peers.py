"""What somebody would write who only wants the rows over there: no ranges, no ledger, no going on after a kill.

Each is written to be fast: a cursor of the server, many rows at a time, and no more for a row than has to be.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import psycopg
from bson import Decimal128, Int64
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.collection import Collection

PROGRAM = "PGLOADER"
"""The environment variable that names the program, where it is not on the path."""
COLUMNS = ("id", "customer", "amount", "currency", "status", "note", "created_at", "quantity")
TABLE = (
    "create table {} (_id bigint primary key, customer text, amount numeric, currency text, status text, note text,"
    " created_at timestamptz, quantity integer)"
)
_AT_ONCE = 10_000
_LOAD = """
load database from {source} into {target}
with include drop, create tables, create indexes, reset no sequences, batch rows = 25000, prefetch rows = 100000
cast type datetime to timestamp drop default drop not null
alter schema {schema} rename to 'public';
"""


def cursor_to_documents(url: str, into: Collection[Any]) -> None:
    """Read by a cursor, make a dictionary of each row, and insert many at once."""
    with psycopg.connect(url) as conn, conn.cursor(name="orders") as rows:
        rows.itersize = _AT_ONCE
        rows.execute(f"select {', '.join(COLUMNS)} from orders".encode())
        while batch := rows.fetchmany(_AT_ONCE):
            into.insert_many([_document(row) for row in batch], ordered=False)


def _document(row: tuple[Any, ...]) -> dict[str, Any]:
    return {
        "_id": Int64(row[0]),
        "customer": row[1],
        "amount": Decimal128(row[2]),
        "currency": row[3],
        "status": row[4],
        "note": row[5],
        "created_at": row[6],
        "quantity": row[7],
    }


def ready_documents(url: str, collection: str) -> list[list[RawBSONDocument]]:
    """Return all documents of a collection as they would be inserted, already encoded."""
    with MongoClient[Any](url, document_class=RawBSONDocument) as client:
        found = list(client.get_default_database()[collection].find(sort=[("_id", 1)]))
    return [found[first : first + _AT_ONCE] for first in range(0, len(found), _AT_ONCE)]


def insert_ready(ready: list[list[RawBSONDocument]], into: Collection[Any]) -> None:
    """Insert documents that nobody has to make any more: what the server itself can take."""
    for batch in ready:
        into.insert_many(batch, ordered=False)


def documents_to_copy(collection: Collection[Any], url: str, table: str) -> None:
    """Read all documents and send the values of each by COPY."""
    with psycopg.connect(url) as conn:
        conn.execute(TABLE.format(table).encode())
        with conn.cursor() as cursor, cursor.copy(f"copy {table} from stdin".encode()) as copy:
            for row in _rows(collection):
                copy.write_row(row)


def _rows(collection: Collection[Any]) -> Iterator[tuple[Any, ...]]:
    for one in collection.find(batch_size=_AT_ONCE):
        yield (
            one["_id"],
            one["customer"],
            one["amount"].to_decimal(),
            one["currency"],
            one["status"],
            one["note"],
            one["created_at"],
            one["quantity"],
        )


def pgloader() -> str | None:
    """Return the path of pgloader, if there is one."""
    return os.environ.get(PROGRAM) or shutil.which("pgloader")


def load(program: str, source: str, target: str, folder: Path) -> float:
    """Copy `orders` of MariaDB by pgloader, and return the seconds that it took, its start included.

    Raises RuntimeError where it says that it has failed.
    """
    path = folder / "pgloader.load"
    there = urlsplit(target)._replace(scheme="postgresql", query="").geturl()
    here = urlsplit(source)._replace(scheme="mysql")
    path.write_text(_LOAD.format(source=here.geturl(), target=there, schema=repr(here.path.lstrip("/"))))
    started = perf_counter()
    done = subprocess.run([program, "--root-dir", folder / "pgloader", path], capture_output=True, text=True)
    taken = perf_counter() - started
    if done.returncode or "ERROR" in done.stdout + done.stderr:
        raise RuntimeError(f"pgloader: {(done.stdout + done.stderr)[-800:]}")
    return taken
