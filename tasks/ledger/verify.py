"""Verify the audit log: recompute the chain from its genesis, and hold it against the anchors."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import rfc8785
from psycopg.rows import DictRow, dict_row

from tasks.engines.mysql.session import MariaSession
from tasks.ledger._session import Connection, Statement, all_rows, atomic, has_table, one_row, require_read_committed
from tasks.ledger.anchor import Anchor, anchor_path, database_id, read_anchors
from tasks.ledger.audit import GENESIS, body_of, detail_of, hash_of
from tasks.ledger.install import installation_id
from tasks.model.base import Record

MOST_PROBLEMS = 100
_PAGE = 1000
_RECORDS: LiteralString = """
    select seq, prev_hash, hash, actor, role, place, action, subject, outcome, digest, body,
           to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at, detail::text as detail
      from changeover.audit order by seq, hash
"""


class AuditVerdict(Record):
    """What the verification of an audit log found."""

    records: int
    """How many were recomputed."""
    head: str = ""
    """The hash that the log ends with."""
    anchors: int = 0
    """How many anchors it was held against."""
    problems: tuple[str, ...] = ()
    """What is wrong, oldest record first; the first hundred."""

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems


@dataclass(kw_only=True)
class _Findings:
    problems: list[str] = field(default_factory=list)
    left_out: int = 0

    def add(self, problem: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)
        else:
            self.left_out += 1

    def all(self) -> tuple[str, ...]:
        more = (f"and {self.left_out} more",) if self.left_out else ()
        return (*self.problems, *more)


def verify(conn: Connection, anchors: Path | None) -> AuditVerdict:
    """Recompute the whole log, and compare it with the anchors in the evidence folder `anchors`.

    Finds an edited record, a gap, a fork, a changed order, protection that is switched off; with anchors also
    a cut-off end, a log that was emptied, computed anew, or dropped and installed again. Fails closed: a log
    without any anchor does not pass when anchors were asked for. Reads in one snapshot, with flat memory, and
    holds up no appender. Needs a read committed transaction (StepError), and the primary: a standby may not
    have what is anchored yet.
    """
    findings = _Findings()
    with atomic(conn):
        _check_isolation(conn)
        # Before the snapshot is taken: what was anchored by then has been committed, and must be in it.
        known = _read(conn, anchors, findings)
        installation = installation_id(conn)
        if not has_table(conn, "audit"):
            if known or installation is not None:
                findings.add(f"the log is gone; anchors know {max((a.seq for a in known), default=0)} records")
            return AuditVerdict(records=0, anchors=len(known), problems=findings.all())
        if installation is None:
            findings.add("the ledger has lost the name of its installation")
        if anchors is not None and not known:
            findings.add(f"no anchor in {anchor_path(anchors, database_id(conn))}: the end cannot be checked")
        _check_protection(conn, findings)
        records, head = _walk(conn, installation, known, findings)
    return AuditVerdict(records=records, head=head, anchors=len(known), problems=findings.all())


def _check_isolation(conn: Connection) -> None:
    row = one_row(conn, _ISOLATION)
    require_read_committed(str(row and row["isolation"]), "verifying the audit log")


def _read(conn: Connection, evidence: Path | None, findings: _Findings) -> list[Anchor]:
    if evidence is None:
        return []
    anchors, problems = read_anchors(evidence, database_id(conn))
    for problem in problems:
        findings.add(problem)
    return anchors


def _check_protection(conn: Connection, findings: _Findings) -> None:
    rows = all_rows(conn, _PROTECTION)
    if not rows[0]["guarded"]:
        findings.add("the trigger append_only on changeover.audit is missing or not enabled always")
    if rows[0]["constraints"] < 4:
        findings.add("a constraint of changeover.audit is missing: seq, prev_hash, hash or audit_hash")


_ISOLATION = Statement(
    postgresql="select current_setting('transaction_isolation') as isolation",
    mysql=("select lower(replace(@@tx_isolation, '-', ' ')) as isolation",),
)
_PROTECTION = Statement(
    postgresql="""
        select coalesce((select tgenabled = 'A' from pg_trigger
                          where tgrelid = 'changeover.audit'::regclass and tgname = 'append_only'), false)
                   as guarded,
               (select count(*) from pg_constraint
                 where conrelid = 'changeover.audit'::regclass and convalidated
                   and (contype in ('p', 'u') or conname = 'audit_hash')) as constraints
        """,
    mysql=(
        """
        select (select count(*) = 2 from information_schema.triggers
                 where event_object_schema = database() and event_object_table = 'changeover_audit'
                   and event_manipulation in ('UPDATE', 'DELETE') and action_timing = 'BEFORE'
                   and trigger_name like 'changeover_audit_%%') as guarded,
               (select count(*) from information_schema.table_constraints
                 where table_schema = database() and table_name = 'changeover_audit'
                   and (constraint_type in ('PRIMARY KEY', 'UNIQUE') or constraint_name = 'audit_hash')) as constraints
        """,
    ),
)


def _walk(conn: Connection, installation: str | None, anchors: list[Anchor], findings: _Findings) -> tuple[int, str]:
    by_seq: dict[int, list[Anchor]] = {}
    for anchor in anchors:
        by_seq.setdefault(anchor.seq, []).append(anchor)
        if anchor.installation != installation:
            findings.add(f"the ledger was made anew: record {anchor.seq} was anchored in another installation")
    count, seq, previous = 0, 0, GENESIS
    for row in _stream(conn):
        count += 1
        _check_record(row, seq, previous, findings)
        for anchor in by_seq.pop(row["seq"], []):
            if anchor.hash != row["hash"]:
                findings.add(f"record {row['seq']} is not the one that was anchored")
        if count == 1 and json.loads(row["detail"]).get("installation") != installation:
            findings.add("the first record names another installation than the ledger")
        seq, previous = row["seq"], row["hash"]
    if count == 0:
        findings.add("the log is empty: its first record is written when it is installed")
    if by_seq and max(by_seq) > seq:
        findings.add(f"the log ends at record {seq}: the end, up to record {max(by_seq)}, was cut off")
    return count, previous if count else ""


def _stream(conn: Connection) -> Iterator[DictRow]:
    if isinstance(conn, MariaSession):
        yield from _pages(conn)
        return
    with conn.cursor(name="changeover_verify", row_factory=dict_row) as cursor:
        cursor.itersize = _PAGE
        cursor.execute(_RECORDS)
        yield from cursor


def _pages(conn: MariaSession) -> Iterator[DictRow]:
    """Read up to the present end, page by page: nothing that is recorded changes any more."""
    end = one_row(conn, "select coalesce(max(seq), 0) as seq from changeover.audit")
    seq = 0
    while end is not None and seq < end["seq"]:
        page = all_rows(conn, _PAGE_OF_RECORDS, {"after": seq, "end": end["seq"], "page": _PAGE})
        if not page:
            return
        yield from page
        seq = page[-1]["seq"]


_PAGE_OF_RECORDS: LiteralString = """
    select seq, prev_hash, hash, actor, role, place, action, subject, outcome, digest, body,
           date_format(at, '%%Y-%%m-%%dT%%H:%%i:%%s.%%fZ') as at, detail
      from changeover.audit where seq > %(after)s and seq <= %(end)s order by seq limit %(page)s
"""


def _check_record(row: DictRow, seq: int, previous: str, findings: _Findings) -> None:
    number = row["seq"]
    if number == seq:
        findings.add(f"there are two records {number}: the log forks")
    elif number != seq + 1:
        findings.add(
            f"records {seq + 1} to {number - 1} are missing" if number > seq + 2 else f"record {seq + 1} is missing"
        )
    if row["prev_hash"] != previous:
        findings.add(f"record {number} does not follow " + (f"record {seq}" if seq else "the genesis"))
    if not _hash_holds(row):
        findings.add(f"record {number} was edited: its hash is not the hash of its body")
    if not _body_holds(row):
        findings.add(f"record {number} was edited: its columns do not say what its body says")


def _hash_holds(row: DictRow) -> bool:
    try:
        return bool(hash_of(row["prev_hash"], row["body"]) == row["hash"])
    except ValueError:  # the previous hash is not even hexadecimal
        return False


def _body_holds(row: dict[str, Any]) -> bool:
    try:
        return bool(body_of(row | {"detail": detail_of(row["detail"])}) == row["body"])
    except rfc8785.CanonicalizationError:
        return False
