"""A copy of what `contract` will destroy, in a file, proven by restoring it.

The file holds COPY BINARY, compressed; beside it stands a manifest with counts and digests, never with values.
"""

import gzip
import hashlib
import json
import os
import re
from pathlib import Path
from typing import BinaryIO

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.measure import digest
from tasks.engines.records import DumpRecord
from tasks.model.errors import StepError
from tasks.model.names import quote
from tasks.model.plan import DumpTarget

RESTORED = "_changeover_restored"


def dump(conn: Connection, elsewhere: Connection, target: DumpTarget, folder: Path, *, swapped: bool) -> DumpRecord:
    """Write key and doomed columns of a table to a file, restore it through another session, and compare.

    Memory stays flat. Lock: ACCESS SHARE. Raises StepError when what was restored is not what was dumped.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    select, relation = _selection(conn, target, swapped)
    file = folder / f"{_file_name(target.table)}-{'after' if swapped else 'before'}-swap.copy.gz"
    with conn.transaction():
        conn.execute("set transaction isolation level repeatable read read only")
        conn.execute("set local statement_timeout = 0; set local row_security = off")
        types = _types(conn, select, relation)
        rows, total = digest(conn, _plain(f"select {select} from {relation}", types))
        _write(conn, f"copy (select {select} from {relation}) to stdout (format binary)", file)
    # Only now: to write out and read a large file again takes longer than a transaction may be idle.
    sha256 = _sealed(file)
    record = DumpRecord(
        table=target.table,
        columns=target.columns or _names(conn, relation),
        rows=rows,
        digest=total,
        file=file.name,
        sha256=sha256,
    )
    _verify(elsewhere, file, types, record)
    manifest = record.model_dump(mode="json") | {"selection": select, "types": types}
    file.with_suffix(".json").write_text(json.dumps(manifest, indent=2) + "\n")
    return record


def _file_name(table: str) -> str:
    """The name of a table as one of a file: others than plain letters may mean something to a file system."""
    plain = re.sub(r"[^\w.-]", "_", table, flags=re.ASCII)
    return plain if plain == table else f"{plain}-{hashlib.sha256(table.encode()).hexdigest()[:8]}"


def _names(conn: Connection, relation: str) -> tuple[str, ...]:
    """All columns, in order."""
    cursor = conn.execute(f"select * from {relation} limit 0")
    return tuple(column.name for column in cursor.description or ())


def _selection(conn: Connection, target: DumpTarget, swapped: bool) -> tuple[str, str]:
    schema, _, name = ((swapped and target.table_after) or target.table).rpartition(".")
    relation = f"{quote(schema)}.{quote(name)}"
    if not target.columns:
        return ", ".join(quote(column) for column in _names(conn, relation)), relation
    names = target.columns_after if swapped else target.columns
    shown = [f"{quote(physical)} as {quote(name)}" for physical, name in zip(names, target.columns, strict=True)]
    return ", ".join([*(quote(column) for column in target.key), *shown]), relation


def _types(conn: Connection, select: str, relation: str) -> list[str]:
    """Types without modifiers, of a domain the one beneath it: binary COPY carries values as they are."""
    cursor = conn.execute(f"select {select} from {relation} limit 0")
    oids = [column.type_code for column in cursor.description or ()]
    rows = conn.execute(
        "select format_type(o, -1) from unnest(%s::oid[]) with ordinality as t (o, n) order by n", (oids,)
    )
    return [str(row[0]) for row in rows]


def _plain(select: str, types: list[str]) -> str:
    """The rows with these types: the bytes of a row name the types of its columns."""
    names = [f"c{number}" for number in range(len(types))]
    shown = ", ".join(f"{name}::{type_name}" for name, type_name in zip(names, types, strict=True))
    listed = f"({', '.join(names)})" if names else ""
    return f"(select {shown} from ({select}) as dumped {listed})"


def _write(conn: Connection, statement: str, file: Path) -> None:
    with (
        _private(file) as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0) as packed,
        conn.cursor().copy(statement) as copy,
    ):
        for block in copy:
            packed.write(block)


def _private(file: Path) -> BinaryIO:
    """The file holds row values: only its owner may read it."""
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _sealed(file: Path) -> str:
    """Return its digest, once it is on the disk."""
    with file.open("r+b") as written:
        os.fsync(written.fileno())
        return hashlib.file_digest(written, "sha256").hexdigest()


def _verify(conn: Connection, file: Path, types: list[str], record: DumpRecord) -> None:
    columns = ", ".join(f"c{i} {type_name}" for i, type_name in enumerate(types))
    with conn.transaction(force_rollback=True):
        conn.execute("set local statement_timeout = 0")
        conn.execute(f"create temporary table {quote(RESTORED)} ({columns}) on commit drop")
        with (
            gzip.open(file, "rb") as packed,
            conn.cursor().copy(f"copy {quote(RESTORED)} from stdin (format binary)") as copy,
        ):
            while block := packed.read(1 << 20):
                copy.write(block)
        rows, total = digest(conn, quote(RESTORED))
    if (rows, total) != (record.rows, record.digest):
        raise StepError(
            f"the dump of {record.table} does not restore to what it was taken from",
            where=str(file),
            hint="Check the disk of the evidence folder, then run again.",
        )
