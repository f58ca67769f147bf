"""Look at every value that a policy may touch, before anything is done, with the very SQL that will copy it."""

import time
from collections import Counter
from collections.abc import Iterator

from tasks.engines.before_run import GATE
from tasks.engines.mysql.key_ranges import condition, end_of_batch
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.transfer_rows import inner, policy_of
from tasks.engines.records import Key
from tasks.model.plan import Plan
from tasks.model.status import CheckResult, GateResult
from tasks.model.transfer_steps import RowTransfer, TransferColumn

ROWS = 20_000
"""Rows at a time: each statement is one snapshot, and short."""
_DONE = {
    "fail": "nothing says what becomes of them: give `unfit`, or another type or expression",
    "reject": "their rows are left out",
    "null": "they become NULL",
}

_NOT_NOTED = "no row with U+0000 in its key can be noted: correct them, or leave them out by `where`"


def examine_values(conn: MariaSession, plan: Plan) -> GateResult:
    """Return a result for each column whose values may not fit. Reads the table once, in ranges of its key."""
    action = next(step.action for step in plan.steps if isinstance(step.action, RowTransfer))
    doubtful = [one for one in action.columns if one.misfits]
    return GateResult(gate=GATE, checks=tuple(_values(conn, action, doubtful)) if doubtful else ())


def _values(conn: MariaSession, action: RowTransfer, doubtful: list[TransferColumn]) -> Iterator[CheckResult]:
    started = time.monotonic()
    found: dict[str, Counter[str]] = {one.name: Counter() for one in doubtful}
    # The first reason of a value is the one that counts.
    counted = [
        (
            one.name,
            misfit.reason,
            f"case {''.join(f'when {m.when} then {int(m is misfit)} ' for m in one.misfits)} else 0 end",
        )
        for one in doubtful
        for misfit in one.misfits
    ]
    listed = ", ".join(f"coalesce(sum({sql}), 0)" for _, _, sql in counted)
    read = 0
    position: Key | None = None
    while True:
        end = end_of_batch(conn, action, position, None, ROWS)
        rows, *sums = _asked(
            conn, f"select count(*), {listed} from ({inner(action, condition(action, position, end))}) as r"
        )
        read += rows
        for (name, reason, _), number in zip(counted, sums, strict=True):
            found[name][reason] += number
        if end is None:
            break
        position = end
    for one in doubtful:
        counts = found[one.name]
        total = counts.total()
        reasons = ", ".join(f"{count:,} × {why}" for why, count in counts.most_common() if count)
        policies = {policy_of(action, one, misfit) for misfit in one.misfits if counts[misfit.reason]}
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


def _asked(conn: MariaSession, query: str) -> tuple[int, ...]:
    return tuple(int(value) for value in conn.execute(query).fetchone())
