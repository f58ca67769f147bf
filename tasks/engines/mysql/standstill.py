"""Hold a table still for a moment: nobody writes to it, everybody reads it.

LOCK TABLES ... READ waits for every transaction that has written to the table, but for those that are prepared (XA)
and whose session has ended: for them it is asked. Once it is had, no other begins to write. It is held by a session of
its own, with which nothing else is done: at the budget the session is cut, whatever is going on; where the process is
stopped, the server ends it a second after it was last heard of.

While it waits, others do begin to write: the server puts no writer behind a lock that only keeps still. Where one
transaction always overlaps the next, it is not had.
"""

import threading
import time
from typing import Final

import pymysql

from tasks.engines.mysql.blockers import open_transactions, outlasted
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.transient import LOCKED, code_of, is_lost


class Standstill:
    """A session that holds a table still, once it was asked to, until it is closed."""

    holds: Final = True

    def __init__(self, conn: MariaSession, table: str, budget_ms: int) -> None:
        self._conn, self._table, self._budget = conn, table, budget_ms
        self._since = 0.0
        self._cut: threading.Timer | None = None
        self._ending = threading.Lock()
        self._over = False
        # MySQL knows the first for what only reads: there a whole second is waited.
        limit = f"max_statement_time = {budget_ms / 1000:.3f}, " if conn.dialect.maria else ""
        conn.execute(f"set session {limit}lock_wait_timeout = {max(1, budget_ms // 1000)}")

    def begin(self) -> str:
        """Hold it, and return nothing; or return why that is not possible within the lock budget.

        Locks: no writer of the table goes on until this session is closed.
        """
        try:
            self._conn.execute(f"lock tables {self._table} read")
        except pymysql.err.MySQLError as error:
            if self._conn.closed or code_of(error) not in LOCKED:
                raise
            return f"blocked by {open_transactions(self._conn)}"
        self._since = time.monotonic()
        self._conn.execute("set session wait_timeout = 1")
        if waiting := outlasted(self._conn, self._since + self._budget / 1000):
            return f"transactions are prepared, and may have written to it: {', '.join(sorted(waiting))} (XA RECOVER)"
        self._cut = threading.Timer(max(0.0, self._budget / 1000 - (time.monotonic() - self._since)), self._let_go)
        self._cut.daemon = True
        self._cut.start()
        return ""

    def lost(self) -> str:
        """Return why it was not held all the time, within the budget; nothing where it was: then it is until closed."""
        self.end()
        if (time.monotonic() - self._since) * 1000 > self._budget:
            return f"what was done under the lock took more than {self._budget} ms"
        return self.ended()

    def ended(self) -> str:
        """Return why it is not held any more, nothing where it is; however long it has taken."""
        try:
            self._conn.execute("do 0")
        except pymysql.err.MySQLError as error:
            if not is_lost(error):
                raise
            return "the session that held the table has ended"
        return ""

    def end(self) -> None:
        """Let the session be what it is from now on: it is not cut any more."""
        with self._ending:
            self._over = True
        if self._cut is not None:
            self._cut.cancel()

    def _let_go(self) -> None:
        with self._ending:
            if not self._over:
                self._conn.cut()
