"""drop_type: at contract, after the columns that had it."""

from collections.abc import Sequence

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.spec_draft import SpecDraft
from tasks.engines.postgresql.planning.types import dependents, find_type, nothing_uses, of_kind, old_columns
from tasks.model.errors import PreflightError
from tasks.model.operations import DropType
from tasks.model.plan import Requirement
from tasks.model.steps import Phase, ShortTransaction, Step


def draft_drop_type(op: DropType, whole: SpecDraft, drafts: Sequence[TableDraft], where: str) -> Requirement:
    """Refuse what is used beyond the columns that this spec drops or alters; called once all of them are known."""
    found = find_type(whole, op.name, where)
    of_kind(found, where, "enum", "domain")
    versions = sorted(whole.versions)
    users = whole.conn.execute(
        dependents(found.quoted, old_columns(drafts, swapped=False), versions).encode()
    ).fetchall()
    # What the operations have tried on the twins is no use by others.
    others = [row[0] for row in users if "_changeover_" not in row[0]]
    if others:
        raise PreflightError(
            f"the type {found.full_name} is used by: {', '.join(others[:5])}",
            where=where,
            hint="Give these another type, by alter_column in this spec, or drop them first.",
        )
    whole.last_steps.append(
        Step(
            key=f"contract/{found.full_name}/drop type",
            phase=Phase.CONTRACT,
            title=f"drop the {found.kind} {found.full_name}",
            undo="nothing: this is the point of no return",
            action=ShortTransaction(
                forward=(f"drop {'domain' if found.kind == 'domain' else 'type'} if exists {found.quoted}",)
            ),
        )
    )
    return nothing_uses(found, "after_swap", old_columns(drafts, swapped=True), versions)
