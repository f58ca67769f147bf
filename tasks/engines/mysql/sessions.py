"""Our own sessions on MariaDB: how they are found again, and ended when their run is dead.

There is no application_name. Each session of a run holds a named lock of its own for as long as it lives, and its name
stands in `changeover_sessions`: who holds the lock is the session, whatever number the server gave it.
"""

import hashlib
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import pymysql

from tasks.engines.mysql.session import MariaSession
from tasks.model.errors import ConcurrentRunError, DataChanged, GateError, PreflightError

GUARD: Final = "guard"
"""What the session is for that holds the tables of a run."""
_UNENDED: Final = "^(set statement lock_wait_timeout|create or replace definer)"
"""DDL on tables of applications, which ends by itself, at once: a RENAME that is ended half way loses triggers."""
_KNOWN: Final = "select 1 from information_schema.tables where table_schema = database() and table_name = %s"


def tag(migration: str) -> str:
    """Return a short name of the migration."""
    return hashlib.sha256(migration.encode()).hexdigest()[:10]


def register(conn: MariaSession, migration: str, run_id: str, purpose: str) -> None:
    """Let a session be found by the run that comes after, from the moment on that there is a ledger."""
    conn.execute("do get_lock(%s, 0)", (conn.name,))
    if conn.execute(_KNOWN, ("changeover_sessions",)).fetchone() is not None:
        conn.execute(
            "insert into changeover_sessions (name, tag, run_id, purpose) values (%s, %s, %s, %s)",
            (conn.name, tag(migration), run_id, purpose),
        )


def hold_tables(conn: MariaSession, tables: tuple[str, ...], patience: float = 5.0) -> None:
    """Take the named lock of every table for the life of the session.

    Raises ConcurrentRunError when another run has one of them. The lock of a killed run goes with its session.
    """
    for table in tables:
        name = _lock_of(conn, table)
        row = conn.execute("select get_lock(%s, %s)", (name, patience)).fetchone()
        if row is None or row[0] != 1:
            holder = conn.execute("select is_used_lock(%s)", (name,)).fetchone()
            raise ConcurrentRunError(
                f"another run holds {table}: connection {holder[0] if holder else 'unknown'}",
                where=conn.place,
                hint="Wait for it, pause it, or end its session.",
            )


def _lock_of(conn: MariaSession, what: str) -> str:
    # Named locks are the server's, not the database's, and have at most 64 characters.
    return "changeover." + hashlib.sha256(f"{conn.database}\0{what}".encode()).hexdigest()[:40]


def end_orphans(conn: MariaSession, migration: str, run_id: str, patience: float = 30.0) -> int:
    """End the sessions of earlier runs of this migration and wait until they are gone; return how many.

    To be called while holding the tables: whoever still works on this migration then belongs to a dead run. DDL of such
    a session comes to its end first.
    """
    if conn.execute(_KNOWN, ("changeover_sessions",)).fetchone() is None:
        return 0
    of_it = "select name from changeover_sessions where tag = %s and run_id <> %s"
    ended = end_sessions(conn, of_it, (tag(migration), run_id), patience)
    # Whoever registers has the lock first.
    conn.execute("delete from changeover_sessions where is_used_lock(name) is null")
    return ended


def end_sessions(conn: MariaSession, found: str, params: Sequence[object], patience: float) -> int:
    """End the sessions that hold the locks which a query names, and wait until they are gone; return how many.

    Those of dead runs. DDL on tables of applications comes to its end first. Raises PreflightError for any that stays.
    """
    deadline = time.monotonic() + patience
    ended: set[int] = set()
    while True:
        left = conn.execute(
            f"select is_used_lock(s.name), coalesce(p.info, '') regexp %s from ({found}) as s"
            " left join information_schema.processlist as p on p.id = is_used_lock(s.name)"
            " where is_used_lock(s.name) is not null",
            (_UNENDED, *params),
        ).fetchall()
        if not left:
            return len(ended)
        for session in (session for session, works in left if not works):
            # It may end by itself before we come to it.
            with suppress(pymysql.err.OperationalError, pymysql.err.InternalError):
                conn.execute(f"kill {int(session)}")
            ended.add(int(session))
        if time.monotonic() >= deadline:
            raise PreflightError(
                f"sessions of an earlier run do not end: {sorted(session for session, _ in left)}",
                where=conn.place,
                hint="End them with KILL, then run again.",
            )
        time.sleep(0.05)


def require_unbroken(conn: MariaSession, run_id: str) -> None:
    """Raise GateError unless the session that holds the tables for a run is there.

    It lives as long as the server does: without it the server may be another, or have come back, and may have
    forgotten commits that were read from it.
    """
    held = conn.execute(
        "select 1 from changeover_sessions where run_id = %s and purpose = %s and is_used_lock(name) is not null",
        (run_id, GUARD),
    ).fetchone()
    if held is None:
        raise GateError(
            "the session that holds the tables has ended: the server may be another one, or have forgotten commits",
            where=conn.place,
            hint="Run again: the gate looks at every row anew.",
            changed=DataChanged.PARTIALLY,
        )


def run_sessions(conn: MariaSession, migration: str) -> tuple[bool, str]:
    """Tell whether some run of a migration is alive, and for what it waits."""
    if conn.execute(_KNOWN, ("changeover_sessions",)).fetchone() is None:
        return False, ""
    rows = conn.execute(
        """
        select p.state from changeover_sessions s
          join information_schema.processlist p on p.id = is_used_lock(s.name)
         where s.tag = %s
        """,
        (tag(migration),),
    ).fetchall()
    waits = next((str(row[0]) for row in rows if row[0] and "lock" in str(row[0]).lower()), "")
    return bool(rows), waits
