"""Who may stand in the way: open transactions, named without their statements.

Only a user with the privilege PROCESS sees them. The catalogue tells their start in the time zone of the server.
"""

import time
from collections.abc import Sequence
from typing import Any, Final

import pymysql

from profiles.model import Limits
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.transient import code_of
from tasks.model.errors import StateError

NO_PRIVILEGE: Final = 1227
_NO_XA_PRIVILEGE: Final = 1401
_OPEN = """
    select t.trx_mysql_thread_id, t.trx_started, coalesce(p.user, ''), coalesce(p.command, ''),
           timestampdiff(microsecond, t.trx_started, convert_tz(now(6), @@time_zone, 'SYSTEM')) / 1e6
      from information_schema.innodb_trx t
      left join information_schema.processlist p on p.id = t.trx_mysql_thread_id
     where t.trx_mysql_thread_id not in (0, connection_id())
"""
_CHANGES: Final = (
    r"(?si)^\s*(/\*.*?\*/\s*|set\s+statement\s.*?\sfor\s+)*"
    r"(alter|create|drop|optimize|rename|repair|truncate|lock\s+tables?\b.*\bwrite)\b"
)
"""Statements that nobody else may read the table beside. LOCK TABLES ... READ waits for those who write."""
_LOOK_EVERY: Final = 0.01
_TWICE = "interval 1 hour"
"""When clocks are put back, a time of day comes twice: rather wait for somebody in vain."""


def sees_transactions(conn: MariaSession) -> bool:
    """Tell whether the user may see the transactions of others."""
    try:
        conn.execute("select 1 from information_schema.innodb_trx limit 1").fetchall()
    except pymysql.err.MySQLError as error:
        if code_of(error) != NO_PRIVILEGE:
            raise
        return False
    return True


def open_transactions(conn: MariaSession, most: int = 5) -> str:
    """Name open transactions, oldest first, and prepared ones. Which hold a table MariaDB tells only by a plugin."""
    waiting = sorted(prepared(conn))[:most] if may_see_prepared(conn) else []
    also = f"prepared transactions (XA RECOVER shows them): {', '.join(waiting)}" if waiting else ""
    if not sees_transactions(conn):
        return "; ".join(filter(None, ["nobody that can be seen: the user lacks PROCESS", also]))
    rows = conn.execute(
        f"{_OPEN} and coalesce(p.db, '') in (database(), '') order by t.trx_started limit %s", (most,)
    ).fetchall()
    found = "; ".join(filter(None, [named(rows), also]))
    return f"one of: {found}" if found else "nobody that can be seen"


def may_see_prepared(conn: MariaSession) -> bool:
    """Tell whether the user may see prepared transactions: MySQL asks for a privilege."""
    try:
        prepared(conn)
    except pymysql.err.MySQLError as error:
        if code_of(error) != _NO_XA_PRIVILEGE:
            raise
        return False
    return True


def prepared(conn: MariaSession) -> set[str]:
    """Return the prepared transactions of the server, each in words that XA COMMIT takes.

    Once its session has ended, one holds the rows that it has written, and no table: neither DDL nor LOCK TABLES waits.
    """
    # MySQL knows no names in words.
    rows = conn.execute("xa recover format='SQL'" if conn.dialect.maria else "xa recover convert xid").fetchall()
    return {str(row[3]) for row in rows}


def outlasted(conn: MariaSession, until: float) -> set[str]:
    """Return which of the transactions that are prepared now still are at a moment, by the monotonic clock.

    Whoever prepares later has not written to what this session holds.
    """
    left = prepared(conn)
    while left and time.monotonic() < until:
        time.sleep(_LOOK_EVERY)
        left &= prepared(conn)
    return left


def refuse_waiting(conn: MariaSession, table: str) -> None:
    """Refuse to keep a snapshot while somebody waits to change a table that it has read, longer than the lock budget.

    Everybody who comes later waits behind that one, readers too. `conn`: a session that is free, whether or not the
    snapshot is its own; `table`: quoted. For which table somebody waits the server does not tell: the statement has to
    name it, or drop a trigger. Raises StateError.
    """
    name = table[1:-1].replace("\\E", r"\E\\E\Q")
    since = "time_ms" if conn.dialect.maria else "time * 1000"
    row = conn.execute(
        "select id from information_schema.processlist where state = 'Waiting for table metadata lock'"
        f" and {since} > %s and (db = database() or locate(database(), info) > 0)"
        " and info regexp %s and info regexp %s limit 1",
        (Limits().lock_budget, _CHANGES, rf"(?<![\w$])(\Q{name}\E|drop\s+trigger)(?![\w$])"),
    ).fetchone()
    if row is not None:
        raise StateError(
            f"connection {row[0]} waits for {table[1:-1]}, to empty or to change it, until all rows are compared:"
            " given up",
            where=conn.place,
            hint="Do that before, or after, and begin again: nothing is lost.",
        )


def old_views(conn: MariaSession, filled: str) -> dict[tuple[int, object], tuple[Any, ...]]:
    """Return the transactions that keep what they see, and that may have begun before the moment that a query gives.

    A statement that is a transaction by itself has its tables when it begins. Of whoever cannot be seen there is none.
    """
    if not sees_transactions(conn):
        return {}
    rows = conn.execute(
        f"{_OPEN} and t.trx_isolation_level = 'REPEATABLE READ' and not t.trx_autocommit_non_locking"
        f" and not coalesce(convert_tz(t.trx_started, 'SYSTEM', @@time_zone) > ({filled}) + {_TWICE}, false)"
    ).fetchall()
    return {(row[0], row[1]): row for row in rows}


def named(rows: Sequence[tuple[Any, ...]]) -> str:
    """Return all of them in one line."""
    return "; ".join(f"connection {row[0]} ({row[2]}, {row[3]}, {float(row[4]):.1f} s)" for row in rows)
