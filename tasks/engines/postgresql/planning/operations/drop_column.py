"""drop_column: the column stays, fed by `down`, until `contract`."""

from tasks.engines.postgresql.planning.checks.require import existing_column, fillable
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.shape import Retired
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations import DropColumn
from tasks.model.plan import Finding


def draft_drop_column(op: DropColumn, draft: TableDraft, where: str) -> None:
    """Retire the column. New applications need not write it, so its NOT NULL is lifted at the swap."""
    column = existing_column(draft, op.column, where)
    fillable(op, column, where)
    for index in draft.table.indexes:
        if index.primary and op.column in index.columns:
            raise SpecError(
                f"{op.column} belongs to the primary key",
                where=where,
                hint="Give the table another key first.",
            )
        if op.column in index.referenced:
            draft.findings.append(
                Finding(
                    rule="SAF-02",
                    severity="warning",
                    message=f"index {index.name} disappears with the column when the migration is contracted",
                    where=f"{draft.full_name}.{op.column}",
                )
            )
    draft.rehearsal.try_on_new(
        f"alter table {{table}} drop column {quote(op.column)}",
        where,
        "Drop what reads it in a migration of its own first: a generated column, for example.",
    )
    draft.shape.dropped.add(op.column)
    draft.touched.add(op.column)
    draft.contract.append(f"drop column if exists {quote(op.column)}")
    if op.down:
        draft.shape.retired.append(
            Retired(
                name=op.column,
                before=op.column,
                after=op.column,
                type=column.type,
                down=op.down,
                sources=(),
                lossy=op.lossy,
                not_null=not column.nullable,
            )
        )
        draft.restore_not_null(column)
        draft.relax(column, after=op.column)
