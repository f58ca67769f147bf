"""Look at every document before anything is done, with the very code that will copy it."""

import time
from collections import Counter
from collections.abc import Iterator

from pymongo.errors import OperationFailure

from tasks.engines.before_run import GATE
from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.errors import code_of, is_transient
from tasks.engines.mongodb.rows import ready
from tasks.engines.mongodb.rows.shape import CONSTANT, DOCUMENT, NO_COLUMN, Shape
from tasks.engines.mongodb.rows.together import Together
from tasks.engines.records import Line
from tasks.model.plan import Plan
from tasks.model.status import CheckResult, GateResult
from tasks.model.transfer import ID
from tasks.model.transfer_steps import POSITION, RowTransfer

_FIELDS = 50
"""Fields without a column that are counted by name."""
_OTHERS = "other fields"
_DONE = {
    "fail": "nothing says what becomes of them: give `unfit`, `nulls` or another type, or choose by `where`",
    "reject": "their rows are left out",
    "null": "they become NULL",
    "string": "they become text",
    "tag": "they become extended JSON",
}
_UNMAPPED = "give it a column, name it in `omit`, or let `rest` take it"
_PARENT = (
    "fields of it have columns: let `rest` take it, choose by `where` or, where it is null or empty, give all of these"
    " columns `nulls: both`"
)


def examine_documents(database: Documents, plan: Plan) -> GateResult:
    """Return a result for each column, and for each field that has none. Reads every document once."""
    action = next(step.action for step in plan.steps if isinstance(step.action, RowTransfer))
    try:
        return GateResult(gate=GATE, checks=tuple(_checks(database, action)))
    except OperationFailure as error:
        if is_transient(error):
            raise
        why = f"an expression fails on a document that exists: {code_of(error)}"
        failed = CheckResult(name="every document can be read", passed=False, evaluated=True, message=why)
        return GateResult(gate=GATE, checks=(failed,))


def _checks(database: Documents, action: RowTransfer) -> Iterator[CheckResult]:
    started = time.monotonic()
    shape, together = Shape(action, counting=True), Together(action, counting=True)
    columns = [one.name for one in action.columns if one.source_type != CONSTANT]
    found: dict[str, Counter[tuple[str, str]]] = {name: Counter() for name in columns}
    unmapped: dict[str, Counter[tuple[str, str]]] = {}
    read = 0
    for some in ready.read(database, action, {}):
        if isinstance(some, Line):
            # Of what is plain there is nothing to tell.
            read += some.rows
            continue
        read += len(some)
        for these, made in together.lines(some):
            for one in () if made is not None else (touched for raw in these for touched in shape.row(raw).touched):
                if one.reason == NO_COLUMN:
                    name = one.field if one.field in unmapped or len(unmapped) < _FIELDS else _OTHERS
                    unmapped.setdefault(name, Counter())[one.policy, one.reason] += 1
                else:
                    found.setdefault(one.field, Counter())[one.policy, one.reason] += 1
    place = next((one.name for one in action.columns if one.expression == POSITION), None)
    array = f"choose documents by `where: {{{'.'.join(action.unnest)}: {{$type: array}}}}`"
    took = (time.monotonic() - started) / max(len(found) + len(unmapped), 1)
    for name, counts in found.items():
        told = "every document can be read" if name == DOCUMENT else f"values of {name} fit"
        yield _result(
            told if name != ID or ID in columns else f"{ID} becomes the key",
            counts,
            read,
            took,
            array if name == place else "",
        )
    for name, counts in unmapped.items():
        parent = any(one.expression.startswith(f"{name}.") for one in action.columns)
        yield _result(f"the field {name} has a column", counts, read, took, _PARENT if parent else _UNMAPPED)


def _result(name: str, counts: Counter[tuple[str, str]], read: int, took: float, remedy: str) -> CheckResult:
    total = counts.total()
    reasons = ", ".join(f"{count:,} × {reason}" for (_, reason), count in counts.most_common())
    policies = dict.fromkeys(policy for policy, _ in counts)
    done = remedy or "; ".join(_DONE[policy] for policy in policies)
    return CheckResult(
        name=name,
        passed=total == 0,
        evaluated=True,
        unexpected=total,
        message=f"{reasons}; {done}" if total else f"all of {read:,} documents",
        seconds=took,
        severity="error" if "fail" in policies else "warning",
    )
