"""DDL that never queues for its locks: nobody stands behind it, however long it is tried."""

import time
from typing import Final

import pymysql

from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.transient import LOCKED, code_of

_PAUSE: Final = 0.02


def carry_out_unqueued(conn: MariaSession, statement: str, budget_ms: int) -> None:
    """Carry out a DDL statement at the first moment within the budget in which its locks are free.

    At least one try, and none that waits; MySQL, which cannot be told so, waits as long as the session does. Raises
    what the last try did.
    """
    until = time.monotonic() + budget_ms / 1000
    while True:
        try:
            conn.execute(conn.dialect.limited(statement, budget_ms, queues=False))
        except pymysql.err.MySQLError as error:
            if conn.closed or code_of(error) not in LOCKED or time.monotonic() + _PAUSE > until:
                raise
        else:
            return
        time.sleep(_PAUSE)
