"""run, resume, contract, rollback: what changes a database, as flows in this process."""

import sys
from collections.abc import Callable, Mapping

from flows.commands.looking import header
from flows.commands.outcome import reported
from flows.commands.prefect_settings import prepare
from flows.commands.subject import Subject, engine_for, subject_of
from flows.terminal import err, facts, out, print_json
from flows.watch import Watch
from tasks.ledger.controls import clear_control
from tasks.model.errors import Paused, Refused, StateError
from tasks.model.source import is_spec
from tasks.model.status import MigrationState, Report
from tasks.run import actor

_S = MigrationState
_ENDED = (_S.COMPLETE, _S.CONTRACTED, _S.ROLLED_BACK)
_OTHER_WAY = {_S.ROLLING_BACK: "rollback", _S.CONTRACTING: "contract"}


class UnconfirmedError(Refused):
    """Nobody typed the name of the database."""

    code = "CONFIRM"


def run(target: str, profile: str, database: str, *, yes: bool, as_json: bool, verbose: bool) -> None:
    """Run a migration, or go on with it."""
    with reported(as_json=as_json, verbose=verbose) as witness:
        subject = subject_of(target, profile, database)
        witness.watch(subject.engine, subject.name)
        _refuse_other_ways(subject)
        _ask(subject, yes=yes, as_json=as_json)
        report = _forward(target, profile, subject, as_json=as_json, verbose=verbose)
        _show(report, as_json=as_json)


def resume(name: str, profile: str, database: str, *, yes: bool, as_json: bool, verbose: bool) -> None:
    """Clear the pause, and go on."""
    with reported(as_json=as_json, verbose=verbose) as witness:
        if is_spec(name):
            raise StateError("resume takes the name of a migration", where=name, hint=f"Use changeover run {name}.")
        subject = subject_of(name, profile, database)
        witness.watch(subject.engine, subject.name)
        _refuse_other_ways(subject)
        _ask(subject, yes=yes, as_json=as_json)
        with engine_for(profile, subject.plan.database).connect("control") as conn:
            clear_control(conn, name, "pause", actor())
        report = _forward(name, profile, subject, as_json=as_json, verbose=verbose)
        _show(report, as_json=as_json)


def contract(name: str, profile: str, database: str, *, yes: bool, as_json: bool, verbose: bool) -> None:
    """Destroy the old shape."""
    with reported(as_json=as_json, verbose=verbose) as witness:
        subject = subject_of(name, profile, database)
        witness.watch(subject.engine, subject.name)
        _ask(subject, yes=yes, as_json=as_json)
        report = _watched(lambda: _contract(name, profile, database), subject, as_json=as_json, verbose=verbose)
        _show(report, as_json=as_json)


def rollback(
    name: str, profile: str, database: str, *, accept_loss: bool, yes: bool, as_json: bool, verbose: bool
) -> None:
    """Go back to the old shape."""
    with reported(as_json=as_json, verbose=verbose) as witness:
        subject = subject_of(name, profile, database)
        witness.watch(subject.engine, subject.name)
        _ask(subject, yes=yes, as_json=as_json)
        report = _watched(
            lambda: _rollback(name, profile, database, accept_loss), subject, as_json=as_json, verbose=verbose
        )
        _show(report, as_json=as_json)


def _forward(target: str, profile: str, subject: Subject, *, as_json: bool, verbose: bool) -> Report:
    database = subject.plan.database
    flow = _STRATEGIES[subject.plan.strategy]
    return _watched(lambda: flow(target, profile, database), subject, as_json=as_json, verbose=verbose)


def _watched(flow: Callable[[], Report], subject: Subject, *, as_json: bool, verbose: bool) -> Report:
    prepare(verbose=verbose)
    with Watch(subject.engine, subject.name, silent=as_json, plain=verbose):
        report = flow()
    if report.state not in _ENDED:
        raise _stopped(report)
    return report


