"""approve, reject, waive, pause, hold, release: what people say to a migration, through the ledger, without Prefect."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches

from flows.commands.outcome import reported
from flows.commands.subject import engine_for
from flows.terminal import out, print_json
from profiles.loader import load as load_profile
from tasks.ledger import approvals, waivers
from tasks.ledger.approvals import Decision
from tasks.ledger.controls import clear_control, set_control
from tasks.ledger.state import MigrationRecord, MigrationSummary, load
from tasks.model.errors import StateError
from tasks.model.status import MigrationState
from tasks.model.transfer_steps import RowTransfer
from tasks.run import actor

_S = MigrationState
_DECIDED = (_S.SWAPPED, _S.COMPLETE, _S.CONTRACTING, _S.CONTRACTED, _S.ROLLING_BACK)
_PAUSABLE = (_S.PLANNED, _S.RUNNING, _S.AWAITING_APPROVAL, _S.PAUSED)


def decide(
    name: str,
    profile: str,
    database: str,
    *,
    decision: Decision,
    person: str,
    reason: str,
    as_json: bool,
    verbose: bool,
) -> None:
    """Record that somebody approves or rejects the present plan."""
    with reported(as_json=as_json, verbose=verbose):
        needed = load_profile(profile).approvals
        who = person.strip() or actor()
        with engine_for(profile, database).connect("approval") as conn:
            record = load(conn, name)
            _refuse_decision(record, who, decision)
            approvals.approve(conn, name, record.plan_digest, who, decision=decision, reason=reason)
            valid = approvals.valid_approvals(conn, name, record.plan_digest, datetime.now(UTC))
        if as_json:
            print_json(
                {
                    "migration": name,
                    "decision": decision,
                    "approver": who,
                    "digest": record.plan_digest,
                    "approvals": [one.approver for one in valid],
                    "needed": needed,
                }
            )
            return
        past = "approved" if decision == "approve" else "rejected"
        out().print(f"{who} {past} the plan {record.plan_digest[:16]} of {name}: {len(valid)} of {needed} approvals")
        if decision == "approve" and len(valid) >= needed and record.state in (_S.AWAITING_APPROVAL, _S.PAUSED):
            out().print(f"next: a run that waits goes on; otherwise changeover resume {name}")


def _refuse_decision(record: MigrationSummary, who: str, decision: Decision) -> None:
    if record.state in _DECIDED:
        raise StateError(
            f"the migration is {record.state}: there is nothing to decide any more",
            where=record.id,
            hint=f"Look at it with changeover status {record.id}.",
        )
    if decision == "reject":
        return
    for role, person in (("recorded the plan", record.author), ("runs it", record.executor or "")):
        if who.casefold() == person.strip().casefold():
            raise StateError(
                f"{who} {role}, and cannot approve it as well (CHG-02)",
                where=record.id,
                hint="Ask somebody else to approve, each under their own name: --as NAME.",
            )


def pause(name: str, profile: str, database: str, *, as_json: bool, verbose: bool) -> None:
    """Ask a run to stop at its next boundary."""

    def refused(record: MigrationRecord) -> str:
        there = record.state in _PAUSABLE
        return "" if there else f"the migration is {record.state}: there is nothing to pause"

    said = f"{name} stops at its next boundary; changeover resume {name} goes on from there"
    _ask("pause", refused, said, name, profile, database, as_json=as_json, verbose=verbose)


def hold(name: str, profile: str, database: str, *, as_json: bool, verbose: bool) -> None:
    """Put off the swap of a shadow table, or of a copy into a table of PostgreSQL."""

    def refused(record: MigrationRecord) -> str:
        strategy = record.plan.strategy
        copies = any(isinstance(step.action, RowTransfer) for step in record.plan.steps)
        held = (strategy == "shadow_table" or copies) and record.state in (*_PAUSABLE, _S.FAILED, _S.ROLLED_BACK)
        return "" if held else f"the migration is {record.state}, by {strategy}: there is no swap to hold"

    said = f"{name} waits before its swap; changeover release {name} lets it come"
    _ask("hold", refused, said, name, profile, database, as_json=as_json, verbose=verbose)


def _ask(
    control: str,
    refused: Callable[[MigrationRecord], str],
    said: str,
    name: str,
    profile: str,
    database: str,
    *,
    as_json: bool,
    verbose: bool,
) -> None:
    """Leave word for a run, unless there is a reason against it."""
    with reported(as_json=as_json, verbose=verbose):
        with engine_for(profile, database).connect("control") as conn:
            record = load(conn, name)
            if reason := refused(record):
                raise StateError(reason, where=name, hint=f"Look at it with changeover status {name}.")
            set_control(conn, name, control, True, actor())
        if as_json:
            print_json({"migration": name, control: True, "state": record.state.value})
            return
        out().print(said)


def release(name: str, profile: str, database: str, *, as_json: bool, verbose: bool) -> None:
    """Let the swap come."""
    with reported(as_json=as_json, verbose=verbose):
        with engine_for(profile, database).connect("control") as conn:
            held = clear_control(conn, name, "hold", actor())
        if as_json:
            print_json({"migration": name, "hold": False, "held": held})
            return
        out().print(f"{name} may swap" if held else f"{name} was not held")


def waive(
    name: str, profile: str, database: str, *, gate: str, check: str, person: str, reason: str, until: str,
    as_json: bool, verbose: bool,
) -> None:  # fmt: skip
    """Record that somebody answers for a check of the present plan that does not hold."""
    with reported(as_json=as_json, verbose=verbose):
        expires = _moment(until, name)
        who = person.strip() or actor()
        with engine_for(profile, database).connect("waiver") as conn:
            record = load(conn, name)
            _known_check(record, gate, check)
            made = waivers.waive(conn, name, record.plan_digest, gate, check, who, reason, expires)
        if as_json:
            print_json(made.model_dump(mode="json") | {"migration": name, "digest": record.plan_digest})
            return
        out().print(f"waived in gate {gate} of {name}: {check}")
        out().print(f"by {made}")


def _moment(text: str, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise StateError("a waiver needs the moment at which it ends, with its time zone", where=name,
                         hint="Write --until 2026-12-24T18:00+01:00, for example.")  # fmt: skip
    return moment


def _known_check(record: MigrationRecord, gate: str, check: str) -> None:
    """Refuse a name that the plan does not have; expectations of a suite are known only once it has run."""
    plan = record.plan
    listed = [one.name for one in plan.comparisons if one.gate == gate]
    # What is asked before contract is asked by the gate after the swap, once more.
    asked = {"after_swap": ("after_swap", "before_contract"), "before_contract": ()}.get(gate, (gate,))
    listed += [one.name for one in plan.requirements if one.gate in asked]
    listed += [one.name for one in plan.conversions] if gate == "before_run" else []
    bound = plan.spec.get("gates")
    if check in listed or (isinstance(bound, Mapping) and bound.get(gate)):
        return
    close = get_close_matches(check, listed, n=1)
    raise StateError(
        f"the gate {gate} has no check {check!r}",
        where=record.id,
        hint=f"Did you mean {close[0]!r}?" if close else f"It has: {'; '.join(listed) or 'none'}.",
    )
