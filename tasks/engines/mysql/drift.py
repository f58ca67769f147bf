"""Has somebody else changed the table? Before a run, and once more before the swap."""

from collections.abc import Iterable

from tasks.engines.drift import refuse_difference
from tasks.engines.mysql.inspect import inspect
from tasks.engines.mysql.planning.foreign_keys import follow
from tasks.engines.mysql.session import MariaSession
from tasks.model.catalogue import Catalogue, Table
from tasks.model.catalogue_difference import compare
from tasks.model.errors import DataChanged, DriftError
from tasks.model.names import OWN_PREFIX
from tasks.model.plan import Plan
from tasks.model.steps import Phase, SelfCommitting


def refuse_drift(conn: MariaSession, plan: Plan) -> None:
    """Raise DriftError when the table is not what the plan was made for."""
    refuse_difference(plan, inspect(conn, plan.tables), DataChanged.NO)


def refuse_drift_since(conn: MariaSession, plan: Plan) -> None:
    """Raise DriftError when more has changed than the plan has done up to the gate: its triggers."""
    now = inspect(conn, plan.tables)
    kept = tuple(_without_ours(table) for table in now.tables)
    swapped = {
        step.action.given.full_name: step.action.given
        for step in plan.phase(Phase.SWAP)
        if isinstance(step.action, SelfCommitting) and step.action.given is not None
    }
    wanted = (swapped.get(table.full_name, table) for table in plan.catalogue.tables)
    plan = plan.model_copy(update={"catalogue": _in_order(plan.catalogue, wanted)})
    refuse_difference(plan, _in_order(now, kept), DataChanged.PARTIALLY)


def refuse_other_shape(conn: MariaSession, wanted: Table, name: str) -> None:
    """Raise DriftError when the table that has this name now is not what the plan was made for."""
    found = follow(_without_ours(inspect(conn, [name]).tables[0]), wanted.name)
    differences = compare(_only(wanted), _only(found))
    if differences:
        raise DriftError(
            "the table has changed since the plan was made: " + "; ".join(differences[:10]),
            where=wanted.full_name,
            hint="Undo that change and run again, or roll back and plan again.",
            changed=DataChanged.PARTIALLY,
        )


def _only(table: Table) -> Catalogue:
    return _in_order(Catalogue(engine="mysql", version="", tables=()), (table,))


def _in_order(catalogue: Catalogue, tables: Iterable[Table]) -> Catalogue:
    """Return the catalogue with these tables, and constraints in the order of their names: what is renamed moves."""
    sorted_ = (
        one.model_copy(
            update={
                "constraints": tuple(sorted(one.constraints, key=lambda c: c.name)),
                "inbound": tuple(sorted(one.inbound, key=lambda key: (key.table, key.name))),
            }
        )
        for one in tables
    )
    return catalogue.model_copy(update={"tables": tuple(sorted_)})


def _without_ours(table: Table) -> Table:
    return table.model_copy(update={"triggers": tuple(t for t in table.triggers if not t.name.startswith(OWN_PREFIX))})
