"""Who agreed to which plan, until when."""

from datetime import datetime
from typing import Literal

from tasks.ledger import audit
from tasks.ledger._session import Connection, Instant, Statement, all_rows, atomic, one_row
from tasks.ledger.state import summary
from tasks.model.base import Record
from tasks.model.errors import StateError

Decision = Literal["approve", "reject"]
_DECIDE = Statement(
    postgresql="""
        insert into changeover.approvals (migration, plan_digest, approver, decision, reason, expires_at)
        values (%(migration)s, %(digest)s, %(person)s, %(decision)s, %(reason)s, %(expires)s)
        returning plan_digest, approver, decision, reason, at, expires_at
        """,
    mysql=(
        """
        insert into changeover.approvals (migration, plan_digest, approver, decision, reason, expires_at)
        values (%(migration)s, %(digest)s, %(person)s, %(decision)s, %(reason)s, %(expires)s)
        """,
        """
        select plan_digest, approver, decision, reason, at, expires_at
          from changeover.approvals where id = last_insert_id()
        """,
    ),
)


class Approval(Record):
    """A decision of one person on one plan."""

    plan_digest: str
    approver: str
    decision: Decision
    reason: str
    at: Instant
    expires_at: Instant | None


def approve(
    conn: Connection,
    migration: str,
    plan_digest: str,
    approver: str,
    *,
    decision: Decision = "approve",
    reason: str = "",
    expires_at: datetime | None = None,
) -> Approval:
    """Record what a person decides about the plan with this digest. Audits, with the reason.

    A later decision of the same person replaces the earlier one. Raises StateError when the migration is
    unknown, or has another plan than the one that the person saw.
    """
    person = approver.strip()
    if not person:
        raise StateError("an approval needs a name", where=migration, hint="Say who approves.")
    if expires_at is not None and expires_at.tzinfo is None:
        raise ValueError("expires_at needs a time zone")
    with atomic(conn):
        present = summary(conn, migration).plan_digest
        if present != plan_digest:
            raise StateError(
                f"the plan is {present[:12]}, not {plan_digest[:12]}",
                where=migration,
                hint="Read the present plan, and decide about that one.",
            )
        row = one_row(
            conn,
            _DECIDE,
            {
                "migration": migration,
                "digest": plan_digest,
                "person": person,
                "decision": decision,
                "reason": audit.storable(reason),
                "expires": expires_at,
            },
        )
        made = Approval.model_validate(row)
        until = made.expires_at.isoformat() if made.expires_at else "never"
        detail: audit.Detail = {"reason": reason, "expires": until}
        audit.append(conn, person, decision, migration, "recorded", plan_digest, detail)
        return made


def decisions(conn: Connection, migration: str, plan_digest: str) -> tuple[Approval, ...]:
    """Return the latest decision of every person on this plan, oldest first.

    Names that differ only in case or in blanks around them are one person.
    """
    rows = all_rows(
        conn,
        """
        select plan_digest, approver, decision, reason, at, expires_at
          from changeover.approvals where migration = %s and plan_digest = %s order by id
        """,
        (migration, plan_digest),
    )
    latest: dict[str, Approval] = {}
    for row in rows:
        approval = Approval.model_validate(row)
        latest.pop(approval.approver.casefold(), None)
        latest[approval.approver.casefold()] = approval
    return tuple(latest.values())


def valid_approvals(conn: Connection, migration: str, plan_digest: str, now: datetime) -> tuple[Approval, ...]:
    """Return the approvals of this plan that hold at `now`, one a person.

    Who rejected it last, or whose approval has expired, does not count. Whether the author or the executor is
    among them, and whether a rejection is a veto, is for the caller to judge.
    """
    return tuple(
        approval
        for approval in decisions(conn, migration, plan_digest)
        if approval.decision == "approve" and (approval.expires_at is None or now < approval.expires_at)
    )
