"""drop_column: the column stays, fed by `down`, until `contract`."""

from tasks.engines.postgresql.planning.checks.require import existing_column
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.shape import Retired
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations import DropColumn
from tasks.model.plan import Finding


def draft_drop_column(op: DropColumn, draft: TableDraft, where: str) -> None:
    """Retire the column. New applications need not write it, so its NOT NULL is lifted at the swap."""
    column = existing_column(draft, op.column, where)
    if not op.down and not column.nullable and column.default is None and not column.identity:
        raise SpecError(
            f"{op.column} is NOT NULL without a default: applications that no longer write it would fail",
            where=where,
            hint="Give `down`, an expression that fills it for rows written by the new application.",
        )
    if op.down and (column.identity or column.generated is not None):
        raise SpecError(
            f"{op.column} is {'an identity' if column.identity else 'a generated'} column, which fills itself",
            where=f"{where}.down",
            hint="Leave out `down`.",
        )
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
    draft.rehearsal.try_on_new(f"alter table {{table}} drop column {quote(op.column)}", where)
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
