"""validate and audit verify: check, and change nothing."""

from pathlib import Path
from typing import Literal

from rich.table import Table

from flows.commands.outcome import reported
from flows.commands.subject import Subject, engine_for, subject_of
from flows.terminal import facts, out, print_json
from profiles.loader import load as load_profile
from tasks.ledger.install import is_installed
from tasks.ledger.verify import verify
from tasks.model.errors import AuditError, GateError, StateError
from tasks.model.status import GateResult, MigrationState

GateName = Literal["before_swap", "after_swap"]
_S = MigrationState
_WHEN: dict[GateName, tuple[MigrationState, ...]] = {
    "before_swap": (_S.RUNNING, _S.PAUSED, _S.AWAITING_APPROVAL, _S.FAILED),
    "after_swap": (_S.SWAPPED, _S.COMPLETE),
}


def validate(target: str, profile: str, database: str, *, gate: GateName, as_json: bool, verbose: bool) -> None:
    """Evaluate a gate on the database as it is. Records nothing: only a run's own gates count."""
    with reported(as_json=as_json, verbose=verbose):
        subject = subject_of(target, profile, database)
        _refuse_moment(subject, gate)
        from validations import gates  # noqa: PLC0415 - brings SQLAlchemy's and its own seconds of import

        built = gates.before_swap(subject.plan) if gate == "before_swap" else gates.after_swap(subject.plan)
        result = built.evaluate(
            subject.engine.url,
            values_in_reports=subject.profile.values_in_reports,
            search_path=subject.plan.search_path,
        )
        if as_json and result.passed:
            print_json(result.model_dump(mode="json") | {"passed": True})
        elif not as_json:
            out().print(_checks(result))
        if not result.passed:
            failed = [one.name for one in result.checks if not (one.passed and one.evaluated)]
            raise GateError(
                f"the gate {gate} does not pass: {', '.join(failed) or 'there was nothing to check'}",
                where=subject.name,
                hint="Correct the rows or the expressions; changeover run evaluates the gate anew.",
            )


def _refuse_moment(subject: Subject, gate: GateName) -> None:
    state = subject.summary.state if subject.summary is not None else None
    if state in _WHEN[gate]:
        return
    raise StateError(
        f"the gate {gate} cannot be evaluated: the migration " + (f"is {state}" if state else "has not begun"),
        where=subject.name,
        hint=f"It can while the migration is {', '.join(_WHEN[gate])}.",
    )


def _checks(result: GateResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("result", "check", "message"):
        table.add_column(title, overflow="fold")
    for one in result.checks:
        verdict = "passed" if one.passed and one.evaluated else ("FAILED" if one.evaluated else "NOT EVALUATED")
        table.add_row(verdict, one.name, one.message)
    return table


def audit_verify(profile: str, database: str, *, as_json: bool, verbose: bool) -> None:
    """Recompute the audit log and hold it against its anchors."""
    with reported(as_json=as_json, verbose=verbose):
        evidence = Path(load_profile(profile).evidence)
        with engine_for(profile, database).connect("audit") as conn:
            verdict = verify(conn, evidence)
            if verdict.ok and not is_installed(conn):
                raise StateError(
                    "this database has no ledger, and no anchor knows of one",
                    where=f"database {conn.info.dbname}",
                    hint="Check the profile and the evidence folder.",
                )
        if not verdict.ok:
            raise AuditError(
                "the audit log does not verify:\n  " + "\n  ".join(verdict.problems),
                where=str(evidence),
                hint="Find out who changed it before anything else is run.",
            )
        if as_json:
            print_json(verdict.model_dump(mode="json") | {"ok": True})
            return
        out().print(
            facts(
                [
                    ("audit log", "verified"),
                    ("records", f"{verdict.records:,}"),
                    ("anchors", f"{verdict.anchors:,} in {evidence}"),
                    ("head", verdict.head),
                ]
            )
        )
