"""Readings that tell whether the backfill should hold back. No reading means: hold back."""

import time

from tasks.engines.postgresql.blockers import Connection
from tasks.model.names import quote


def replica_lag_bytes(conn: Connection, names: tuple[str, ...]) -> int | None:
    """Return how many bytes of WAL the slowest standby has yet to replay; None when one cannot be read.

    `names` are the application names of the standbys; empty: all that stream, and 0 when none does. Bytes and
    not `replay_lag`, which stands still when the receiver does.
    """
    rows = conn.execute(
        "select application_name, pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint"
        " from pg_catalog.pg_stat_replication where state in ('streaming', 'catchup')"
    ).fetchall()
    lags = {row[0]: row[1] for row in rows}
    wanted = names or tuple(lags)
    if any(lags.get(name) is None for name in wanted):
        return None
    return max((int(lags[name]) for name in wanted), default=0)


def probe_latency_ms(conn: Connection, table: str, key: tuple[str, ...]) -> float:
    """Return how long it takes to read one row by the key, as an application would."""
    order = ", ".join(quote(column) for column in key)
    started = time.monotonic()
    conn.execute(f"select 1 from {table} order by {order} limit 1").fetchone()
    return (time.monotonic() - started) * 1000
