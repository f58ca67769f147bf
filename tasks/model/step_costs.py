"""What a step costs others, as far as the plan knows: its locks, for how long, and the rows that it goes through."""

from enum import StrEnum

from tasks.model.document_steps import CollectionCommand, Rebuild, Reshape
from tasks.model.plan import Plan
from tasks.model.steps import (
    Backfill,
    ConcurrentIndex,
    Copy,
    CopyAgain,
    Lock,
    LockMode,
    Reconcile,
    SelfCommitting,
    ShortTransaction,
    Step,
    Validation,
    only_for_rollback,
)
from tasks.model.transfer_steps import Collection, DocumentTransfer, Relation, RowTransfer


class Held(StrEnum):
    """For how long a step holds its locks."""

    MOMENT = "for a moment"
    """Its statements read no row of a table that was there, however large it is, but what waits to be carried."""
    BATCH = "for a batch at a time"
    """Row locks included; what takes longer than the lock budget of the profile is cancelled, and becomes smaller."""
    SCAN = "until it is done"
    """It goes through the table; none of its locks keeps anybody from reading or writing."""
    AUTHOR = "as long as your SQL takes"
    """Whatever that locks."""


def held_of(step: Step) -> Held:
    """Return how long a step holds its locks on the way forward, and back."""
    if step.authored:
        return Held.AUTHOR
    match step.action:
        case Backfill() | Copy() | Reconcile() | CopyAgain() | DocumentTransfer() | RowTransfer() | Reshape():
            return Held.BATCH
        case Rebuild():
            # What it locks of applications, it locks at the swap, and for a glimpse where a name is looked for.
            return Held.MOMENT
        case Validation() | ConcurrentIndex():
            return Held.SCAN
        case ShortTransaction() | SelfCommitting() | CollectionCommand() | Collection() | Relation():
            return Held.MOMENT


def told_locks(step: Step) -> str:
    """Write the locks of a step for people; empty where it takes none that is known."""
    locks = ", ".join(f"{lock.mode} on {lock.table.replace(chr(34), '')}" for lock in locks_of(step))
    return f"{locks}, held {held_of(step)}" if locks else ""


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
        case Reconcile() | CopyAgain() as action:
            locks = _both(action.copy_of)
        case SelfCommitting() as action:
            locks = action.locks
        case RowTransfer(of="collection"):
            locks = ()
        case DocumentTransfer() | RowTransfer() as action:
            tables = action.tables if isinstance(action, DocumentTransfer) else (action.table,)
            locks = tuple(Lock(table=table, mode=LockMode.ACCESS_SHARE) for table in tables)
        case CollectionCommand() | Rebuild(does="create" | "swap") as action:
            # While an index is built it lets everybody write; it begins and ends with the lock.
            locks = (Lock(table=action.table, mode=LockMode.ACCESS_EXCLUSIVE),)
        case Collection() | Relation() | Reshape() | Rebuild():
            locks = ()
    return locks


def _both(action: Copy) -> tuple[Lock, ...]:
    return (
        Lock(table=action.table, mode=LockMode.ROW_SHARE),
        Lock(table=action.target, mode=LockMode.ROW_EXCLUSIVE),
    )


def rows_of(step: Step, plan: Plan) -> int | None:
    """Return how many rows a step reads, by the statistics; None for a step that reads none."""
    if only_for_rollback(step) or isinstance(step.action, ShortTransaction | SelfCommitting | Collection | Relation):
        return None
    if isinstance(step.action, Reshape) and step.action.does in ("follow", "swap"):
        return None
    if isinstance(step.action, Rebuild) and step.action.does not in ("fill", "index"):
        return None
    if isinstance(step.action, CollectionCommand) and not step.action.long:
        return None
    # The key names a table in full; the action, on MariaDB, without its database.
    table = (
        step.key.split("/")[1]
        if isinstance(step.action, Copy | CopyAgain | RowTransfer)
        else step.action.table.replace('"', "")
    )
    return next((size.rows for size in plan.estimates if size.table == table), None)
