"""drop_multicolumn_constraint: as drop_constraint, with expressions for several columns."""

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.operations.drop_constraint import drop, droppable
from tasks.engines.postgresql.planning.restrictions.conversions import Places
from tasks.model.errors import SpecError
from tasks.model.operations import DropMulticolumnConstraint


def draft_drop_multicolumn_constraint(op: DropMulticolumnConstraint, draft: TableDraft, where: str) -> Places:
    """Drop it; columns with other values in either direction go through new columns."""
    found = droppable(draft, op.name, where)
    up, down = op.up or {}, op.down or {}
    for direction, expressions in (("up", up), ("down", down)):
        for column in expressions:
            if column not in found.columns:
                raise SpecError(
                    f"{op.name} does not cover the column {column}",
                    where=f"{where}.{direction}.{column}",
                    hint=f"It covers {', '.join(found.columns)}; convert any other column with alter_column.",
                )
    return drop(draft, found, (up, down), where, lossy=op.lossy)
