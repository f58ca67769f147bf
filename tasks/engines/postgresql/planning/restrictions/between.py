"""What changes of constraints cannot stand beside other changes of the same spec, seen once all of it is known."""

from collections.abc import Mapping

from tasks.engines.postgresql.planning.checks.require import existing_constraint
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.model.errors import PreflightError


def between_constraints(drafts: Mapping[str, TableDraft]) -> None:
    """Refuse foreign keys whose other side changes, and names of constraints that do not stay where they are."""
    for draft in drafts.values():
        _new_foreign_keys(draft, drafts)
        _moved_foreign_keys(draft, drafts)
        _renamed(draft)


def _new_foreign_keys(child: TableDraft, drafts: Mapping[str, TableDraft]) -> None:
    """A foreign key is added before the swap: it would point to what goes then."""
    for key in child.late_references:
        parent = next((draft for draft in drafts.values() if draft.real == key.parent), None)
        if parent is None:
            continue
        changed = set(key.reference.columns) & parent.touched
        resting = [
            c.name for c in parent.table.constraints
            if c.name in parent.dropped_constraints and set(c.columns) == set(key.reference.columns)
        ]  # fmt: skip
        if changed or resting:
            raise PreflightError(
                f"the new foreign key {key.name} refers to {', '.join(sorted(changed) or resting)}"
                f" of {parent.full_name}, which this spec changes or drops",
                where=key.where,
                hint="Add the foreign key in a migration of its own, afterwards.",
            )


def _moved_foreign_keys(parent: TableDraft, drafts: Mapping[str, TableDraft]) -> None:
    """The foreign keys that point to an altered column move with it, under their own names."""
    for key in parent.table.inbound:
        child = drafts.get(key.table)
        if child is None or not set(key.referenced_columns) & parent.altered.keys():
            continue
        if key.name in child.dropped_constraints or key.name in child.renamed_constraints:
            raise PreflightError(
                f"the foreign key {key.name} of {child.full_name} points to a column that this spec alters",
                where=child.full_name,
                hint="Drop or rename the foreign key in a migration of its own first.",
            )


def _renamed(draft: TableDraft) -> None:
    gone = draft.shape.dropped - draft.altered.keys() - draft.renamed.keys()
    for name in draft.renamed_constraints:
        letter, columns = existing_constraint(draft, name, draft.full_name)
        # The NOT NULL of an altered column is another than that of the old one.
        moved = set(columns) & (gone | draft.altered.keys() if letter == "n" else gone)
        if moved:
            raise PreflightError(
                f"the constraint {name}, which is to be renamed, is on {', '.join(sorted(moved))},"
                " which this spec alters or drops",
                where=draft.full_name,
                hint="Rename the constraint in a migration of its own.",
            )
