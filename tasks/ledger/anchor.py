"""Anchor the head of the audit log outside the database, where whoever rewrites the log does not reach.

A chain alone does not show that its end was cut off, or that it was computed anew. An anchor is a line of
JSON in `<evidence>/audit/<database>.jsonl`, appended and flushed to disk. Keep that folder on another
machine, or on storage that can only be appended to.
"""

import fcntl
import json
import os
import re
from hashlib import sha256
from pathlib import Path

from pydantic import ValidationError

from tasks.engines.mysql.session import MariaSession
from tasks.ledger._session import Connection, Instant, Statement, one_row
from tasks.ledger.audit import AuditRecord, head
from tasks.ledger.install import installation_id
from tasks.model.base import Record
from tasks.model.errors import AuditError, StepError


class Anchor(Record):
    """What the log ended with at one moment."""

    seq: int
    hash: str
    at: Instant
    """When the record was written."""
    where: str
    installation: str
    """The ledger that the record was read from: one that is dropped and made anew has another."""


def database_id(conn: Connection) -> str:
    """Return a name for this database that outlives the ledger, and the database itself.

    It is made of the identity of the cluster and of the database's name, so that it stays the same when the
    schema, or the whole database, is dropped and made again. It changes when the database is renamed, or
    moved by dump and restore.
    """
    row = one_row(conn, _IDENTITY)
    assert row is not None
    name = str(row["name"])
    # The digest keeps apart names that differ in case or in characters that a file name cannot have.
    return f"{row['cluster']}-{re.sub('[^A-Za-z0-9_]', '-', name)}-{sha256(name.encode()).hexdigest()[:8]}"


def anchor_path(evidence: Path, database: str) -> Path:
    """Return the file that holds the anchors of a database."""
    return evidence / "audit" / f"{database}.jsonl"


def anchor_head(conn: Connection, evidence: Path) -> Anchor | None:
    """Anchor what the log ends with now; return None when there is no log.

    Call it after the commit: StepError within a transaction that has written something, which could still be
    rolled back and leave an anchor that accuses the log.
    """
    if _dirty(conn):
        raise StepError("an anchor needs a committed record", hint="Commit the transaction first.")
    installation = installation_id(conn)
    newest = None if installation is None else head(conn)
    if installation is None or newest is None:
        return None
    return write_anchor(evidence, database_id(conn), newest, installation)


_IDENTITY = Statement(
    postgresql="select system_identifier::text as cluster, current_database() as name from pg_control_system()",
    # The identity of a server may hold what a file name cannot.
    mysql=("select sha2(@@server_uid, 256) as cluster, database() as name",),
)


def _dirty(conn: Connection) -> bool:
    if isinstance(conn, MariaSession):
        return conn.in_transaction
    row = one_row(conn, "select pg_current_xact_id_if_assigned() is not null as dirty")
    return bool(row and row["dirty"])


def write_anchor(evidence: Path, database: str, newest: AuditRecord, installation: str) -> Anchor:
    """Append an anchor for a committed record, and flush it to disk.

    Several processes may write to the same file. Raises AuditError when it cannot be written.
    """
    path = anchor_path(evidence, database)
    anchor = Anchor(seq=newest.seq, hash=newest.hash, at=newest.at, where=newest.place, installation=installation)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _append_line(path, anchor.model_dump_json())
    except OSError as error:
        raise AuditError(
            f"the head of the audit log cannot be anchored: {error.strerror}",
            where=str(path),
            hint="Make the evidence folder of the profile writable, with room left, and run again.",
        ) from error
    return anchor


def read_anchors(evidence: Path, database: str) -> tuple[list[Anchor], list[str]]:
    """Return the anchors of a database, oldest line first, and what is wrong with the file.

    The rest of a line that a crash cut short is passed over: it was never reported as written.
    """
    path = anchor_path(evidence, database)
    anchors: list[Anchor] = []
    problems: list[str] = []
    if not path.exists():
        return anchors, problems
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            text = line.strip()
            if not text or (text.startswith("{") and not text.endswith("}")):
                continue
            try:
                anchors.append(Anchor.model_validate(json.loads(text)))
            except (json.JSONDecodeError, ValidationError):
                problems.append(f"line {number} of {path} is not an anchor")
    return anchors, problems


def _append_line(path: Path, line: str) -> None:
    created = not path.exists()
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.fchmod(file, 0o600)
        size = os.fstat(file).st_size
        torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        data = (("\n" if torn else "") + line + "\n").encode()
        if os.write(file, data) != len(data):
            raise OSError(28, "no space left for a whole line")
        os.fsync(file)
    finally:
        os.close(file)
    if created:
        _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    # A new name is durable only once its folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
