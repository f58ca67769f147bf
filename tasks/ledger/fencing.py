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
    atomic,
    lock_key,
    one_row,
    require_read_committed,
    require_transaction,
    write,
)
from tasks.ledger.state import unknown
from tasks.model.errors import DataChanged, FencedError


def take_over(conn: Connection, migration: str, run_id: str, *, executor: str, flow_run_id: str | None = None) -> int:
    """Make this run the only one that may change the migration, and return its epoch.

    Waits, within `lock_timeout`, for the transactions in flight of the run before; end its sessions first
    when they may be long. Commit before anything else is done, and load the migration afterwards: until
    then its plan may still be replaced. Audits. Raises StateError when the migration is unknown.
    """
    with atomic(conn):
        write(conn, "select pg_advisory_xact_lock(%s)", (_key(migration),))
        row = one_row(
            conn,
            """
            update changeover.migrations
               set epoch = epoch + 1, run_id = %(run)s, flow_run_id = %(flow_run)s, executor = %(executor)s,
                   updated_at = clock_timestamp()
             where id = %(id)s
            returning epoch, plan_digest
            """,
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
    write(conn, "select pg_advisory_xact_lock_shared(%s)", (_key(migration),))
    # A statement of its own: its snapshot must be taken after the lock was had.
    row = one_row(
        conn,
        """
        select epoch, executor, current_setting('transaction_isolation') as isolation
          from changeover.migrations where id = %s
        """,
        (migration,),
    )
    if row is None:
        raise unknown(conn, migration)
    require_read_committed(row["isolation"], "a fence")
    if row["epoch"] != epoch:
        _fenced(migration, epoch, row["epoch"])
    return str(row["executor"] or "changeover")


def _key(migration: str) -> int:
    return lock_key(f"migration:{migration}")


def _fenced(migration: str, epoch: int, present: int) -> NoReturn:
    raise FencedError(
        f"a newer run has taken over: this one has epoch {epoch}, the migration {present}",
        where=migration,
        hint="Let the newer run finish; to start again, run the migration once more.",
        changed=DataChanged.ROLLED_BACK,
    )
