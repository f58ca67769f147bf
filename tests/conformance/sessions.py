"""Sessions that are used again: to open one costs more than most of what a step does in it.

Where a migration is driven step by step: commands and flows have sessions as the product opens them, and so does
everything where CHANGEOVER_EVERY_LEG is set.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from types import TracebackType
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from tasks.engines.postgresql.engine import PostgresEngine
from tasks.engines.postgresql.sessions import session_name

_PINNED = "select name, setting from pg_settings where source = 'session'"
_PIN = "select set_config(name, value, false) from unnest(%s::text[], %s::text[]) one (name, value)"


class Kept(psycopg.Connection[Any]):
    """A session that stays open for the next one who asks, unless something went wrong in it."""

    free: bool
    pinned: Sequence[tuple[str, str]]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave it open where nothing is left to be decided."""
        idle = not self.closed and self.info.transaction_status is TransactionStatus.IDLE
        if kind is None and idle and self.autocommit:
            self.free = True
        else:
            super().__exit__(kind, error, traceback)

    def again(self, name: str) -> bool:
        """Make it as if it had just been opened; return whether it is still there."""
        try:
            self.execute("discard all")
            names, values = zip(*self.pinned, strict=True)
            self.execute(_PIN, [["application_name", *names], [name, *values]])
        except psycopg.OperationalError:
            self.close()
            return False
        return True


@dataclass(frozen=True, kw_only=True)
class KeepingEngine(PostgresEngine):
    """Opens a session only where none is free."""

    kept: list[Kept] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def connect(self, purpose: str) -> psycopg.Connection[Any]:
        """Give a session as new: without settings, locks, plans or temporary tables of whoever had it before."""
        while (conn := self._free()) is not None:
            if conn.again(session_name(self.migration, self.run_id, purpose)):
                return conn
        conn = super().connect(purpose)
        conn.__class__ = Kept
        assert isinstance(conn, Kept)
        conn.free, conn.pinned = False, conn.execute(_PINNED).fetchall()
        self.kept.append(conn)
        return conn

    def _free(self) -> Kept | None:
        with self.lock:
            self.kept[:] = [conn for conn in self.kept if not conn.closed]
            for conn in self.kept:
                if conn.free:
                    conn.free = False
                    return conn
        return None

    def close(self) -> None:
        """Close what was kept."""
        for conn in self.kept:
            conn.close()
