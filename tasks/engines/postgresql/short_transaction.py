"""DDL within the lock budget.

A statement that waits for a lock makes everyone behind it wait. So: look who holds the table before queueing;
wait at most the budget for all locks together; then go away, let the queue drain, and come back.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg
from psycopg.pq import TransactionStatus

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.postgresql.blockers import Blocker, Connection, before_deadlocks, holders, named
from tasks.engines.postgresql.drain import BUDGET, TOO_MUCH
from tasks.model.errors import LockTimeoutError
from tasks.model.steps import Lock

SHORT = 10
"""A short transaction may take this many lock budgets before it is cancelled: it should take a fraction of one."""


def run_short(
    conn: Connection,
    statements: Sequence[str],
    locks: Sequence[Lock],
    limits: Limits,
    journal: Journal,
    *,
    guard: bool,
    before: Callable[[], str] | None = None,
    given: Callable[[Connection], None] | None = None,
    check: Callable[[Connection], None] | None = None,
) -> None:
    """Run statements in one transaction, with all locks taken first, within budget and patience.

    `before` is called ahead of each attempt, without a lock, and tells why there shall be none yet; `given` under the
    locks, and `check` after the statements.

    No statement of an application waits for us longer than the budget and this transaction. Raises
    LockTimeoutError, with who blocks, when patience runs out; nothing has changed then.
    """
    deadline: float | None = None
    attempt = 0
    while True:
        attempt += 1
        reason = before() if before is not None else ""
        # It has a patience of its own.
        deadline = deadline or time.monotonic() + limits.lock_patience
        reason = reason or _try_once(conn, statements, locks, limits, journal, guard, given, check)
        if not reason:
            return
        if time.monotonic() >= deadline:
            raise LockTimeoutError(
                f"no lock on {', '.join(lock.table for lock in locks)} within {limits.lock_patience:g} s: {reason}",
                where=conn.info.dbname,
                hint="End the session that blocks, or run again when it is done.",
            )
        journal.waiting(reason)
        journal.between()
        time.sleep(random.uniform(0.5, 1.5) * min(0.25 * 1.5 ** min(attempt, 6), 2.0))  # noqa: S311


def _try_once(
    conn: Connection,
    statements: Sequence[str],
    locks: Sequence[Lock],
    limits: Limits,
    journal: Journal,
    guard: bool,
    given: Callable[[Connection], None] | None,
    check: Callable[[Connection], None] | None,
) -> str:
    """Return nothing when it is done, otherwise why it has to wait."""
    in_the_way = holders(conn, locks, older_than_ms=limits.lock_budget)
    if in_the_way:
        _cancel_autovacuum(conn, in_the_way)
        return f"blocked by {named(in_the_way)}"
    try:
        with committed_by_its_last_message(conn):
            journal.begin(conn)
            # Recorded first: from the first lock to the commit, nothing waits for this process, which may be slow.
            journal.finish(conn)
            _take(conn, locks, limits.lock_budget)
            if guard:
                journal.guard(conn)
            if given is not None:
                given(conn)
            if check is not None:
                conn.execute("\n;\n".join(statements))
                check(conn)
                statements = ()
            conn.execute("\n;\n".join([*statements, "commit"]))
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        if error.diag.message_primary == TOO_MUCH:
            return TOO_MUCH
        return f"blocked by {named(holders(conn, locks))}"
    return ""


@contextmanager
def committed_by_its_last_message(conn: Connection) -> Iterator[None]:
    """Begin a transaction whose body sends `commit` itself, together with the statement before it.

    Locks are then held for as long as the server needs, and not for one answer and one question more. Whatever
    raises inside rolls back.
    """
    conn.execute("begin")
    try:
        yield
    except BaseException:
        if not conn.closed and conn.info.transaction_status is not TransactionStatus.IDLE:
            conn.execute("rollback")
        raise


def _take(conn: Connection, locks: Sequence[Lock], budget_ms: int) -> None:
    """Take all locks up front; together they wait no longer than the budget, and not until a deadlock is found."""
    wait = before_deadlocks(conn, budget_ms)
    started = time.monotonic()
    conn.execute(f"set local statement_timeout = {SHORT * budget_ms if locks else 0}")
    conn.execute(f"set local idle_in_transaction_session_timeout = {idle_limit(budget_ms)}")
    conn.execute(f"set local {BUDGET} = '{budget_ms}ms'")
    for lock in locks:
        left = max(wait - int((time.monotonic() - started) * 1000), 1)
        conn.execute(f"set local lock_timeout = {left}")
        if not lock.by:
            conn.execute(f"lock table {lock.table} in {lock.mode} mode")
            continue
        # What was dropped since the plan has no lock; that it is gone is for `given` to say.
        with suppress(psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName), conn.transaction():
            conn.execute(lock.by)
    # What the statements lock beyond that (sequences, indexes) has to fit into the budget, too.
    conn.execute(f"set local lock_timeout = {wait}")


def idle_limit(budget_ms: int) -> int:
    """How long a transaction with locks may do nothing: a process that is stopped must not stop everyone else."""
    return max(3 * budget_ms, 1000)


def _cancel_autovacuum(conn: Connection, blockers: Sequence[Blocker]) -> None:
    """Do what the server does by itself after deadlock_timeout, which is longer than our budget."""
    for blocker in blockers:
        if blocker.autovacuum and blocker.pid is not None:
            try:
                conn.execute("select pg_cancel_backend(%s)", (blocker.pid,))
            except psycopg.errors.InsufficientPrivilege:
                return


def run_validation(
    conn: Connection, statements: Sequence[str], limits: Limits, journal: Journal, counts: str = ""
) -> None:
    """Run statements that scan a table under a lock that lets applications write; may take hours.

    The number that the query `counts` returns is recorded.
    """
    with conn.transaction():
        journal.begin(conn)
        conn.execute("set local statement_timeout = 0")
        conn.execute(f"set local lock_timeout = '{limits.lock_patience * 1000:.0f}ms'")
        for statement in statements:
            conn.execute(statement)
        if counts and (row := conn.execute(counts).fetchone()) is not None:
            journal.counted(row[0])
        journal.finish(conn)
