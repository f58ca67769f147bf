"""Has somebody else changed the table? Before a run, and once more before the swap."""

from tasks.engines.mysql.inspect import inspect
from tasks.engines.mysql.session import MariaSession
from tasks.model.catalogue import Catalogue
from tasks.model.catalogue_difference import compare
from tasks.model.errors import DataChanged, DriftError
from tasks.model.names import OWN_PREFIX
from tasks.model.plan import Plan


def refuse_drift(conn: MariaSession, plan: Plan) -> None:
    """Raise DriftError when the table is not what the plan was made for."""
    _refuse(plan, inspect(conn, plan.tables), DataChanged.NO)


def refuse_drift_since(conn: MariaSession, plan: Plan) -> None:
    """Raise DriftError when more has changed than the plan has done up to the gate: its triggers."""
    now = inspect(conn, plan.tables)
    kept = tuple(
        table.model_copy(update={"triggers": tuple(t for t in table.triggers if not t.name.startswith(OWN_PREFIX))})
        for table in now.tables
    )
    _refuse(plan, now.model_copy(update={"tables": kept}), DataChanged.PARTIALLY)


def _refuse(plan: Plan, now: Catalogue, changed: DataChanged) -> None:
    differences = compare(plan.catalogue, now)
    if differences:
        raise DriftError(
            "the catalogue has changed since the plan was made: " + "; ".join(differences[:10]),
            where=", ".join(plan.tables),
            hint="Undo that change, or roll back and plan again.",
            changed=changed,
        )
