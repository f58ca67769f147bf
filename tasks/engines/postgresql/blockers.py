"""Who stands in the way: sessions that hold what a step needs, named without their query texts."""

from collections.abc import Sequence
from typing import Any

import psycopg

from profiles.model import Limits
from tasks.model.base import Record
from tasks.model.errors import StateError
from tasks.model.steps import Lock, LockMode

Connection = psycopg.Connection[Any]

_M = LockMode
CONFLICTS: dict[LockMode, frozenset[LockMode]] = {
    _M.ACCESS_SHARE: frozenset({_M.ACCESS_EXCLUSIVE}),
    _M.ROW_SHARE: frozenset({_M.EXCLUSIVE, _M.ACCESS_EXCLUSIVE}),
    _M.ROW_EXCLUSIVE: frozenset({_M.SHARE, _M.SHARE_ROW_EXCLUSIVE, _M.EXCLUSIVE, _M.ACCESS_EXCLUSIVE}),
    _M.SHARE_UPDATE_EXCLUSIVE: frozenset(set(_M) - {_M.ACCESS_SHARE, _M.ROW_SHARE, _M.ROW_EXCLUSIVE}),
    _M.SHARE: frozenset(set(_M) - {_M.ACCESS_SHARE, _M.ROW_SHARE, _M.SHARE}),
    _M.SHARE_ROW_EXCLUSIVE: frozenset(set(_M) - {_M.ACCESS_SHARE, _M.ROW_SHARE}),
    _M.EXCLUSIVE: frozenset(set(_M) - {_M.ACCESS_SHARE}),
    _M.ACCESS_EXCLUSIVE: frozenset(_M),
}
"""Which held modes keep a wanted mode waiting (PostgreSQL documentation, table 13.2)."""


class Blocker(Record):
    """A session, or a prepared transaction, that holds something."""

    pid: int | None
    who: str
    """Role and application name, or the global id of a prepared transaction."""
    state: str
    seconds: float
    """Age of its transaction."""
    holds: str
    autovacuum: bool = False

    def __str__(self) -> str:
        pid = f"pid {self.pid}" if self.pid is not None else "prepared transaction"
        return f"{pid} ({self.who}, {self.state}, {self.seconds:.1f} s, {self.holds})"


def holders(conn: Connection, locks: Sequence[Lock], older_than_ms: int = 0) -> tuple[Blocker, ...]:
    """Return who holds a lock that conflicts with one of `locks`, in transactions older than that."""
    found: list[Blocker] = []
    # Nobody, most of the time: to plan the query that says who it is takes longer than to look.
    for lock in locks if _others_hold(conn, locks) else ():
        modes = [mode.title().replace(" ", "") + "Lock" for mode in CONFLICTS[lock.mode]]
        rows = conn.execute(
            """
            select a.pid, coalesce(a.usename || ' ' || nullif(a.application_name, ''), a.usename, a.backend_type,
                                   x.owner || ' ' || x.gid, 'unknown'),
                   coalesce(a.state, a.backend_type, 'prepared'),
                   extract(epoch from clock_timestamp() - coalesce(a.xact_start, x.prepared))::float8,
                   l.mode || ' on ' || l.relation::regclass, coalesce(a.query like 'autovacuum: %%'
                   and a.query not like '%%(to prevent wraparound)' and a.backend_type = 'autovacuum worker', false)
            from pg_catalog.pg_locks l
            left join pg_catalog.pg_stat_activity a on a.pid = l.pid
            left join pg_catalog.pg_prepared_xacts x on l.virtualtransaction = '-1/' || x.transaction::text
            where l.locktype = 'relation' and l.granted and l.mode = any(%s)
              and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
              -- To lock a table is to lock its partitions, too.
              and l.relation in (select to_regclass(%s)::oid union all
                                 select relid::oid from pg_catalog.pg_partition_tree(to_regclass(%s)))
              and l.pid is distinct from pg_backend_pid()
              and coalesce(a.xact_start, x.prepared, '-infinity')
                  <= clock_timestamp() - make_interval(secs => %s::float8 / 1000)
            """,
            (modes, lock.table, lock.table, older_than_ms),
        ).fetchall()
        found += [
            Blocker(pid=r[0], who=r[1], state=r[2], seconds=r[3] or 0.0, holds=r[4], autovacuum=r[5]) for r in rows
        ]
    return tuple(dict.fromkeys(found))


