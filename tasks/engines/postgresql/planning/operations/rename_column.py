"""rename_column: for a while both names exist, each writable, kept in step.

A copy gets the new name first. At the swap the two columns exchange names, so that the original, with all that
is attached to it (constraints, indexes, views, policies, foreign keys), is the one that stays.
"""

from tasks.engines.postgresql.planning.attached.belongings import grants_of
from tasks.engines.postgresql.planning.checks.domains import beneath, silent
from tasks.engines.postgresql.planning.checks.require import existing_column, free_column
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.move import Move
from tasks.engines.postgresql.planning.shape import Retired, Target
from tasks.model.errors import SpecError
from tasks.model.names import own_name, quote
from tasks.model.operations import RenameColumn


def draft_rename_column(op: RenameColumn, draft: TableDraft, where: str) -> None:
    """Add a copy under the new name; exchange the names at the swap; drop the copy when contracted."""
    column = existing_column(draft, op.from_, where)
    free_column(draft, op.to, where)
    if column.generated is not None:
        raise SpecError(f"{op.from_} is a generated column", where=where, hint="Add a generated column instead.")
    old, new = quote(op.from_), quote(op.to)
    draft.rehearsal.try_on_new(f"alter table {{table}} rename column {old} to {new}", where)
    # The copy is filled by dual write alone, on either side of the swap.
    draft.add_column(op.to, column.type, like=column, default=silent(beneath(draft, op.to, where), where))
    draft.expand.append(Move(forward=grants_of(draft.real, op.to, column.grants)))
    draft.shape.dropped.add(op.from_)
    draft.renamed[op.from_] = op.to
    draft.touched.add(op.from_)
    draft.shape.targets.append(Target(name=op.to, before=op.to, after=op.to, type=column.type, up=old, sources=()))
    draft.shape.retired.append(
        Retired(name=op.from_, before=op.from_, after=op.from_, type=column.type, down=new, sources=(), stays_as=op.to)
    )
    exchange = own_name("swap", op.from_)
    draft.swap(
        forward=_exchange(draft.real, op.from_, op.to, exchange),
        inverse=_exchange(draft.real, op.from_, op.to, exchange),
    )
    draft.contract.append(f"drop column if exists {old}")


def _exchange(table: str, first: str, second: str, spare: str) -> tuple[str, ...]:
    return tuple(
        f"alter table {table} rename column {quote(a)} to {quote(b)}"
        for a, b in ((first, spare), (second, first), (spare, second))
    )
