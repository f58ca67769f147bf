"""Carry out the steps of a phase, forward or back, each recorded in the transaction that does it."""

from collections.abc import Callable
from dataclasses import replace

from tasks.boundary import Boundary
from tasks.engines.journal import AlreadyRecorded, Journal
from tasks.engines.records import FIRST_ROWS
from tasks.engines.session import Session
from tasks.ledger.fencing import fence
from tasks.ledger.steps import begin_step, finish_step, keep_so_far, so_far, step_records
from tasks.model.status import StepRecord, StepState
from tasks.model.steps import CopyAgain, Phase, Reconcile, Step, only_for_rollback
from tasks.run import Run, say
from tasks.throttle import between_batches


def run_phase(run: Run, phase: Phase) -> int:
    """Carry out what is left of a phase; return how many steps were done now."""
    return sum(run_step(run, step) for step in run.plan.phase(phase))


def run_step(
    run: Run,
    step: Step,
    *,
    guard: Callable[[Session], None] | None = None,
    again: Callable[[Session], None] | None = None,
    afterwards: Callable[[Session], None] | None = None,
    between: Callable[[Session], None] | None = None,
    stops: bool = True,
) -> bool:
    """Carry out a step unless it is done; return whether it was done now. Raises Paused at its boundaries.

    `guard` is called under the locks, before the statements, or right before the locks, and `again` under them;
    `afterwards` is called at the end of the same transaction;
    `between` where the step could stop without harm. Unless it `stops`, it has no boundaries.
    """
    if only_for_rollback(step):
        return False
    with Boundary(run) as boundary:
        if step_records(boundary.conn, run.migration)[step.key].state is StepState.DONE:
            return False
        check = boundary.check if stops else lambda: None
        check()
        say(step.title)
        journal = journal_of(run, step, StepState.DONE, boundary, afterwards)

        def stop() -> None:
            check()
            if between is not None:
                between(boundary.conn)

        journal = replace(journal, between=stop)
        run.engine_of(step).apply(step, journal if guard is None else journal.guarded(guard, again))
    return True


def repeat_step(run: Run, step: Step) -> None:
    """Carry out a step that can be carried out again, whether it is done or not. Raises Paused at its boundaries.

    What reads in ranges holds back between two of them as the backfill does.
    """
    with Boundary(run) as boundary:
        boundary.check()
        say(step.title)
        journal = journal_of(run, step, StepState.DONE, boundary)

        def begin(conn: Session) -> None:
            fence(conn, run.migration, run.epoch)
            begin_step(conn, run.migration, run.epoch, step.key)

        if isinstance(step.action, CopyAgain | Reconcile):
            journal = replace(journal, between=_pace(boundary, step.action))
        run.engine.apply(step, replace(journal, begin=begin))


def _pace(boundary: Boundary, action: CopyAgain | Reconcile) -> Callable[[], None]:
    between = between_batches(boundary, action.copy_of, lambda _: None)

    def pace() -> None:
        # How many rows a range has, a comparison that locks none decides itself.
        between(FIRST_ROWS)

    return pace


def revert_step(run: Run, step: Step, guard: Callable[[Session], None] | None = None) -> None:
    """Take a step back. A rollback does not stop at boundaries: a table half rolled back helps nobody.

    `guard` is called under the locks of a guarded step, and may refuse.
    """
    say(f"roll back: {step.undo or step.title}")
    journal = journal_of(run, step, StepState.UNDONE, None)
    run.engine_of(step).revert(step, journal if guard is None else journal.guarded(guard))


def record_of(run: Run, step: Step) -> StepRecord:
    """Return what the ledger says of a step."""
    with run.ledger() as conn:
        return step_records(conn, run.migration)[step.key]


def journal_of(
    run: Run,
    step: Step,
    goal: StepState,
    boundary: Boundary | None,
    afterwards: Callable[[Session], None] | None = None,
) -> Journal:
    """Return the journal that fences with the run's epoch and brings the step into the state `goal`."""

    def begin(conn: Session) -> None:
        fence(conn, run.migration, run.epoch)
        if step_records(conn, run.migration)[step.key].state is goal:
            raise AlreadyRecorded
        begin_step(conn, run.migration, run.epoch, step.key)

    counts: dict[str, int] = {}

    def finish(conn: Session) -> None:
        finish_step(conn, run.migration, run.epoch, step.key, goal, counts)
        if afterwards is not None:
            afterwards(conn)

    return Journal(
        begin=begin,
        finish=finish,
        counted=lambda rows: counts.update(rows=rows),
        fence=lambda conn: fence(conn, run.migration, run.epoch),
        so_far=lambda conn: so_far(conn, run.migration, step.key),
        keep=lambda conn, facts: keep_so_far(conn, run.migration, run.epoch, step.key, facts),
        waiting=lambda reason: say(f"waits: {reason}"),
        between=boundary.check if boundary is not None else lambda: None,
    )
