"""The steps of a plan: what each does, which locks it takes, and how it is taken back."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from tasks.model.base import Record
from tasks.model.catalogue import Catalogue, Table
from tasks.model.document_steps import CollectionCommand, Rebuild, Reshape
from tasks.model.transfer_steps import Collection, DocumentTransfer, Relation, RowTransfer, Transfer


class Phase(StrEnum):
    """The parts of a run, in order. Until APPROVE, no application meets a new restriction."""

    EXPAND = "expand"
    DUAL_WRITE = "dual_write"
    BACKFILL = "backfill"
    INDEX = "index"
    RECONCILE = "reconcile"
    CONSTRAIN = "constrain"
    SWAP = "swap"
    CONTRACT = "contract"


class LockMode(StrEnum):
    """Table locks of PostgreSQL, weakest first."""

    ACCESS_SHARE = "ACCESS SHARE"
    ROW_SHARE = "ROW SHARE"
    ROW_EXCLUSIVE = "ROW EXCLUSIVE"
    SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"
    SHARE = "SHARE"
    SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
    EXCLUSIVE = "EXCLUSIVE"
    ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"


class Lock(Record):
    """A table lock that a step takes."""

    table: str
    mode: LockMode
    by: str = ""
    """The statement that takes it, where LOCK TABLE would lock more: of a view, whatever that reads, too.

    It may find nothing: `given` says what is gone.
    """


class Risk(StrEnum):
    """How much can go wrong."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


class ShortTransaction(Record):
    """Statements that run in one transaction under locks taken up front, each within the lock budget.

    The ledger's entry commits in the same transaction. An empty `forward` or `inverse` does nothing in that
    direction: some steps exist only to prepare or to finish a rollback.
    """

    kind: Literal["short_transaction"] = "short_transaction"
    locks: tuple[Lock, ...] = ()
    forward: tuple[str, ...] = ()
    inverse: tuple[str, ...] = ()
    inverse_locks: tuple[Lock, ...] | None = None
    """Where they differ from `locks`."""
    guard: bool = False
    """Check before the statements, under the locks, that nothing was written that the gate did not see."""
    before: str = ""
    """A statement that is called before the locks are taken, at each attempt, until it finds little to do.

    `{most}` stands for how much it does at a time, and it returns how much it has done. Where `{after}` stands in it,
    it begins after that number, and returns the next one, or NULL at the end, and the highest there is.
    """
    inverse_before: str = ""
    written: str = ""
    """A query for the transactions (`xmin`) that wrote to what comes, and not for an application.

    Whoever does not see them all would see but a part of it, and is waited for before the locks are taken.
    """
    inverse_written: str = ""
    given: Catalogue | None = None
    """What the tables have to be under the locks, before the statements: anything else would be lost."""
    inverse_given: Catalogue | None = None
    result: Catalogue | None = None
    """What the tables are afterwards: checked before the commit, and anything else rolls back."""
    inverse_result: Catalogue | None = None


class Validation(Record):
    """Statements that read a whole table under a lock that lets applications write.

    No lock timeout short of the profile's patience: SHARE UPDATE EXCLUSIVE blocks no application statement.
    """

    kind: Literal["validation"] = "validation"
    table: str
    forward: tuple[str, ...] = ()
    inverse: tuple[str, ...] = ()
    counts: str = ""
    """A query for how many rows the steps up to this one have dealt with; it goes into the audit log."""


class SelfCommitting(Record):
    """Statements that commit by themselves, as all DDL of MariaDB does.

    The entry in the ledger begins before them and is finished after them; what has been done in between is asked of
    the catalogue. Each waits for locks within the lock budget, and may be run again from the first.
    """

    kind: Literal["self_committing"] = "self_committing"
    table: str
    forward: tuple[str, ...] = ()
    inverse: tuple[str, ...] = ()
    done: str = ""
    """A query that returns a row when all of `forward` is done; empty: nobody can tell, so it is done again."""
    gone: str = ""
    """A query that returns a row when somebody has dropped what `forward` is about: it stays away."""
    keeps: str = ""
    """A query that returns a row as long as `inverse` would destroy what it must not."""
    guard: bool = False
    """Check before the statements, and once more after them, that nothing was written that the gate did not see."""
    outlasts_prepared: bool = False
    """Prepared transactions (XA) end before the statements: they may have written, and hold rows, but no table."""
    endless: bool = False
    """`forward` is tried until it gets its locks, whatever the patience: until then applications may be refused."""
    held: str = ""
    """A LOCK TABLES under which `guard` is called, once, and `forward` done: all of it or nothing."""
    beside: tuple[str, ...] = ()
    """Tables that another session holds while a RENAME is done, which would wait for whoever holds rows of one."""
    mark: str = ""
    """What another session says when all of `forward` is done, still under the lock: then the guard has passed."""
    given: Table | None = None
    """What the table has to be before the statements, and what they put aside has to be after them."""
    set_aside: str = ""
    """What the statements call the table that was there; empty when they change that."""
    result: Table | None = None
    """What the table has to be after the statements."""
    locks: tuple[Lock, ...] = ()
    """What the statements lock of applications, each for itself: where DDL locks metadata, ACCESS EXCLUSIVE."""
    found_after_inverse: str = ""
    """A query for what is wrong right after `inverse`, and what to do: it would be dropped with it, or be lost."""
    emptied: str = ""
    """A query that returns a row, right after the statements, when rows have gone that no trigger saw go.

    Without `guard` it is asked before them, too.
    """
    filled: str = ""
    """A query for the moment at which what the statements put in place was full: older snapshots have to end first."""


