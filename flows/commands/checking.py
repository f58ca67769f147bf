"""validate and audit verify: check, and change nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from flows.commands.outcome import reported
from flows.commands.subject import Subject, engine_for, subject_of
from flows.terminal import facts, out, print_json
from profiles.loader import load as load_profile
from tasks.ledger.install import is_installed
from tasks.ledger.snapshots import load_snapshot
from tasks.ledger.verify import verify
from tasks.model.errors import AuditError, GateError, StateError
from tasks.model.probe import Reading, from_payload
from tasks.model.status import CheckResult, GateResult, MigrationState, StepState
from tasks.snapshot import PROBES

GateName = Literal["before_run", "before_swap", "after_swap", "before_contract"]
_S = MigrationState
_WHEN: dict[GateName, tuple[MigrationState, ...]] = {
    "before_run": (),
    "before_swap": (_S.RUNNING, _S.PAUSED, _S.AWAITING_APPROVAL, _S.FAILED),
    "after_swap": (_S.SWAPPED, _S.COMPLETE),
    "before_contract": (_S.COMPLETE,),
}


def validate(target: str, profile: str, database: str, *, gate: GateName | None, as_json: bool, verbose: bool) -> None:
    """Evaluate a gate on the database as it is. Records nothing: only a run's own gates count."""
    with reported(as_json=as_json, verbose=verbose):
        subject = subject_of(target, profile, database)
        chosen = gate or _next(subject)
        _refuse_moment(subject, chosen)
        result = _evaluated(subject, chosen, profile)
        passed = result.passed or (chosen == "before_run" and not result.checks)
        if as_json and passed:
            print_json(result.model_dump(mode="json") | {"passed": True})
        elif not as_json:
            _show(result)
        if not passed:
            failed = [one.name for one in result.failed]
            raise GateError(
                f"the gate {chosen} does not pass: {', '.join(failed) or 'there was nothing to check'}",
                where=subject.name,
                hint="Correct the rows or the expressions; changeover run evaluates the gate anew.",
            )


def _next(subject: Subject) -> GateName:
    """Return the gate that comes next."""
    if subject.summary is not None and subject.summary.state in _WHEN["after_swap"]:
        return "after_swap"
    return "before_swap" if _started(subject) else "before_run"


def _started(subject: Subject) -> bool:
    return any(record.state in (StepState.RUNNING, StepState.DONE) for record in subject.records.values())


def _evaluated(subject: Subject, gate: GateName, profile: str) -> GateResult:
    values = subject.profile.values_in_reports
    checks: tuple[CheckResult, ...] = ()
    if gate == "before_run":
        result = subject.engine.examine(subject.plan, values_in_reports=values)
        if not isinstance(subject.plan.spec.get("gates"), Mapping):
            return result
        checks = result.checks
    from validations import gates  # noqa: PLC0415 - brings SQLAlchemy's and its own seconds of import
    from validations.transfer import of_rows  # noqa: PLC0415

    plan = subject.plan
    # What contract asks for, it is asked for here, too.
    wanted = ("after_swap", "before_contract") if gate == "before_contract" else ()
    copied = of_rows("before_swap" if gate == "before_swap" else "after_swap", plan, profile, asked=wanted)
    if copied is not None:
        result = copied.evaluate(subject.engine.url, values_in_reports=values)
        return result.model_copy(update={"gate": gate})
    built = {
        "before_run": gates.bound(gate, plan),
        "before_swap": (gates.before_swap(plan),),
        "after_swap": (gates.after_swap(plan),),
        "before_contract": (gates.before_contract(plan), *gates.bound(gate, plan)),
    }[gate]
    readings: Mapping[str, Reading] = {}
    if gate != "before_run":
        with subject.engine.connect("look") as conn:
            readings = from_payload(load_snapshot(conn, subject.name, PROBES))
    asked = [
        one.evaluate(
            subject.engine.url,
            values_in_reports=values,
            search_path=plan.search_path,
            before=readings,
            probes=subject.profile.probes,
        )
        for one in built
    ]
    return GateResult(gate=gate, checks=(*checks, *(check for one in asked for check in one.checks)))


def _refuse_moment(subject: Subject, gate: GateName) -> None:
    state = subject.summary.state if subject.summary is not None else None
    if gate == "before_run" and not _started(subject):
        return
    if state in _WHEN[gate]:
        return
    raise StateError(
        f"the gate {gate} cannot be evaluated: the migration " + (f"is {state}" if state else "has not begun"),
        where=subject.name,
        hint="It can before the first step."
        if gate == "before_run"
        else f"It can while the migration is {', '.join(_WHEN[gate])}.",
    )


def _show(result: GateResult) -> None:
    if not result.checks:
        out().print("nothing to check: the migration asks nothing of rows that exist")
        return
    out().print(_checks(result))
    for one in result.checks:
        if not one.passed and (one.examples or one.fix):
            out().print(Text(f"\n{one.verdict} {one.name}", style="bold"))
            if one.examples:
                out().print(Text(f"  keys: {'; '.join(one.examples)}"), soft_wrap=True)
            if one.fix:
                out().print(Text(f"  fix:  {one.fix}"), soft_wrap=True)


def _checks(result: GateResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("result", "check", "message"):
        table.add_column(title, overflow="fold")
    for one in result.checks:
        table.add_row(one.verdict, Text(one.name), Text(one.message))
    return table


def audit_verify(profile: str, database: str, *, as_json: bool, verbose: bool) -> None:
    """Recompute the audit log and hold it against its anchors."""
    with reported(as_json=as_json, verbose=verbose):
        evidence = Path(load_profile(profile).evidence)
        engine = engine_for(profile, database)
        with engine.connect("audit") as conn:
            verdict = verify(conn, evidence)
            if verdict.ok and not is_installed(conn):
                raise StateError(
                    "this database has no ledger, and no anchor knows of one",
                    where=f"database {engine.database_name}",
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
