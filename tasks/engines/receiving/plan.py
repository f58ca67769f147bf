"""What is planned of a copy that comes into a table, wherever its rows are from, and whichever database takes them."""

import hashlib
from collections.abc import Iterable, Iterator

from tasks.model.names import OWN_PREFIX
from tasks.model.spec import MigrationSpec
from tasks.model.steps import Phase, Step
from tasks.model.transfer_steps import RowTransfer


def helpers_of(spec: MigrationSpec, source: str) -> str:
    """Return what is called so that is ours of a copy: the same whenever this migration is planned."""
    digest = hashlib.sha256(f"{spec.migration}\0{spec.database}\0{source}".encode()).hexdigest()[:12]
    return f"{OWN_PREFIX}transfer_{digest}"


def steps(
    full: str,
    action: RowTransfer,
    what: str,
    *,
    made: Iterable[Step] = (),
    captured: Iterable[Step] = (),
    released: Iterable[Step] = (),
) -> Iterator[Step]:
    """Yield all steps, in order; `what` is copied, rows or documents.

    A capture has steps of its own: `made` before anything else, `captured` before the copy, `released` after the swap.
    """
    into = action.into
    there = f"{into.full_name} in {into.database}"
    yield from made
    yield Step(
        key=f"expand/{full}/table",
        phase=Phase.EXPAND,
        title=f"make the table that becomes {there}",
        undo="drop it",
        action=into,
    )
    yield from captured
    yield Step(
        key=f"backfill/{full}/copy",
        phase=Phase.BACKFILL,
        title=f"copy the {what} of {full}",
        undo="nothing: the copy goes with its table",
        action=action,
    )
    yield Step(
        key="swap/all",
        phase=Phase.SWAP,
        title=f"put the table in its place: {there}" + (", with the last writes in it" if action.notes else ""),
        undo="take it away again",
        action=into.model_copy(update={"does": "put"}),
    )
    yield from released
    yield Step(
        key=f"contract/{full}/tables",
        phase=Phase.CONTRACT,
        title=f"drop {into.helpers} in {into.database}, with the notes of rejected {what}",
        action=into.model_copy(update={"does": "clear"}),
    )
