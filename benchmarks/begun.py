"""When each part of a migration began, as its ledger says."""

import time
from collections.abc import Sequence

import psycopg

from tasks.engines.mysql.session import connect

_PARTS = """
    select name, {seconds} from (
        select 'copy' as name, min(started_at) as begun from {steps} where {key} like 'backfill/%'
        union all select 'triggers', max(finished_at) from {steps} where {key} like 'backfill/%'
        union all select 'comparison', min(started_at) from {steps} where {key} like 'reconcile/%'
        union all select 'gate', max(finished_at) from {steps} where {key} like 'reconcile/%'
        union all select 'swap', at from {gates} where gate = 'before_swap'
        union all select 'gate after the swap', finished_at from {steps} where {key} = 'swap/all'
    ) as parts where begun is not null order by begun
"""


def begun(url: str) -> list[tuple[str, float]]:
    """Return what began when, in order, by the clock of the machine that everybody on it sees."""
    # The server is on this machine, and tells the time of day.
    return [(str(name), float(seconds) - time.time() + time.monotonic()) for name, seconds in _asked(url)]


def _asked(url: str) -> Sequence[Sequence[str | float]]:
    if url.startswith("mysql"):
        with connect(url) as conn:
            names = {"steps": "changeover_steps", "gates": "changeover_gates", "key": "`key`"}
            found = conn.execute(_PARTS.format(seconds="cast(unix_timestamp(begun) as double)", **names)).fetchall()
            return list(found)
    with psycopg.connect(url) as conn:
        names = {"steps": "changeover.steps", "gates": "changeover.gates", "key": "key"}
        query = _PARTS.format(seconds="extract(epoch from begun)::double precision", **names)
        return conn.execute(query.encode()).fetchall()