def _stopped(report: Report) -> Paused:
    """Return why a flow that ended well is not at its end: to Prefect, a pause is a completed run."""
    from tasks.approve import AwaitingApproval  # noqa: PLC0415 - imports Prefect

    if report.state is _S.AWAITING_APPROVAL:
        return AwaitingApproval(
            f"waits for approval: {report.message}",
            where=report.migration,
            hint=f"Have it approved: changeover approve {report.migration}.",
        )
    return Paused(
        report.message or f"stopped at a boundary: {report.state}",
        where=report.migration,
        hint="Run the command below when the reason is gone.",
    )


# Flows are imported where they are called: Prefect reads the environment that `prepare` has set.


def _expand_contract(target: str, profile: str, database: str) -> Report:
    from flows.expand_contract import expand_contract as flow  # noqa: PLC0415

    return flow(target, profile, database)


def _shadow_table(target: str, profile: str, database: str) -> Report:
    from flows.shadow_table import shadow_table as flow  # noqa: PLC0415

    return flow(target, profile, database)


def _cross_database(target: str, profile: str, database: str) -> Report:
    from flows.cross_database import cross_database as flow  # noqa: PLC0415

    return flow(target, profile, database)


_STRATEGIES: Mapping[str, Callable[[str, str, str], Report]] = {
    "expand_contract": _expand_contract,
    "shadow_table": _shadow_table,
    "cross_database": _cross_database,
}
"""The flow of each strategy that a spec can name."""


def _contract(name: str, profile: str, database: str) -> Report:
    from flows.contract import contract as flow  # noqa: PLC0415

    return flow(name, profile, database)


def _rollback(name: str, profile: str, database: str, accept_loss: bool) -> Report:
    from flows.rollback import rollback as flow  # noqa: PLC0415

    return flow(name, profile, database, accept_loss)


def _refuse_other_ways(subject: Subject) -> None:
    """Refuse before Prefect starts what the flow would refuse ten seconds later."""
    state = subject.summary.state if subject.summary is not None else None
    if state in _OTHER_WAY:
        hint = f"Finish that first: changeover {_OTHER_WAY[state]} {subject.name}."
        raise StateError(f"the migration is {state}", where=subject.name, hint=hint)
    if state is _S.CONTRACTED:
        raise StateError(
            "the migration is contracted: there is nothing left to do",
            where=subject.name,
            hint="Give a new change a new name.",
        )


def _ask(subject: Subject, *, yes: bool, as_json: bool) -> None:
    """Show what it is about, and have the database's name typed where the profile wants it."""
    if not as_json:
        err().print(facts(header(subject)))
        err().print()
    if yes or not subject.profile.confirm:
        return
    name = subject.engine.database_name
    if as_json or not sys.stdin.isatty():
        raise UnconfirmedError(
            f"the profile {subject.profile.name} asks for the name of the database, and nobody is there to type it",
            where=subject.address,
            hint="Run it in a terminal, or add --yes.",
        )
    err().print(f"Type {name} to go on: ", end="")
    if input().strip() != name:
        raise UnconfirmedError(
            "that is not the name of the database", where=subject.address, hint="Look at the address above again."
        )


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    gates = ", ".join(f"{g.gate} passed ({len(g.checks)} checks)" for g in report.gates)
    console = out()
    console.print(
        facts(
            [
                ("migration", report.migration),
                ("state", report.state.value),
                ("rows", f"{report.rows:,} in {report.seconds:.1f} s" if report.rows else ""),
                ("gates", gates),
                ("digest", report.plan_digest),
                ("next", _next(report)),
            ]
        )
    )


def _next(report: Report) -> str:
    name = report.migration
    match report.state:
        case MigrationState.COMPLETE:
            return f"changeover contract {name} drops the old shape for good; changeover rollback {name} goes back"
        case MigrationState.ROLLED_BACK:
            return "nothing: everything is as before; the same spec may run again"
        case MigrationState.CONTRACTED:
            return "nothing: the migration is finished"
        case _:
            return f"changeover status {name}"
