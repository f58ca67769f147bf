"""plan and schema: look, and change nothing."""

from datetime import UTC, datetime
from typing import Any

from flows.commands.outcome import reported
from flows.commands.subject import Subject, subject_of
from flows.explain import as_data, explanation
from flows.terminal import facts, out, print_json
from profiles.model import Profile
from profiles.window import closed_because, closes_at, opens_at
from tasks.model.spec import MigrationSpec


def plan(target: str, profile: str, database: str, *, sql: bool, as_json: bool, verbose: bool) -> None:
    """Explain a plan."""
    with reported(as_json=as_json, verbose=verbose):
        subject = subject_of(target, profile, database)
        limits = subject.profile.limits
        if as_json:
            print_json(header_data(subject) | as_data(subject.plan, subject.records, limits))
            return
        out().print(facts(header(subject)))
        out().print()
        out().print(explanation(subject.plan, subject.records, limits, sql=sql))


def schema() -> None:
    """Print the JSON Schema of a spec."""
    print_json(MigrationSpec.model_json_schema())


def header(subject: Subject) -> list[tuple[str, str]]:
    """Return what comes first: where this happens, how risky it is, who must agree, and until when."""
    data = header_data(subject)
    pairs = [
        ("migration", data["migration"]),
        ("environment", data["environment"]),
        ("database", f"{data['database']} at {data['address']}"),
        ("state", data["state"]),
        ("risk", data["risk"]),
        *(("", f"- {reason}") for reason in data["risk_reasons"]),
        ("digest", data["digest"]),
        ("approvals", f"{data['approvals']} needed" if data["approvals"] else "none needed"),
        ("window", data["window"]),
        *(("note", note) for note in data["notes"]),
    ]
    return [(name, str(value)) for name, value in pairs]


def header_data(subject: Subject) -> dict[str, Any]:
    """Return the header as plain values."""
    return {
        "migration": subject.name,
        "environment": subject.profile.name,
        "database": subject.plan.database,
        "address": subject.address,
        "state": subject.summary.state.value if subject.summary is not None else "not begun",
        "risk": subject.plan.risk.value,
        "risk_reasons": list(subject.plan.risk_reasons),
        "digest": subject.plan.digest,
        "approvals": subject.profile.approvals,
        "window": _window(subject.profile),
        "notes": list(subject.notes),
    }


def _window(profile: Profile) -> str:
    if profile.window is None:
        return "always open"
    now = datetime.now(UTC)
    closes = closes_at(profile.window, now)
    if closes is not None:
        return f"open for {int((closes - now).total_seconds()) // 60} min more, until {closes:%Y-%m-%d %H:%M} UTC"
    return f"closed ({closed_because(profile.window, now)}); opens {opens_at(profile.window, now):%Y-%m-%d %H:%M} UTC"
