"""swap: the act, in one short transaction."""

from collections.abc import Callable
from functools import partial

from tasks.engines.session import Session
from tasks.hold import HeldError, refuse_held, wait_until_released
from tasks.ledger.gates import count_rejections, last_gate
from tasks.ledger.steps import step_records
from tasks.ledger.transitions import transition
from tasks.ledger.waivers import lapsed
from tasks.model.errors import DataChanged, GateError
from tasks.model.status import MigrationState, StepState
from tasks.model.steps import Phase, Step, end_of_swap
from tasks.prefect_task import verb
from tasks.run import Run
from tasks.steps import run_step
from tasks.validate import Gate, passed


@verb("swap")
def swap(run: Run, gate: Gate | None = None, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Make the new shape the truth, for all tables of the plan at once, or not at all.

    Refuses, under the locks, unless the gate before the swap passed in this attempt and nothing was written
    since that it has not seen. Locks: ACCESS EXCLUSIVE on every table of the plan, within the lock budget; one
    transaction with the ledger's entry. A hold that is asked for while it waits for them is heeded; `gate` is evaluated
    anew when it was released, where nothing carries over, or notes, what is written while it lasts; `meanwhile` is
    called again and again while it does. Raises GateError, LockTimeoutError.
    """
    afterwards = None
    for step in run.plan.phase(Phase.SWAP):
        if step.key != "swap/all":
            run_step(run, step, afterwards=afterwards, stops=step not in end_of_swap(run.plan.steps))
            continue
        while not _tried(run, step):
            wait_until_released(run, meanwhile)
            if gate is not None:
                passed(run, gate)
        # The act has begun: nothing holds it any more.
        afterwards = partial(_swapped, run=run)


def _tried(run: Run, step: Step) -> bool:
    """Swap; return False when somebody asked for a hold first."""
    swapped = False

    def guard(conn: Session) -> None:
        nonlocal swapped
        # Where DDL commits by itself it is called once more: there is nothing left to hold then.
        swapped = run.engine_of(step).happened(step, recorded=False)
        again(conn)

    def again(conn: Session) -> None:
        _guard(conn, run, swapped=swapped)
        if not swapped:
            refuse_held(conn, run)

    try:
        run_step(
            run, step, guard=guard, again=again, afterwards=lambda conn: _swapped(conn, run),
            between=lambda conn: refuse_held(conn, run),
        )  # fmt: skip
    except HeldError:
        return False
    return True


def cut_off(run: Run) -> bool:
    """Tell whether the tables are swapped, and a killed run could not say so: then only `swap` comes next."""
    with run.ledger() as conn:
        records = step_records(conn, run.migration)
    # What comes before the moment of it may be done, and no gate have passed since.
    return any(
        records[step.key].state is StepState.RUNNING and run.engine_of(step).happened(step, recorded=False)
        for step in run.plan.phase(Phase.SWAP)
        if step.key == "swap/all"
    )


def _swapped(conn: Session, run: Run) -> None:
    transition(conn, run.migration, run.epoch, MigrationState.SWAPPED)


def _guard(conn: Session, run: Run, *, swapped: bool) -> None:
    gate = last_gate(conn, run.migration, "before_swap")
    if gate is None or not gate.passed:
        raise GateError(
            "no gate has passed before the swap",
            where=run.migration,
            hint="Call validate with the gate before_swap first.",
            changed=DataChanged.PARTIALLY,
        )
    if gone := lapsed(conn, run.migration, gate.plan_digest, gate.result):
        raise GateError(
            f"the waiver has expired: {', '.join(gone)}",
            where=run.migration,
            hint="Correct the rows, or have somebody answer for them anew, then run again.",
            changed=DataChanged.PARTIALLY,
        )
    for requirement in run.plan.requirements:
        if requirement.kind == "structure" and requirement.gate != "before_rollback":
            wrong = conn.execute(requirement.violations).fetchall()
            if wrong:
                raise GateError(
                    f"{requirement.name}: not so: {', '.join(str(row[0]) for row in wrong)}",
                    where=run.migration,
                    hint="Somebody changed the table: undo that, or roll back.",
                    changed=DataChanged.PARTIALLY,
                )
    # What the old shape cannot hold since the swap is a matter of the rollback.
    unseen = count_rejections(conn, run.migration, direction="up" if swapped else None) - gate.rejections
    if unseen:
        raise GateError(
            f"{unseen} writes since the gate could not be carried to the new shape",
            where=run.migration,
            hint="Correct those rows and run again: the gate looks at every row anew.",
            changed=DataChanged.PARTIALLY,
        )
