"""Who answers for a check that does not hold, why, and until when. The audit log is where a waiver lives."""

from datetime import UTC, datetime

from tasks.ledger import audit
from tasks.ledger._session import Connection, Instant, Statement, all_rows, atomic
from tasks.ledger.state import summary
from tasks.model.base import Record
from tasks.model.errors import StateError
from tasks.model.status import GateResult

_ACTION = "waive"
_OF_PLAN = Statement.same(
    """
    select actor as person, detail, at from changeover.audit
     where action = 'waive' and subject = %s and digest = %s order by seq
    """,
    "detail",
)


class Waiver(Record):
    """One person's word for one check of one gate of one plan."""

    gate: str
    check: str
    person: str
    reason: str
    at: Instant
    expires_at: Instant

    def __str__(self) -> str:
        return f"{self.person} until {self.expires_at:%Y-%m-%d %H:%M} UTC: {self.reason}"


def waive(
    conn: Connection, migration: str, plan_digest: str, gate: str, check: str, person: str, reason: str,
    expires_at: datetime,
) -> Waiver:  # fmt: skip
    """Record that somebody answers for a check that does not hold; a later word replaces an earlier one.

    Neither the author of the plan nor whoever runs it can. A moment that has passed takes the waiver back. Raises
    StateError when a name or a reason is missing, or when the plan is another one.
    """
    who, why = person.strip(), reason.strip()
    if not who or not why:
        raise StateError("a waiver needs a person and a reason", where=migration, hint="Write --as NAME --reason WHY.")
    if expires_at.tzinfo is None:
        raise ValueError("expires_at needs a time zone")
    with atomic(conn):
        known = summary(conn, migration)
        if known.plan_digest != plan_digest:
            raise StateError(
                f"the plan is {known.plan_digest[:12]}, not {plan_digest[:12]}",
                where=migration,
                hint="Look at the gate of the present plan, and decide about that one.",
            )
        asking = {one.strip().casefold() for one in (known.author, known.executor) if one}
        if who.casefold() in asking:
            raise StateError(
                f"{who} is the author of the migration, or runs it, and cannot waive a check of it",
                where=migration,
                hint="Ask somebody else, under their own name: --as NAME.",
            )
        until = expires_at.astimezone(UTC)
        detail: audit.Detail = {
            "gate": gate,
            "check": audit.storable(check),
            "reason": audit.storable(why),
            "expires": until.isoformat(),
        }
        made = audit.append(conn, who, _ACTION, migration, "recorded", plan_digest, detail)
    return Waiver(gate=gate, check=check, person=who, reason=why, at=made.at, expires_at=until)


def waivers(conn: Connection, migration: str, plan_digest: str, gate: str, now: datetime) -> dict[str, Waiver]:
    """Return the waivers of a gate of a plan that hold at `now`, by the name of the check."""
    latest: dict[str, Waiver] = {}
    for row in all_rows(conn, _OF_PLAN, (migration, plan_digest)):
        said = row["detail"]
        if said["gate"] == gate:
            latest[said["check"]] = Waiver(
                gate=gate, check=said["check"], person=row["person"], reason=said["reason"], at=row["at"],
                expires_at=datetime.fromisoformat(said["expires"]),
            )  # fmt: skip
    return {check: one for check, one in latest.items() if now < one.expires_at}


def with_waivers(conn: Connection, migration: str, plan_digest: str, result: GateResult) -> GateResult:
    """Return the result with what people answer for; what could not be evaluated is nobody's to waive."""
    failed = [check for check in result.checks if check.verdict == "FAILED"]
    if not failed:
        return result
    found = waivers(conn, migration, plan_digest, result.gate, datetime.now(UTC))
    checks = tuple(
        check.model_copy(update={"waiver": str(found[check.name])})
        if check.verdict == "FAILED" and check.name in found
        else check
        for check in result.checks
    )
    return result.model_copy(update={"checks": checks})


def lapsed(conn: Connection, migration: str, plan_digest: str, result: GateResult) -> tuple[str, ...]:
    """Return the checks that passed by a waiver which does not hold any more."""
    waived = [check.name for check in result.checks if check.waiver]
    if not waived:
        return ()
    found = waivers(conn, migration, plan_digest, result.gate, datetime.now(UTC))
    return tuple(name for name in waived if name not in found)
