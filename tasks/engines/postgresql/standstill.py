"""Hold a table still for a moment: nobody writes to it, everybody reads it.

By a session of its own, with which nothing else is done: where the process is stopped, the server ends it.
"""

import time
from typing import Final

import psycopg

from tasks.engines.postgresql.blockers import Connection, holders, named
from tasks.engines.postgresql.short_transaction import idle_limit
from tasks.model.steps import Lock, LockMode


class Standstill:
    """A session that holds a table still, once it was asked to, until it is closed."""

    holds: Final = True

    def __init__(self, conn: Connection, table: str, budget_ms: int) -> None:
        self._conn, self._budget = conn, budget_ms
        self._lock = Lock(table=table, mode=LockMode.SHARE_ROW_EXCLUSIVE)
        self._since = 0.0

    def begin(self) -> str:
        """Hold it, and return nothing; or return why that is not possible within the lock budget.

        Locks: SHARE ROW EXCLUSIVE on the table, until this session is closed.
        """
        if in_the_way := holders(self._conn, (self._lock,), older_than_ms=self._budget):
            return f"blocked by {named(in_the_way)}"
        self._conn.execute("begin")
        self._conn.execute(f"set local lock_timeout = {self._budget}")
        self._conn.execute(f"set local idle_in_transaction_session_timeout = {idle_limit(self._budget)}")
        try:
            self._conn.execute(f"lock table {self._lock.table} in {self._lock.mode} mode".encode())
        except psycopg.errors.LockNotAvailable:
            return f"no lock within {self._budget} ms"
        self._since = time.monotonic()
        return ""

    def lost(self) -> str:
        """Return why it was not held all the time, within the budget; nothing where it was: then it is until closed."""
        if (time.monotonic() - self._since) * 1000 > self._budget:
            return f"what was done under the lock took more than {self._budget} ms"
        return self.ended()

    def ended(self) -> str:
        """Return why it is not held any more, nothing where it is; however long it has taken."""
        try:
            self._conn.execute("select 1")
        except psycopg.Error:
            # That it was silent for too long is no operational error. Whatever it is, nobody knows that it is held.
            return "the session that held the table has ended"
        return ""