class ConcurrentIndex(Record):
    """An index built, and dropped, without blocking writers; outside a transaction.

    After a build `indisvalid` is read; an invalid index of this name is dropped and built again.
    """

    kind: Literal["concurrent_index"] = "concurrent_index"
    table: str
    schema_name: str
    name: str
    create: str
    build_on: Literal["forward", "inverse"] = "forward"
    """`inverse`: built when rolling back, and dropped when a rollback is itself resumed forward."""
    goes_with_table: bool = False
    """Its table is dropped on the way back: nothing has to be done about the index."""
    drain: str = ""
    """Called like `before` of a short transaction, where rows that are only noted could be duplicates."""
    consumed: bool = False
    """A later step turns it into a constraint: it is not dropped on the way back when it no longer exists."""


class Assignment(Record):
    """A target column and the expression that fills it, in the names of the table before the swap."""

    column: str
    type: str
    expression: str


class Backfill(Record):
    """Fill new columns of existing rows, in key ranges, a transaction a batch."""

    kind: Literal["backfill"] = "backfill"
    table: str
    key: tuple[str, ...]
    key_types: tuple[str, ...]
    assignments: tuple[Assignment, ...]
    alias: str
    """The bare name of the table, with which expressions may qualify columns."""
    bypass_triggers: bool = False
    """The user's own triggers must not fire: run with session_replication_role = replica."""


class Copy(Record):
    """Copy the rows of a table into its shadow, in key ranges, a transaction a batch.

    Dual write is on: a row that the shadow has already is newer, and stays. Every row that is read stays locked
    against deletion until its batch commits, so that none comes back that somebody deletes meanwhile.
    """

    kind: Literal["copy"] = "copy"
    table: str
    """Quoted and qualified, like `target`."""
    key: tuple[str, ...]
    key_types: tuple[str, ...]
    alias: str
    """The bare name of the table, with which expressions may qualify columns."""
    target: str
    target_key: tuple[str, ...]
    """The columns of the key, in the order of a unique index of the shadow."""
    arbiter: tuple[str, ...] = ()
    """Those of them that the shadow keeps unique, where these are not all."""
    assignments: tuple[Assignment, ...]
    """Columns of the shadow, and what fills them, in the names of the table; `where` says which rows, or all."""
    where: str = ""
    each: str = ""
    """A FROM item over a row of the table, where that becomes several: one for each that it gives."""
    drain: str = ""
    """Called like `before` of a short transaction, when the shadow refuses a row."""
    after: str = ""
    """Asked in each transaction that has read rows: it fails when what was read may be no more."""


class Notes(Record):
    """Where triggers put the keys of rows that they could not write to the other table."""

    table: str
    columns: tuple[str, ...]
    """Columns of the notes, called as in both tables."""
    types: tuple[str, ...]


class Reconcile(Record):
    """Compare a table and its shadow under the writers, range by range, and carry over what differs.

    What differs after that cannot be carried, and is an error.
    """

    kind: Literal["reconcile"] = "reconcile"
    copy_of: Copy
    notes: Notes
    drain: str = ""
    """Called like `before` of a short transaction: it carries over what is noted."""
    aligned: bool = False
    """Both tables have the key in the same order, and the same values of it: a range of one is a range of the other."""

    @property
    def table(self) -> str:
        """The table that the shadow is compared with."""
        return self.copy_of.table


class CopyAgain(Record):
    """Compare a table and its shadow under the writers, range by range, and copy once more what differs.

    For engines whose triggers note nothing that could be carried over. What differs after that is an error.
    """

    kind: Literal["copy_again"] = "copy_again"
    copy_of: Copy
    differing: tuple[str, str]
    """A query for the keys, as texts, of rows that the shadow has not, or otherwise: up to and after its condition."""
    superfluous: tuple[str, str]
    """And one, along the key of the shadow, for the keys of its rows that the table does not have."""

    @property
    def table(self) -> str:
        """The table that the shadow is compared with."""
        return self.copy_of.table


Action = Annotated[
    ShortTransaction
    | SelfCommitting
    | Validation
    | ConcurrentIndex
    | Backfill
    | Copy
    | Reconcile
    | CopyAgain
    | Collection
    | DocumentTransfer
    | Relation
    | RowTransfer
    | Reshape
    | Rebuild
    | CollectionCommand,
    Field(discriminator="kind"),
]

InRanges = Backfill | Copy | Transfer | Reshape | Rebuild
"""What is done in ranges of keys, from cursors."""


class Step(Record):
    """One entry of the plan, and of the ledger."""

    key: str
    """Unique in the plan and stable: `phase/table/what`."""
    phase: Phase
    title: str
    """What it does, in the imperative, for people."""
    undo: str = ""
    """What rollback does about it, for people; empty: nothing is needed."""
    action: Action

    @property
    def authored(self) -> bool:
        """True for SQL of the author's own, of which nothing is known."""
        return self.key.split("/")[1:2] == ["sql"]


def only_for_rollback(step: Step) -> bool:
    """Tell whether a step does nothing going forward: it prepares or finishes a rollback."""
    action = step.action
    if isinstance(action, ConcurrentIndex):
        return action.build_on == "inverse"
    if isinstance(action, InRanges | Reconcile | CopyAgain | Collection | Relation):
        return False
    waits = isinstance(action, SelfCommitting) and action.outlasts_prepared and not action.inverse
    return not action.forward and not waits and step.key != "swap/all"


def end_of_swap(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return what is a part of the swap, and comes after the moment of it: nobody stops between the two."""
    after = [step.key for step in steps].index("swap/all") + 1
    return tuple(step for step in steps[after:] if step.phase is Phase.SWAP and isinstance(step.action, SelfCommitting))
