"""rename_constraint: at the swap, after everything else; a rollback renames it back before everything else."""

from tasks.engines.postgresql.planning.checks.require import existing_constraint, free_constraint, free_relation
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.move import Move
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations import RenameConstraint


def draft_rename_constraint(op: RenameConstraint, draft: TableDraft, where: str) -> None:
    """Rename it, and with it the index of a unique constraint or of a primary key."""
    letter, _ = existing_constraint(draft, op.from_, where)
    if letter == "t":
        raise SpecError(
            f"{op.from_} is a constraint trigger", where=where, hint="Use sql, with alter trigger in up and in down."
        )
    free_constraint(draft, op.to, f"{where}.to")
    if letter in "pux":
        free_relation(draft, op.to, f"{where}.to")
    draft.renamed_constraints[op.from_] = op.to
    draft.last.append(Move(forward=(_rename(draft, op.from_, op.to),), inverse=(_rename(draft, op.to, op.from_),)))


def _rename(draft: TableDraft, old: str, new: str) -> str:
    return draft.alter(f"rename constraint {quote(old)} to {quote(new)}")
