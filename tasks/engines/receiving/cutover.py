"""The swap beside writers: the source is held still, the last notes are carried, and the table is put in its place.

Everything that can be done before is done before. What is done while writers wait has the lock budget, all together;
what does not fit is given up, and tried again after the writers have had their turn.
"""

import random
import time
from collections.abc import Callable
from typing import Any, Final

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.receiving.source import NotedRows, Notes, Standstill
from tasks.model.errors import DataChanged, LockTimeoutError
from tasks.model.transfer_steps import Transfer

FEW: Final = 200
"""As many notes may be left for the lock; more are carried before it. Fewer, where they have taken too long."""
_FEWEST: Final = 10


class NotYet(Exception):  # noqa: N818 - not an error: the writers have the next turn
    """It has to wait, and why."""


class TooLong(NotYet):
    """What was done under the lock has not fitted into the budget."""


def cut_over(
    notes: Notes | None,
    source: NotedRows,
    action: Transfer,
    limits: Limits,
    journal: Journal,
    followed: Callable[[Any], int],
    within: Callable[[Any, Standstill, int], None],
) -> None:
    """Carry what is left and put the table in its place, while nobody can write to the table of the source.

    `followed` carries what is noted now, and returns how many notes; `within` does the rest, with so many notes at
    most, and records it; it raises NotYet where it has to wait. `notes` are in the target, where a stream tells of
    writes.

    The table may be in its place already, and the transaction that should have recorded it failed. Until that is
    recorded, the rows of the source are the truth, and are carried. Where the source cannot be held still, nobody waits
    for that: there is no last one of them, and it may take long to ask.

    Locks: writers of the source, within the lock budget; readers do not notice. Raises LockTimeoutError when it does
    not come to its end within the patience; then the table is as before, and the notes are kept.
    """
    deadline: float | None = None
    few = FEW
    while True:
        with (
            source.reading_notes(action, "swap", notes) as reading,
            source.standstill(action, limits.lock_budget) as standstill,
        ):
            before: int | None = None
            # Each round is shorter than the one before it, unless more is written than can be carried.
            while (left := followed(reading)) > few and not (before is not None and left >= before):
                before = left
            deadline = deadline or time.monotonic() + limits.lock_patience
            try:
                within(reading, standstill, few)
            except NotYet as reason:
                why = reason
            else:
                return
        few = max(few // 2, _FEWEST) if isinstance(why, TooLong) else min(few * 2, FEW)
        if time.monotonic() >= deadline:
            raise LockTimeoutError(
                f"{action.table} could not be held still within {limits.lock_patience:g} s: {why}",
                where=f"{action.into.database}: {action.into.full_name}",
                hint="End the session that blocks, or run again when less is written: where one transaction that writes"
                " always overlaps the next, there is no moment for it.",
                changed=DataChanged.PARTIALLY,
            )
        journal.waiting(str(why))
        time.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - spreads load, guards nothing
