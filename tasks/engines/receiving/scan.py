"""Look at every value that a policy may touch, before anything is done, with the very SQL that will copy it."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tasks.engines.before_run import GATE
from tasks.engines.receiving.source import Reading
from tasks.engines.records import Key
from tasks.model.status import CheckResult, GateResult
from tasks.model.transfer_steps import Misfit, RowTransfer, TransferColumn

ROWS: Final = 20_000
"""Rows at a time: each statement is one snapshot, and short."""
_DONE: Final = {
    "fail": "nothing says what becomes of them: give `unfit`, or another type or expression",
    "reject": "their rows are left out",
    "null": "they become NULL",
}
_NOT_NOTED: Final = "no row with U+0000 in its key can be noted: correct them, or leave them out by `where`"

Counting = Callable[[Sequence[TransferColumn], Key | None, Key | None], Sequence[int]]
"""Asks of a range how many rows it has, and for how many values of these columns each reason is the first."""
Policy = Callable[[RowTransfer, TransferColumn, Misfit], str]
"""Tells what becomes of a value."""


def examine(reading: Reading, action: RowTransfer, counting: Counting, policy_of: Policy) -> GateResult:
    """Return a result for each column whose values may not fit. Reads the table once, in ranges of its key."""
    doubtful = [one for one in action.columns if one.misfits]
    checks = tuple(_values(reading, action, doubtful, counting, policy_of)) if doubtful else ()
    return GateResult(gate=GATE, checks=checks)


def _values(
    reading: Reading, action: RowTransfer, doubtful: list[TransferColumn], counting: Counting, policy_of: Policy
) -> Iterator[CheckResult]:
    started = time.monotonic()
    found: dict[str, Counter[str]] = {one.name: Counter() for one in doubtful}
    asked = [(one.name, misfit.reason) for one in doubtful for misfit in one.misfits]
    read = 0
    position: Key | None = None
    while True:
        end = reading.end_of_batch(action, position, None, ROWS)
        rows, *counts = counting(doubtful, position, end)
        read += rows
        for (name, reason), number in zip(asked, counts, strict=True):
            found[name][reason] += number
        if end is None:
            break
        position = end
    for one in doubtful:
        counted = found[one.name]
        total = counted.total()
        reasons = ", ".join(f"{count:,} × {why}" for why, count in counted.most_common() if count)
        policies = {policy_of(action, one, misfit) for misfit in one.misfits if counted[misfit.reason]}
        undecided = one.unfit == "fail" or "fail" in policies
        done = _DONE[one.unfit] if one.unfit == "fail" or not undecided else _NOT_NOTED
        yield CheckResult(
            name=f"values of {one.name} fit",
            passed=total == 0,
            evaluated=True,
            unexpected=total,
            message=f"{reasons}; {done}" if total else f"all of {read:,} rows",
            seconds=(time.monotonic() - started) / len(doubtful),
            severity="error" if undecided else "warning",
        )