def refuse_waiting(conn: Connection) -> None:
    """Refuse to keep a snapshot while somebody waits for a table that it has read, for longer than the lock budget.

    Who waits for ACCESS EXCLUSIVE, to TRUNCATE or alter the table, lets everybody wait who comes later, readers too.
    Raises StateError.
    """
    row = conn.execute(
        "select w.pid, w.relation::pg_catalog.regclass::text from pg_catalog.pg_locks w"
        " where not w.granted and w.locktype = 'relation'"
        " and w.waitstart < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %s::float8 / 1000)"
        " and pg_catalog.pg_backend_pid() = any(pg_catalog.pg_blocking_pids(w.pid)) limit 1",
        (Limits().lock_budget,),
    ).fetchone()
    if row is not None:
        raise StateError(
            f"pid {row[0]} waits for {row[1]}, to empty or to change it, until all rows are compared: given up",
            where=conn.info.dbname,
            hint="Do that before, or after, and begin again: nothing is lost.",
        )


def _others_hold(conn: Connection, locks: Sequence[Lock]) -> bool:
    """Whether another session holds a lock on one of the tables, or on a partition."""
    if not locks:
        return False
    row = conn.execute(
        """
        select exists (
            select from unnest(%s::text[]) as named (name)
            cross join lateral (select to_regclass(name)::oid as relation union all
                                select relid::oid from pg_catalog.pg_partition_tree(to_regclass(name))) as t
            join pg_catalog.pg_locks l on l.relation = t.relation
            where l.locktype = 'relation' and l.granted and l.pid is distinct from pg_backend_pid()
        )
        """,
        ([lock.table for lock in locks],),
    ).fetchone()
    return bool(row and row[0])


def old_snapshots(conn: Connection, older_than_s: float = 0.0) -> tuple[Blocker, ...]:
    """Return transactions, in this database, that a concurrent index build has to wait for."""
    rows = conn.execute(
        """
        select pid, coalesce(usename || ' ' || nullif(application_name, ''), usename, backend_type), state,
               extract(epoch from clock_timestamp() - xact_start)::float8
        from pg_catalog.pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and backend_xmin is not null
          and backend_type not in ('walsender') and query not like 'autovacuum: %%'
          and xact_start <= clock_timestamp() - make_interval(secs => %s)
        order by xact_start
        """,
        (older_than_s,),
    ).fetchall()
    prepared = conn.execute(
        "select gid, owner::text, extract(epoch from clock_timestamp() - prepared)::float8"
        " from pg_catalog.pg_prepared_xacts where database = current_database()"
    ).fetchall()
    return tuple(
        [Blocker(pid=r[0], who=r[1], state=r[2] or "", seconds=r[3], holds="a snapshot") for r in rows]
        + [
            Blocker(pid=None, who=f"{r[1]} {r[0]}", state="prepared", seconds=r[2], holds="a snapshot")
            for r in prepared
        ]
    )


def named(blockers: Sequence[Blocker]) -> str:
    """Return all of them in one line, for a log or an error."""
    return "; ".join(str(blocker) for blocker in blockers[:5]) or "nobody that can be seen"


def before_deadlocks(conn: Connection, most_ms: int) -> int:
    """Return for how long to wait for a lock while we hold another one, in milliseconds.

    We give way before the server looks for deadlocks: it never picks an application as the victim.
    """
    row = conn.execute("select extract(epoch from current_setting('deadlock_timeout')::interval) * 1000").fetchone()
    deadlock = int(row[0]) if row else 1000
    return max(min(most_ms, deadlock // 2), 1)
