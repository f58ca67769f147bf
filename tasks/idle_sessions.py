"""Sessions that a run of PostgreSQL has opened and does not use: the next of the same purpose is one of these.

A run looks into its ledger some twenty times. To connect takes a server, and this process, longer than what is asked.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.pq import TransactionStatus

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.protocol import Engine
from tasks.engines.session import Session

_KEPT = {"ledger", "boundary"}
"""What sessions are for in which nothing is set, and that a run needs again and again."""
_MOST = 2
"""So many are kept for each: a run of many shards has not as many sessions after them as while they were filled."""


class _Idle:
    """Those of one run, in the process that opened them: one that is forked from it has none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._free: dict[str, list[Connection]] = {}
        self._over = False

    def take(self, purpose: str) -> Connection | None:
        """Return one that still answers; None: there is none."""
        while os.getpid() == self._process:
            with self._lock:
                free = self._free.get(purpose)
                conn = free.pop() if free else None
            if conn is None or _answers(conn):
                return conn
            conn.close()
        return None

    def give(self, purpose: str, conn: Connection) -> bool:
        """Keep one for the next, unless the run is over, or there are enough; return whether it is kept."""
        # Before the lock: it may have been held in the moment of the fork, and stays so in the child.
        if os.getpid() != self._process:
            return False
        with self._lock:
            free = self._free.setdefault(purpose, [])
            kept = not self._over and len(free) < _MOST
            if kept:
                free.append(conn)
        return kept

    def close(self) -> None:
        """Close what is idle, and keep nothing from now on."""
        with self._lock:
            self._over = True
            free, self._free = self._free, {}
        for conn in (conn for some in free.values() for conn in some):
            conn.close()


_RUNS: dict[str, _Idle] = {}


@contextmanager
def kept_idle(run_id: str) -> Iterator[None]:
    """Keep the sessions that a run does not use, for as long as the context lasts, in this process."""
    _RUNS[run_id] = idle = _Idle()
    try:
        yield
    finally:
        _RUNS.pop(run_id, None)
        idle.close()


def open_session(engine: Engine, run_id: str, purpose: str) -> Session:
    """Return a session: an idle one of the run, or a new one. Raises what `connect` does."""
    idle = _RUNS.get(run_id)
    kept = None if idle is None else idle.take(purpose)
    return engine.connect(purpose) if kept is None else kept


def leave_session(run_id: str, purpose: str, conn: Session) -> None:
    """Leave a session in which nothing is set to the next who needs one.

    It is closed where it is for something else, has not come to the end of what it did, or nothing is kept.
    """
    idle = _RUNS.get(run_id)
    if (
        idle is None
        or purpose not in _KEPT
        or not isinstance(conn, psycopg.Connection)
        or conn.info.transaction_status is not TransactionStatus.IDLE
        or not idle.give(purpose, conn)
    ):
        conn.close()


def _answers(conn: Connection) -> bool:
    """Whether the server has not ended it meanwhile: it has been restarted, or another run has taken over."""
    try:
        conn.execute("select 1")
    except psycopg.Error:
        return False
    return True
