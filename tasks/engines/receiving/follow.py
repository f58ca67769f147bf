"""Carry what was written to the source since the copy began: every row that is noted becomes what it is there now."""

import time
from collections.abc import Callable
from typing import Final

from profiles.model import Limits
from tasks.engines.batches import copied, next_size
from tasks.engines.receiving.source import ManifoldReading, NotedReading
from tasks.engines.records import FIRST_ROWS
from tasks.model.base import Record
from tasks.model.transfer_steps import Transfer

MOST: Final = 20_000
"""Notes at a time, or about as many rows, where a note tells of several."""
CARRIED: Final = -1
"""The shard under which the account has what was carried."""


class Carried(Record):
    """What came of one bite."""

    notes: int
    rows: int = 0
    """What they have become."""
    upto: int = 0
    """The number of the last of these notes."""
    more: bool = False
    """There may be more to do."""


def follow(
    reading: NotedReading,
    action: Transfer,
    limits: Limits,
    between: Callable[[int], int | None],
    bite: Callable[[int], Carried],
    *,
    own: bool,
) -> int:
    """Carry bite by bite what is noted now, and return how many notes were dealt with.

    The end is fixed at the start, so it comes however fast applications write: what is noted meanwhile is left.
    `between` is called before each with its size; it may wait, raise Paused, or return another. `bite` carries so many,
    in transactions of its own. `own`: nobody else has the table yet; else applications may wait for a row of it.
    """
    reading.catch_up(action)
    last, total = reading.last_note(action), 0
    each = reading.rows_of_note(action) if last and isinstance(reading, ManifoldReading) else 1.0
    size, most = (max(1, int(rows / each)) for rows in (FIRST_ROWS, MOST))
    while last:
        size = min(between(size) or size, most)
        started = time.monotonic()
        carried = bite(size)
        total += carried.notes
        if not carried.more or carried.upto >= last:
            break
        took = time.monotonic() - started
        size = copied(size, took, limits, most) if own else min(next_size(size, took * 1000, limits), most)
        if carried.rows > MOST:
            # Time alone tells of this only when it has been taken.
            size = max(1, min(size, carried.notes * MOST // carried.rows))
    return total
