"""In which order tables are locked: always the same, so that nobody waits for somebody who waits for him."""

from collections.abc import Sequence

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.move import Restriction
from tasks.model.names import quote
from tasks.model.steps import Lock, LockMode


def unique(locks: Sequence[Lock], ahead: Sequence[str] = ()) -> tuple[Lock, ...]:
    """One lock a table, the strongest, in the order of the names: every run locks in the same order.

    Tables that are `ahead` come first, in their order: that in which applications lock what is kept in step.
    """
    strength = list(LockMode)
    strongest: dict[str, Lock] = {}
    for lock in locks:
        held = strongest.get(lock.table)
        if held is None or strength.index(lock.mode) > strength.index(held.mode):
            strongest[lock.table] = lock
    first = [table for table in dict.fromkeys(ahead) if table in strongest]
    return tuple(strongest[table] for table in (*first, *sorted(strongest.keys() - {*first})))


def in_order(locks: Sequence[Lock], drafts: Sequence[TableDraft]) -> tuple[tuple[Lock, ...], tuple[Lock, ...]]:
    """Return the locks of the swap and of its way back: views before the tables below them, as everybody locks.

    The view of a renamed table has the new name before the swap and the old one after it.
    """
    renamed = sorted((d.real, d.real_after) for d in drafts if d.renamed_to is not None)
    rest = unique(locks, [table for draft in drafts for table in draft.lock_order])

    def first(names: list[str]) -> tuple[Lock, ...]:
        views = tuple(Lock(table=name, mode=LockMode.ACCESS_EXCLUSIVE) for name in names)
        return (*views, *(lock for lock in rest if lock.table not in names))

    after = dict(renamed)
    there = first([name for _, name in renamed])
    back = first([name for name, _ in renamed])
    tables = tuple(Lock(table=after[lock.table], mode=lock.mode) for lock in rest if lock.table in after)
    shown = tuple(lock for draft in drafts for lock in draft.view_locks)
    return (*shown, *there), (*shown, *back, *tables)


def to_drop(restrictions: Sequence[Restriction]) -> list[Lock]:
    """Return the locks on other tables that dropping takes: harder than adding, for triggers go from the parent."""
    return [Lock(table=lock.table, mode=LockMode.ACCESS_EXCLUSIVE) for r in restrictions for lock in r.other_locks]


def alone(view: str, schema: str) -> Lock:
    """Lock a view, quoted and qualified, that is to be dropped: LOCK TABLE would lock the tables that it reads, too."""
    by = f"alter view if exists {view} set schema {quote(schema)}"
    return Lock(table=view, mode=LockMode.ACCESS_EXCLUSIVE, by=by)
