"""The first and the last step of two tables that are kept in step by triggers on both, and their part of the swap."""

from collections.abc import Sequence

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.linked.pair import Pair
from tasks.engines.postgresql.planning.lock_order import unique
from tasks.engines.postgresql.planning.move import Move
from tasks.model.steps import Lock, LockMode, Phase, ShortTransaction, Step


def begin(linked: Pair, tables: tuple[str, str], at: str, what: str) -> Step:
    """Begin to keep `what` in step. Locks: SHARE ROW EXCLUSIVE on both tables; as `end` to undo it.

    In the order of `tables`, which is that of old applications: they write the first, and the second at the commit.
    """
    inverse, ahead = linked.give_up()
    return Step(
        key=f"dual_write/{at} triggers",
        phase=Phase.DUAL_WRITE,
        title=f"keep {what} in step with triggers on both tables",
        undo="drop the triggers, and what they noted",
        action=ShortTransaction(
            locks=_locks(tables, LockMode.SHARE_ROW_EXCLUSIVE),
            forward=linked.create(),
            inverse=inverse,
            inverse_locks=_all_locks(linked, tables),
            inverse_before=ahead,
        ),
    )


def swap(linked: Pair, draft: TableDraft, tables: tuple[str, str]) -> None:
    """Let the swap of the draft carry what waits, under the locks of `begin` to undo it, and in their order."""
    # Undone before anything else of the swap, while both tables are as the applications left them.
    draft.last.append(
        Move(forward=(*linked.outbox.carry_rest(), *linked.functions(swapped=True)), inverse=linked.swap_back())
    )
    draft.drains.append(linked.outbox.drain)
    locks = _all_locks(linked, tables)
    draft.lock_order += [lock.table for lock in locks]
    draft.swap_locks += locks


def end(linked: Pair, tables: tuple[str, str], at: str, what: str, also: Sequence[str] = ()) -> Step:
    """Carry what is left, and end it. Locks: ACCESS EXCLUSIVE on both tables, that of new applications first.

    And EXCLUSIVE on a table that both refer to: whoever had a row of it locked would keep something from being carried.
    `also`: what ends together with it, on all three, which takes ACCESS EXCLUSIVE there, too.
    """
    return Step(
        key=f"contract/{at} triggers",
        phase=Phase.CONTRACT,
        title=f"end keeping {what} in step",
        undo="nothing: this is the point of no return",
        action=ShortTransaction(
            locks=_all_locks(linked, tables[::-1], LockMode.ACCESS_EXCLUSIVE if also else LockMode.EXCLUSIVE),
            forward=(*linked.outbox.carry_rest(), *linked.drop(), *also),
            before=f"select {linked.outbox.drain}",
        ),
    )


def _all_locks(linked: Pair, tables: tuple[str, str], other: LockMode = LockMode.EXCLUSIVE) -> tuple[Lock, ...]:
    between = (tables[0], *linked.others, tables[1])
    return unique(
        (*_locks(tables, LockMode.ACCESS_EXCLUSIVE), *(Lock(table=one, mode=other) for one in linked.others)), between
    )


def _locks(tables: tuple[str, str], mode: LockMode) -> tuple[Lock, ...]:
    return tuple(Lock(table=name, mode=mode) for name in tables)
