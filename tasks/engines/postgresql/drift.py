"""Has somebody else changed the tables? Before a run, and once more before the rules of the new shape hold."""

from tasks.engines.drift import refuse_difference
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.inspect import inspect, types
from tasks.model.catalogue import Dependent, Table
from tasks.model.errors import DataChanged
from tasks.model.names import OWN_TRIGGERS
from tasks.model.plan import Plan
from tasks.model.steps import ConcurrentIndex, Phase, ShortTransaction


def refuse_drift(conn: Connection, plan: Plan) -> None:
    """Raise DriftError when the tables, or the types of their columns, are not what the plan was made for."""
    if plan.tables:
        now = inspect(conn, list(plan.tables), plan.search_path)
        refuse_difference(plan, now, DataChanged.NO, types=types(conn, tables=plan.tables))


def refuse_drift_since(conn: Connection, plan: Plan) -> None:
    """Raise DriftError when more has changed than the plan has done up to the gate.

    An index or a constraint that somebody added meanwhile would stay behind on a column that is replaced. The
    author's own SQL may change anything, so a plan with some is not looked at.
    """
    if plan.tables and not any(step.authored for step in plan.steps):
        now = inspect(conn, list(plan.tables), plan.search_path)
        stripped = now.model_copy(update={"tables": tuple(_without_ours(table, plan) for table in now.tables)})
        refuse_difference(plan, stripped, DataChanged.PARTIALLY)


def _without_ours(table: Table, plan: Plan) -> Table:
    """Leave out what the phases before CONSTRAIN have added, and a unique index that a killed run has not recorded."""
    new = {column for addition in plan.additions if addition.table == table.full_name for column in addition.columns}
    built = {
        step.action.name
        for step in plan.steps
        if isinstance(step.action, ConcurrentIndex)
        and step.action.build_on == "forward"
        and step.key.split("/")[1] == table.full_name
    }
    return table.model_copy(
        update={
            "columns": tuple(c for c in table.columns if c.name not in new),
            "indexes": tuple(i for i in table.indexes if i.name not in built),
            "triggers": tuple(t for t in table.triggers if not t.name.startswith(OWN_TRIGGERS)),
            "constraints": tuple(c for c in table.constraints if not _on_new(c.columns, new)),
            "dependents": tuple(d for d in table.dependents if not _shown_by(d, plan, table)),
            "inbound": tuple(k for k in table.inbound if not _made(k.name, plan)),
        }
    )


def _shown_by(dependent: Dependent, plan: Plan, table: Table) -> bool:
    """Tell whether it is a view of ours, a default of one, or built on one: the gates ask about the last."""
    if plan.version is not None and dependent.name.startswith(f"{plan.version}."):
        return True
    prefixes = tuple(f"{phase}/{table.full_name}/view " for phase in (Phase.EXPAND, Phase.INDEX))
    views = {step.key.partition("/view ")[2] for step in plan.steps if step.key.startswith(prefixes)}
    of_a_view = dependent.kind == "default" and any(dependent.name.startswith(f"{view}.") for view in views)
    return of_a_view or dependent.name in views or dependent.through in views


def _on_new(columns: tuple[str, ...], new: set[str]) -> bool:
    return bool(columns) and set(columns) <= new


def _made(constraint: str, plan: Plan) -> bool:
    """Tell whether a table that the plan creates has this foreign key."""
    quoted = f'constraint "{constraint}" '
    return any(
        quoted in statement
        for step in plan.phase(Phase.EXPAND)
        if step.key.endswith("/create") and isinstance(step.action, ShortTransaction)
        for statement in step.action.forward
    )
