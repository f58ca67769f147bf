"""rollback: back to what was, from the ledger alone."""

from collections.abc import Mapping, Sequence

from tasks.engines.session import Session
from tasks.ledger.gates import count_rejections
from tasks.ledger.steps import step_records
from tasks.ledger.transitions import transition
from tasks.model.catalogue_difference import compare
from tasks.model.errors import DataChanged, StateError, StepError
from tasks.model.plan import Requirement
from tasks.model.status import MigrationState, StepRecord, StepState
from tasks.model.steps import SelfCommitting, Step, end_of_swap, only_for_rollback
from tasks.model.transfer_steps import RowTransfer, Transfer
from tasks.prefect_task import verb
from tasks.run import Run, say
from tasks.steps import journal_of, revert_step

BEGUN = (StepState.DONE, StepState.RUNNING)


@verb("roll back")
def rollback(run: Run, accept_loss: bool = False) -> int:
    """Undo every step that was begun, last first, and check that the catalogue is the one before.

    What applications wrote since the swap stays, by way of `down`. Raises StateError when some of it cannot be
    expressed in the old shape, unless the loss is accepted. Locks: as the steps, within the lock budget.
    """
    with run.ledger() as conn:
        records = step_records(conn, run.migration)
    swap = next(step for step in run.plan.steps if step.key == "swap/all")
    is_swapped = run.engine_of(swap).happened(swap, recorded=records[swap.key].state is StepState.DONE)
    if is_swapped:
        run.engine_of(swap).settle(swap, say)

    def refuse_loss(conn: Session) -> None:
        if not accept_loss:
            _refuse_loss(conn, run, _copies(run))

    # What a rollback that was cut off has taken away would stay away, refused here: its step asks, and gives it back.
    within_reach = [one for one in _copies(run) if not run.target(one.into.database).is_withdrawn(one)]
    if not accept_loss:
        with run.ledger() as conn:
            _refuse_loss(conn, run, within_reach)
    swapped = records[swap.key].state is not StepState.PENDING
    _refuse_what_stands_in_the_way(run, within_reach)
    _refuse_what_cannot_be_held(run, is_swapped, records)
    with run.ledger() as conn, conn.transaction():
        transition(conn, run.migration, run.epoch, MigrationState.ROLLING_BACK)
    undone = 0
    for step in reversed(run.plan.steps):
        state = records[step.key].state
        if state in BEGUN or (swapped and only_for_rollback(step) and state is not StepState.UNDONE):
            # Applications write until the swap back: what is lost is counted once more then.
            try:
                revert_step(run, step, guard=refuse_loss)
            except Exception:
                if step.key == swap.key:
                    _end_swap_again(run, swap)
                raise
            undone += 1
    _check(run)
    with run.ledger() as conn, conn.transaction():
        transition(conn, run.migration, run.epoch, MigrationState.ROLLED_BACK)
    return undone


def _end_swap_again(run: Run, swap: Step) -> None:
    """Do once more what the swap ended with: its way back has failed, and may have taken that back already."""
    if not isinstance(swap.action, SelfCommitting) or not run.engine_of(swap).happened(swap, recorded=False):
        return
    for step in end_of_swap(run.plan.steps):
        run.engine_of(step).apply(step, journal_of(run, step, StepState.DONE, None))


def _refuse_loss(conn: Session, run: Run, copies: Sequence[Transfer]) -> None:
    lost = count_rejections(conn, run.migration, direction="down") + _written_elsewhere(run, copies)
    if lost:
        raise StateError(
            f"{lost} writes since the swap cannot be expressed in the old shape and would be lost",
            where=run.migration,
            hint="Look at the rows that were written since the swap; then accept what is lost with --accept-loss.",
        )


def _written_elsewhere(run: Run, copies: Sequence[Transfer]) -> int:
    """Count documents that are not what the rows give: with their collection they would be gone."""
    return sum(run.target(one.into.database).written_since(one) for one in copies)


def _copies(run: Run) -> list[Transfer]:
    return [step.action for step in run.plan.steps if isinstance(step.action, Transfer)]


def _refuse_what_stands_in_the_way(run: Run, copies: Sequence[Transfer]) -> None:
    """Ask what others have built on what is going to be dropped: it would fail, half way."""
    for copy in copies:
        run.target(copy.into.database).require_alone(copy)
    with run.ledger("rollback") as conn:
        found = [row[0] for one in _before_rollback(run) if one.kind == "structure"
                 for row in conn.execute(one.violations).fetchall()]  # fmt: skip
    if found:
        raise StateError(
            f"what others have made stands in the way of a rollback: {'; '.join(sorted(found))}",
            where=run.migration,
            hint="Drop or rename those objects, then roll back.",
        )


def _before_rollback(run: Run) -> list[Requirement]:
    return [requirement for requirement in run.plan.requirements if requirement.gate == "before_rollback"]


def _refuse_what_cannot_be_held(run: Run, swapped: bool, records: Mapping[str, StepRecord]) -> None:
    """Ask whether the old shape can hold every row, before anything is undone: half way there is no good end."""
    broken = []
    with run.ledger("rollback") as conn:
        for requirement in _before_rollback(run):
            begun = records.get(requirement.begun)
            can_break = swapped or (begun is not None and begun.state is StepState.DONE)
            if can_break and requirement.kind != "structure":
                rows = run.engine.count(conn, requirement.violations)
                if rows:
                    broken.append(f"{rows:,} rows break: {requirement.name}")
    if broken:
        raise StateError(
            "the old shape cannot hold what was written through the new one: " + "; ".join(broken),
            where=run.migration,
            hint="Change those rows so that `down` gives what the old shape allows, then roll back.",
        )


def _check(run: Run) -> None:
    """Refuse to call it rolled back while anything is left; the author's own SQL is the author's affair."""
    if not run.plan.tables or any(step.authored for step in run.plan.steps):
        return
    if any(isinstance(one, RowTransfer) and one.of == "collection" for one in _copies(run)):
        # Nothing was done to it, and it may be gone.
        return
    differences = compare(run.plan.catalogue, run.engine.inspect(run.plan.tables))
    if differences:
        raise StepError(
            "the catalogue is not the one before: " + "; ".join(differences[:10]),
            where=run.migration,
            hint="Somebody changed it during the migration: undo that, then roll back again.",
            changed=DataChanged.PARTIALLY,
        )
