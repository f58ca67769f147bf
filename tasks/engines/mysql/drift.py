"""Has somebody else changed the table? Before a run, and once more before the swap."""

from tasks.engines.drift import refuse_difference
from tasks.engines.mysql.inspect import inspect
from tasks.engines.mysql.session import MariaSession
from tasks.model.catalogue import Catalogue, Table
from tasks.model.catalogue_difference import compare
from tasks.model.errors import DataChanged, DriftError
from tasks.model.names import OWN_PREFIX
from tasks.model.plan import Plan


def refuse_drift(conn: MariaSession, plan: Plan) -> None:
    """Raise DriftError when the table is not what the plan was made for."""
    refuse_difference(plan, inspect(conn, plan.tables), DataChanged.NO)


def refuse_drift_since(conn: MariaSession, plan: Plan) -> None:
    """Raise DriftError when more has changed than the plan has done up to the gate: its triggers."""
    now = inspect(conn, plan.tables)
    kept = tuple(_without_ours(table) for table in now.tables)
    refuse_difference(plan, now.model_copy(update={"tables": kept}), DataChanged.PARTIALLY)


def refuse_other_shape(conn: MariaSession, wanted: Table, name: str) -> None:
    """Raise DriftError when the table that has this name now is not what the plan was made for."""
    found = _without_ours(inspect(conn, [name]).tables[0]).model_copy(update={"name": wanted.name})
    differences = compare(_only(wanted), _only(found))
    if differences:
        raise DriftError(
            "the table has changed since the plan was made: " + "; ".join(differences[:10]),
            where=wanted.full_name,
            hint="Undo that change and run again, or roll back and plan again.",
            changed=DataChanged.PARTIALLY,
        )


def _only(table: Table) -> Catalogue:
    return Catalogue(engine="mysql", version="", tables=(table,))


def _without_ours(table: Table) -> Table:
    return table.model_copy(update={"triggers": tuple(t for t in table.triggers if not t.name.startswith(OWN_PREFIX))})
