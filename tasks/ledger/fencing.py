"""Make sure that only one run changes a migration, even when an older one is still alive somewhere.

A run that takes over raises the migration's epoch. Every transaction of a run starts with `fence`, which
holds the epoch still until the transaction ends; the next `take_over` waits for it, and whatever the older
run tries afterwards fails.

The lock is an advisory one, shared by those who fence and exclusive for the one who takes over. It is not a
row lock: shares of a row lock have no queue, and several shards that overlap would keep the one who takes
over waiting for ever (reproduced on PostgreSQL 18). Here, whoever comes after it waits behind it.
"""

from typing import NoReturn

from tasks.ledger import audit
from tasks.ledger._session import (
    Connection,
    Statement,
    atomic,
    lock_until_commit,
    one_row,
    require_read_committed,
    require_transaction,
)
from tasks.ledger.state import lock_of, unknown
from tasks.model.errors import DataChanged, FencedError


def take_over(conn: Connection, migration: str, run_id: str, *, executor: str, flow_run_id: str | None = None) -> int:
    """Make this run the only one that may change the migration, and return its epoch.

    Waits, within `lock_timeout`, for the transactions in flight of the run before; end its sessions first
    when they may be long. Commit before anything else is done, and load the migration afterwards: until
    then its plan may still be replaced. Audits. Raises StateError when the migration is unknown.
    """
    with atomic(conn):
        lock_until_commit(conn, lock_of(migration))
        row = one_row(
            conn,
            _TAKE_OVER,
            {"id": migration, "run": run_id, "flow_run": flow_run_id, "executor": executor},
        )
        if row is None:
            raise unknown(conn, migration)
        detail: audit.Detail = {"epoch": row["epoch"], "run": run_id}
        audit.append(conn, executor, "take over", migration, "done", row["plan_digest"], detail)
        return int(row["epoch"])


def fence(conn: Connection, migration: str, epoch: int) -> str:
    """Hold the epoch still until the end of the transaction, and return who runs the migration.

    To be called first in every transaction that changes anything, before other locks are taken. Takes a
    shared advisory lock, so that shards do not wait for each other. Raises FencedError when a newer run has
    taken over, StateError when the migration is unknown, StepError outside a read committed transaction.
    """
    require_transaction(conn, "a fence")
    lock_until_commit(conn, lock_of(migration), shared=True)
    # A statement of its own: its snapshot must be taken after the lock was had.
    row = one_row(conn, _EPOCH, (migration,))
    if row is None:
        raise unknown(conn, migration)
    require_read_committed(row["isolation"], "a fence")
    if row["epoch"] != epoch:
        _fenced(migration, epoch, row["epoch"])
    return str(row["executor"] or "changeover")


_TAKE_OVER = Statement(
    postgresql="""
            update changeover.migrations
               set epoch = epoch + 1, run_id = %(run)s, flow_run_id = %(flow_run)s, executor = %(executor)s,
                   updated_at = clock_timestamp()
             where id = %(id)s
            returning epoch, plan_digest
            """,
    mysql=(
        """
        update changeover.migrations
           set epoch = epoch + 1, run_id = %(run)s, flow_run_id = %(flow_run)s, executor = %(executor)s,
               updated_at = sysdate(6)
         where id = %(id)s
        """,
        "select epoch, plan_digest from changeover.migrations where id = %(id)s",
    ),
)
_EPOCH = Statement(
    postgresql="""
        select epoch, executor, current_setting('transaction_isolation') as isolation
          from changeover.migrations where id = %s
        """,
    mysql=(
        """
        select epoch, executor, lower(replace(@@tx_isolation, '-', ' ')) as isolation
          from changeover.migrations where id = %s
        """,
    ),
)


def _fenced(migration: str, epoch: int, present: int) -> NoReturn:
    raise FencedError(
        f"a newer run has taken over: this one has epoch {epoch}, the migration {present}",
        where=migration,
        hint="Let the newer run finish; to start again, run the migration once more.",
        changed=DataChanged.ROLLED_BACK,
    )
