"""Append to the audit log: a chain in which every record holds the hash of the one before it.

`hash = sha256(0x00 || 32 bytes of the previous hash || UTF-8 of body)`, where `body` is the RFC 8785 JSON of
everything that the record says. Anyone can recompute it with one query:

    select seq from changeover.audit
     where hash <> encode(sha256('\\x00' || decode(prev_hash, 'hex') || convert_to(body, 'UTF8')), 'hex')

The log is tamper-evident, not tamper-proof: a superuser can rewrite it, and `verify` will tell.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import rfc8785
from psycopg.types.json import Jsonb

from tasks.ledger._session import (
    Connection,
    Instant,
    Statement,
    atomic,
    lock_until_commit,
    one_row,
    require_read_committed,
)
from tasks.model.base import Record

GENESIS = "0" * 64
"""What the first record names as its predecessor."""
BODY_VERSION = 1
_LOCK = "audit"

Detail = Mapping[str, str | int | bool]
"""Facts for people: names, counts and digests. Never a secret, never a value of a row."""


class AuditRecord(Record):
    """One record of the log."""

    seq: int
    """From 1, without gaps."""
    prev_hash: str
    hash: str
    at: Instant
    """By the clock of the database."""
    actor: str
    """Who, as the caller knows them."""
    role: str
    """Who, as the database knows them."""
    place: str
    """`database@address:port` of the server."""
    action: str
    subject: str
    """What was acted on: a migration, a step, a gate."""
    outcome: str
    digest: str
    """Of the plan, or of whatever else the action was about; may be empty."""
    detail: dict[str, str | int | bool]
    body: str


def body_of(content: Mapping[str, object]) -> str:
    """Return the canonical JSON of what a record says.

    Raises `rfc8785.CanonicalizationError` when there is none, as for an integer beyond 2**53.
    """
    said = ("seq", "at", "actor", "role", "place", "action", "subject", "outcome", "digest", "detail")
    body: dict[str, Any] = {"v": BODY_VERSION} | {name: content[name] for name in said}
    return rfc8785.dumps(body).decode()


def hash_of(prev_hash: str, body: str) -> str:
    """Return the hash of a record that follows `prev_hash`."""
    return sha256(b"\x00" + bytes.fromhex(prev_hash) + body.encode()).hexdigest()


def append(
    conn: Connection,
    actor: str,
    action: str,
    subject: str,
    outcome: str,
    digest: str = "",
    detail: Detail | None = None,
) -> AuditRecord:
    """Append a record within the caller's transaction, as the last thing that the transaction does.

    Takes an exclusive advisory lock until the end of the transaction, so that the log is a line and not a
    tree: whoever appends waits for whoever appended and has not committed. A transaction that goes on to wait
    for something else makes everyone wait, and can deadlock; one that commits next cannot. It is not a table
    lock: autovacuum never delays it, and `lock_timeout` bounds the wait.

    The commit is made durable even where `synchronous_commit` is off, because what is anchored outside the
    database must survive a crash of it. Needs a read committed transaction (StepError).
    """
    with atomic(conn):
        lock_until_commit(conn, _LOCK)
        content = _circumstances(conn)
        require_read_committed(str(content.pop("isolation")), "the audit log")
        prev_hash = str(content.pop("prev_hash"))
        said = {"actor": actor, "action": action, "subject": subject, "outcome": outcome, "digest": digest}
        content |= {name: storable(text) for name, text in said.items()}
        content["detail"] = {storable(name): _scalar(value) for name, value in (detail or {}).items()}
        body = body_of(content)
        return _insert(conn, content | {"prev_hash": prev_hash, "body": body, "hash": hash_of(prev_hash, body)})


def head(conn: Connection) -> AuditRecord | None:
    """Return the newest record that this transaction sees, or None when the log is empty."""
    row = one_row(conn, _HEAD)
    return None if row is None else AuditRecord.model_validate(row)


def storable(text: str) -> str:
    """Return the text with what PostgreSQL cannot hold, U+0000 and lone surrogates, written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def _circumstances(conn: Connection) -> dict[str, object]:
    # A statement of its own, after the lock: its snapshot must see what the last holder committed.
    row = one_row(conn, _CIRCUMSTANCES, (GENESIS,))
    assert row is not None
    row.pop("durable", None)
    return row


_CIRCUMSTANCES = Statement(
    postgresql="""
        select coalesce(max(a.seq), 0) + 1 as seq,
               coalesce((select hash from changeover.audit order by seq desc limit 1), %s) as prev_hash,
               to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at,
               session_user::text as role,
               current_database() || '@' || coalesce(host(inet_server_addr()), 'socket')
                   || ':' || current_setting('port') as place,
               current_setting('transaction_isolation') as isolation,
               case current_setting('synchronous_commit')
                   when 'off' then set_config('synchronous_commit', 'on', true) end as durable
          from changeover.audit a
        """,
    mysql=(
        """
        select coalesce(max(a.seq), 0) + 1 as seq,
               coalesce((select hash from changeover.audit order by seq desc limit 1), %s) as prev_hash,
               date_format(utc_timestamp(6), '%%Y-%%m-%%dT%%H:%%i:%%s.%%fZ') as at,
               current_user() as role, concat(database(), '@', @@hostname, ':', @@port) as place,
               lower(replace(@@tx_isolation, '-', ' ')) as isolation
          from changeover.audit a
        """,
    ),
)


def _insert(conn: Connection, content: dict[str, object]) -> AuditRecord:
    row = one_row(conn, _INSERT, content | {"detail": Jsonb(content["detail"]), "moment": str(content["at"])[:-1]})
    assert row is not None
    return AuditRecord.model_validate(content | row)


_INSERT = Statement(
    postgresql="""
        insert into changeover.audit
               (seq, prev_hash, hash, at, actor, role, place, action, subject, outcome, digest, detail, body)
        values (%(seq)s, %(prev_hash)s, %(hash)s, %(at)s, %(actor)s, %(role)s, %(place)s, %(action)s,
                %(subject)s, %(outcome)s, %(digest)s, %(detail)s, %(body)s)
        returning at
        """,
    mysql=(
        """
        insert into changeover.audit
               (seq, prev_hash, hash, at, actor, role, place, action, subject, outcome, digest, detail, body)
        values (%(seq)s, %(prev_hash)s, %(hash)s, %(moment)s, %(actor)s, %(role)s, %(place)s, %(action)s,
                %(subject)s, %(outcome)s, %(digest)s, %(detail)s, %(body)s)
        """,
        "select at from changeover.audit where seq = %(seq)s",
    ),
)
_HEAD = Statement(
    postgresql="""
        select seq, prev_hash, hash, at, actor, role, place, action, subject, outcome, digest, detail, body
          from changeover.audit order by seq desc limit 1
        """,
    mysql=(
        """
        select seq, prev_hash, hash, at, actor, role, place, action, subject, outcome, digest, detail, body
          from changeover.audit order by seq desc limit 1
        """,
    ),
    json=("detail",),
)


def _scalar(value: str | int | bool) -> str | int | bool:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, int):
        return value
    raise TypeError(f"audit details are strings, integers and booleans, not {type(value).__name__}")


def detail_of(text: str) -> object:
    """Parse a stored detail such that a fraction, which no record holds, can never pass for an integer."""
    return json.loads(text, parse_float=str)
