"""What a step costs others, as far as the plan knows: the locks that it takes, and the rows that it goes through."""

from tasks.model.document_steps import CollectionCommand, Reshape
from tasks.model.plan import (
    Backfill,
    ConcurrentIndex,
    Copy,
    Lock,
    LockMode,
    Plan,
    Reconcile,
    SelfCommitting,
    ShortTransaction,
    Step,
    Validation,
    only_for_rollback,
)
from tasks.model.transfer_steps import Collection, Transfer


def locks_of(step: Step) -> tuple[Lock, ...]:
    """Return the table locks that a step takes on the way forward."""
    locks: tuple[Lock, ...]
    if only_for_rollback(step):
        return ()
    match step.action:
        case ShortTransaction() as action:
            locks = action.locks
        case Validation() as action:
            locks = (Lock(table=action.table, mode=LockMode.SHARE_UPDATE_EXCLUSIVE),)
        case ConcurrentIndex() as action:
            locks = (Lock(table=action.table, mode=LockMode.SHARE_UPDATE_EXCLUSIVE),)
        case Backfill() as action:
            locks = (Lock(table=action.table, mode=LockMode.ROW_EXCLUSIVE),)
        case Copy() as action:
            locks = _both(action)
        case Reconcile() as action:
            locks = _both(action.copy_of)
        case SelfCommitting() as action:
            locks = action.locks
        case Transfer() as action:
            locks = (Lock(table=action.table, mode=LockMode.ACCESS_SHARE),)
        case CollectionCommand() as action:
            # While an index is built it lets everybody write; it begins and ends with the lock.
            locks = (Lock(table=action.table, mode=LockMode.ACCESS_EXCLUSIVE),)
        case Collection() | Reshape():
            locks = ()
    return locks


def _both(action: Copy) -> tuple[Lock, ...]:
    return (
        Lock(table=action.table, mode=LockMode.ROW_SHARE),
        Lock(table=action.target, mode=LockMode.ROW_EXCLUSIVE),
    )


def rows_of(step: Step, plan: Plan) -> int | None:
    """Return how many rows a step reads, by the statistics; None for a step that reads none."""
    if only_for_rollback(step) or isinstance(step.action, ShortTransaction | SelfCommitting | Collection):
        return None
    if isinstance(step.action, Reshape) and step.action.does in ("follow", "swap"):
        return None
    if isinstance(step.action, CollectionCommand) and not step.action.long:
        return None
    # The key names a table in full; the action, on MariaDB, without its database.
    table = step.key.split("/")[1] if isinstance(step.action, Copy) else step.action.table.replace('"', "")
    return next((size.rows for size in plan.estimates if size.table == table), None)
