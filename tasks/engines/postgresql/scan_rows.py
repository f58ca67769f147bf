"""Count the values that a policy may touch, before anything is done, with the very SQL that will copy them."""

from collections.abc import Sequence

import psycopg

from tasks.engines.before_run import GATE
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.key_ranges import condition
from tasks.engines.postgresql.rows import Reading, count_of_misfits, inner, prepared
from tasks.engines.postgresql.transient import is_transient
from tasks.engines.receiving import scan
from tasks.engines.records import Key
from tasks.model.plan import Plan
from tasks.model.status import CheckResult, GateResult
from tasks.model.transfer_steps import Misfit, RowTransfer, TransferColumn


def examine_rows(conn: Connection, plan: Plan, action: RowTransfer) -> GateResult:
    """Return a result for each column whose values may not fit. Reads the table once, in ranges of its key.

    Locks: ACCESS SHARE, for the length of each statement.
    """
    prepared(conn, plan.search_path)

    def counting(doubtful: Sequence[TransferColumn], low: Key | None, high: Key | None) -> list[int]:
        query = count_of_misfits(doubtful, inner(action, condition(action, low, high)))
        row = conn.execute(query.encode()).fetchone()
        assert row is not None
        return [int(value) for value in row]

    try:
        return scan.examine(Reading(conn), action, counting, _policy)
    except psycopg.Error as error:
        if is_transient(error):
            raise
        why = f"an expression fails on a row that exists: {error.sqlstate} {type(error).__name__}"
        failed = CheckResult(name="every row can be read", passed=False, evaluated=True, message=why)
        return GateResult(gate=GATE, checks=(failed,))


def _policy(_action: RowTransfer, column: TransferColumn, _misfit: Misfit) -> str:
    """Return what becomes of a value: every key of PostgreSQL can be noted."""
    return column.unfit
