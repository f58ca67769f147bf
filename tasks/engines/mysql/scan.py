"""Count the values that a policy may touch, before anything is done, with the very SQL that will copy them."""

from collections.abc import Sequence

from tasks.engines.mysql.key_ranges import condition
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.transfer_rows import Reading, inner, policy_of
from tasks.engines.receiving.scan import examine
from tasks.engines.records import Key
from tasks.model.plan import Plan
from tasks.model.status import GateResult
from tasks.model.transfer_steps import RowTransfer, TransferColumn


def examine_values(conn: MariaSession, plan: Plan) -> GateResult:
    """Return a result for each column whose values may not fit. Reads the table once, in ranges of its key."""
    action = next(step.action for step in plan.steps if isinstance(step.action, RowTransfer))

    def counting(doubtful: Sequence[TransferColumn], low: Key | None, high: Key | None) -> list[int]:
        # The first reason of a value is the one that counts.
        counted = [
            f"case {''.join(f'when {m.when} then {int(m is misfit)} ' for m in one.misfits)} else 0 end"
            for one in doubtful
            for misfit in one.misfits
        ]
        listed = ", ".join(f"coalesce(sum({sql}), 0)" for sql in counted)
        rows = inner(action, condition(action, low, high))
        return [int(value) for value in conn.execute(f"select count(*), {listed} from ({rows}) as r").fetchone()]

    return examine(Reading(conn), action, counting, policy_of)
