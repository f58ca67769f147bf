"""What is planned of a copy that comes into a table, wherever its rows are from, and whichever database takes them."""

import hashlib
from collections.abc import Iterable, Iterator

from tasks.engines import transfer_plan
from tasks.engines.transfer_plan import Taken
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
    taken = Taken(
        kind="table",
        there=f"{into.full_name} in {into.database}",
        put="put the table in its place",
        undo="take it away again",
    )
    yield from made
    yield from transfer_plan.steps(full, action, what, taken, captured=captured, released=released)
    yield Step(
        key=f"contract/{full}/tables",
        phase=Phase.CONTRACT,
        title=f"drop {into.helpers} in {into.database}, with the notes of rejected {what}",
        action=into.model_copy(update={"does": "clear"}),
    )
