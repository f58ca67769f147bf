"""Has somebody else changed the table? Before a run, and once more before the swap."""

from tasks.engines.drift import refuse_difference
from tasks.engines.mysql.inspect import inspect
from tasks.engines.mysql.session import MariaSession
from tasks.model.errors import DataChanged
from tasks.model.names import OWN_PREFIX
from tasks.model.plan import Plan


def refuse_drift(conn: MariaSession, plan: Plan) -> None:
    """Raise DriftError when the table is not what the plan was made for."""
    refuse_difference(plan, inspect(conn, plan.tables), DataChanged.NO)


def refuse_drift_since(conn: MariaSession, plan: Plan) -> None:
    """Raise DriftError when more has changed than the plan has done up to the gate: its triggers."""
    now = inspect(conn, plan.tables)
    kept = tuple(
        table.model_copy(update={"triggers": tuple(t for t in table.triggers if not t.name.startswith(OWN_PREFIX))})
        for table in now.tables
    )
    refuse_difference(plan, now.model_copy(update={"tables": kept}), DataChanged.PARTIALLY)
