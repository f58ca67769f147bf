"""rename_table beside other operations on the table: the name is exchanged at the very end.

Until then the table keeps its name, and everything that is planned on it holds as ever. A view has the new name: from
the backfill on it shows the new shape, and follows its columns through the swap. `contract` drops it, when the old
shape is gone, and gives its name to the table, in one transaction: whoever waits for one finds the other.
"""

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.operations.rename_table import (
    create_view,
    findings,
    refuse_rename,
    try_view,
    view_stands_alone,
)
from tasks.engines.postgresql.planning.versions import followed, new_columns, new_defaults
from tasks.model.errors import PreflightError
from tasks.model.names import quote
from tasks.model.operations import RenameTable
from tasks.model.steps import Lock, LockMode, Phase, ShortTransaction, Step


def draft_rename_last(op: RenameTable, draft: TableDraft, where: str) -> None:
    """Note the name; the view is planned when both shapes are known."""
    refuse_rename(op, draft, where)
    view = f"{quote(draft.table.schema_name)}.{quote(op.to)}"
    today = {column.name: column.name for column in draft.table.columns}
    try_view(draft, tuple(create_view(draft, view, today, {})), view, where)
    draft.renamed_last = op.to
    draft.findings += findings(draft)


def show_new_shape(draft: TableDraft, where: str | None) -> None:
    """Show the new shape under the new name, let it follow the swap, and end with the table itself there.

    `where` the spec gives the name; None: nowhere.
    """
    if where is None:
        return
    changes = bool(draft.shape.targets or draft.shape.retired)
    if (changes or draft.added) and any(column.grants for column in draft.table.columns):
        raise PreflightError(
            f"{draft.full_name} has privileges on single columns, which a view of other columns cannot have",
            where=where,
            hint="Rename the table in a migration of its own.",
        )
    schema = draft.table.schema_name
    view = f"{quote(schema)}.{quote(draft.last_name)}"
    columns = _in_last_order(draft)
    create = tuple(create_view(draft, view, columns, _defaults(draft)))
    draft.spec.steps.append(
        Step(
            key=f"index/{draft.full_name}/view {schema}.{draft.last_name}",
            phase=Phase.INDEX,
            title=f"show the new shape of {draft.full_name} as {schema}.{draft.last_name}, an updatable view",
            undo="drop the view",
            action=ShortTransaction(forward=create, inverse=(f"drop view if exists {view}",)),
        )
    )
    if changes:
        swapped = new_columns(draft, swapped=True)
        draft.swap(
            forward=followed(schema, draft, {name: swapped[name] for name in columns}),
            inverse=(f"drop view if exists {view}",),
        )
        draft.view_locks.append(Lock(table=view, mode=LockMode.ACCESS_EXCLUSIVE))
    draft.spec.last_steps.append(
        Step(
            key=f"contract/{draft.full_name}/name {schema}.{draft.last_name}",
            phase=Phase.CONTRACT,
            title=f"give {draft.full_name} its new name, {schema}.{draft.last_name}, in place of the view",
            undo="nothing: this is the point of no return",
            action=ShortTransaction(
                locks=(Lock(table=view, mode=LockMode.ACCESS_EXCLUSIVE), draft.exclusive),
                forward=(
                    f"drop view {view}",
                    f"alter table {draft.real} rename to {quote(draft.last_name)}",
                ),
            ),
        )
    )
    draft.requirements += [view_stands_alone(draft, "after_swap"), view_stands_alone(draft, "before_rollback")]


def _in_last_order(draft: TableDraft) -> dict[str, str]:
    """Map the new shape to physical columns in the order that they have in the end, for those who select `*`."""
    physical, lasting = new_columns(draft, swapped=False), draft.lasting
    order = {name: place for place, name in enumerate((*draft.shape.columns, *draft.added))}
    return {name: physical[name] for name in sorted(physical, key=lambda one: order[lasting[one]])}


def _defaults(draft: TableDraft) -> dict[str, str]:
    """Those of the new shape, which new applications have at once; of a copy, the original's count."""
    filled = {target.name for target in draft.shape.targets}
    generated = {column.name for column in draft.table.columns if column.generated is not None}
    found = {}
    for name in new_columns(draft, swapped=False):
        _, default = draft.rehearsal.new_column(name)
        if default is not None and name not in filled | generated:
            found[name] = default
    return found | new_defaults(draft)
