"""The first and the last step of two tables that are kept in step by triggers on both."""

from collections.abc import Sequence

from tasks.engines.postgresql.planning.linked.halves import Halves
from tasks.engines.postgresql.planning.linked.junction import Junction
from tasks.engines.postgresql.planning.linked.moved import Moved
from tasks.engines.postgresql.planning.lock_order import unique
from tasks.model.plan import Lock, LockMode, Phase, ShortTransaction, Step


def begin(linked: Halves | Moved | Junction, tables: tuple[str, str], at: str, what: str) -> Step:
    """Begin to keep `what` in step. Locks: SHARE ROW EXCLUSIVE on both tables; as `end` to undo it.

    In the order of `tables`, which is that of old applications: they write the first, and the second at the commit.
    """
    return Step(
        key=f"dual_write/{at} triggers",
        phase=Phase.DUAL_WRITE,
        title=f"keep {what} in step with triggers on both tables",
        undo="drop the triggers, and what they noted",
        action=ShortTransaction(
            locks=_locks(tables, LockMode.SHARE_ROW_EXCLUSIVE),
            forward=linked.create(),
            inverse=linked.give_up() if isinstance(linked, Junction) else linked.drop(),
            inverse_locks=_all_locks(linked, tables),
            inverse_before=f"select {linked.outbox.drain}" if isinstance(linked, Junction) else "",
        ),
    )


def end(
    linked: Halves | Moved | Junction, tables: tuple[str, str], at: str, what: str, also: Sequence[str] = ()
) -> Step:
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


def _all_locks(
    linked: Halves | Moved | Junction, tables: tuple[str, str], other: LockMode = LockMode.EXCLUSIVE
) -> tuple[Lock, ...]:
    locks = _locks(tables, LockMode.ACCESS_EXCLUSIVE)
    if not isinstance(linked, Junction):
        return locks
    between = (tables[0], linked.other, tables[1])
    return unique((*locks, Lock(table=linked.other, mode=other)), between)


def _locks(tables: tuple[str, str], mode: LockMode) -> tuple[Lock, ...]:
    return tuple(Lock(table=name, mode=mode) for name in tables)
