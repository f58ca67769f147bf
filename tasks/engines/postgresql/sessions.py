"""Our own sessions: how they are named, found again, and ended when their run is dead."""

import hashlib
import time
from typing import Final

import psycopg

from tasks.engines.postgresql.blockers import Connection
from tasks.model.errors import ConcurrentRunError, DataChanged, GateError, PreflightError
from tasks.model.names import quote
from tasks.model.plan import Plan
from tasks.model.steps import Phase

GUARD: Final = "guard"
"""The purpose of the session that holds the tables from the beginning of a run to its end."""


def tag(migration: str) -> str:
    """Return a short name of the migration, for application_name (63 bytes at most)."""
    return hashlib.sha256(migration.encode()).hexdigest()[:10]


def session_name(migration: str, run_id: str, purpose: str) -> str:
    """Return the application_name of a session of a run."""
    return f"changeover {tag(migration)} {run_id[:12]} {purpose}"[:63]


def hold_tables(conn: Connection, tables: tuple[str, ...], patience: float = 5.0) -> None:
    """Take the advisory lock of every table for the life of the session.

    Raises ConcurrentRunError, naming the holder, when another run has one of them. The lock of a killed run
    goes with its session, within a second or so: that is what the patience is for.
    """
    deadline = time.monotonic() + patience
    for table in tables:
        while not _try(conn, table):
            if time.monotonic() >= deadline:
                raise ConcurrentRunError(
                    f"another run holds {table}: {_holder(conn, table)}",
                    where=conn.info.dbname,
                    hint="Wait for it, pause it, or end its session.",
                )
            time.sleep(0.2)


def _try(conn: Connection, table: str) -> bool:
    row = conn.execute(
        "select pg_try_advisory_lock(hashtextextended('changeover table ' || %s, 0))", (table,)
    ).fetchone()
    return bool(row and row[0])


def _holder(conn: Connection, table: str) -> str:
    row = conn.execute(
        """
        with wanted as (select hashtextextended('changeover table ' || %s, 0) as k)
        select 'pid ' || a.pid || ' ' || a.application_name
        from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a using (pid), wanted
        where l.locktype = 'advisory' and l.granted
          and (l.classid::bigint << 32) | l.objid::bigint = wanted.k
        """,
        (table,),
    ).fetchone()
    return str(row[0]) if row else "a session that has just ended"


def require_unbroken(conn: Connection) -> None:
    """Refuse when the session that holds the tables for this run is gone: what was seen since may be lost, too.

    It ends with its server. After a crash, and on a standby that was promoted, commits may be missing that were read.
    """
    row = conn.execute(
        r"""
        select exists (
          select from pg_catalog.pg_stat_activity
          where application_name = pg_catalog.regexp_replace(pg_catalog.current_setting('application_name'),
                                                             '\S+$', %s))
        """,
        (GUARD,),
    ).fetchone()
    if not (row and row[0]):
        raise GateError(
            "the session that holds the tables has ended: the server was started again, or is another one",
            where=conn.info.dbname,
            hint="Run again: the gate compares all rows anew.",
            changed=DataChanged.PARTIALLY,
        )


def end_orphans(conn: Connection, migration: str, run_id: str, patience: float = 30.0) -> int:
    """End the sessions of earlier runs of this migration and wait until they are gone; return how many.

    To be called while holding the tables: whoever still works on this migration then belongs to a dead run.
    """
    mine = session_name(migration, run_id, "")
    others = f"changeover {tag(migration)} %"
    deadline = time.monotonic() + patience
    ended: set[int] = set()
    while True:
        rows = conn.execute(
            "select pid, pg_terminate_backend(pid) from pg_catalog.pg_stat_activity"
            " where application_name like %s and application_name not like %s and pid <> pg_backend_pid()",
            (others, mine.rstrip() + "%"),
        ).fetchall()
        if not rows:
            return len(ended)
        ended |= {row[0] for row in rows}
        if time.monotonic() >= deadline:
            raise PreflightError(
                f"sessions of an earlier run do not end: {sorted(ended)}",
                where=conn.info.dbname,
                hint="End them with pg_terminate_backend, then run again.",
            )
        time.sleep(0.1)


def require_privileges(conn: Connection, plan: Plan) -> None:
    """Refuse a role that cannot do to the tables what a plan does, before anything is done. Raises PreflightError.

    Who copies rows into another database and makes no triggers has to read them, all of them, and no more.
    """
    reads = plan.strategy == "cross_database" and not plan.phase(Phase.DUAL_WRITE)
    for table in plan.tables:
        schema, _, name = table.rpartition(".")
        row = conn.execute(
            "select pg_has_role(current_user, relowner, 'usage'), pg_get_userbyid(relowner), current_user,"
            " has_schema_privilege(relnamespace, 'usage') and has_table_privilege(oid, 'select'),"
            " row_security_active(oid)"
            " from pg_catalog.pg_class where oid = to_regclass(%s)",
            (f"{quote(schema)}.{quote(name)}",),
        ).fetchone()
        if row is None or row[0]:
            continue
        may_not = "does not own" if not reads else "may not read" if not row[3] else "may not read all rows of"
        if not (reads and row[3] and not row[4]):
            raise PreflightError(
                f"the role {row[2]} {may_not} {table}",
                where=conn.info.dbname,
                hint=f"Connect as {row[1]}, or as a member of that role.",
            )


def run_sessions(conn: Connection, migration: str) -> tuple[bool, str]:
    """Tell whether a run is alive, and for whom it waits. Without the right to see others: nobody."""
    try:
        rows = conn.execute(
            """
            select a.wait_event_type = 'Lock',
                   (select string_agg(
                               format('pid %%s (%%s)', b.pid, coalesce(nullif(b.application_name, ''), 'unnamed')), ', '
                           )
                      from pg_catalog.pg_stat_activity b where b.pid = any (pg_catalog.pg_blocking_pids(a.pid)))
              from pg_catalog.pg_stat_activity a
             where a.application_name like %s and a.datname = current_database()
            """,
            (f"changeover {tag(migration)} %",),
        ).fetchall()
    except psycopg.errors.InsufficientPrivilege:
        return False, ""
    blocked = next((row[1] for row in rows if row[0] and row[1]), None)
    return bool(rows), f"a lock that {blocked} holds" if blocked else ""
