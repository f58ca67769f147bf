"""What locks a run is seen to hold on tables, as `pg_locks` tells another session while steps run."""

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

import psycopg

from tasks.model.steps import Lock, LockMode

HARMLESS = (LockMode.ACCESS_SHARE, LockMode.ROW_SHARE, LockMode.ROW_EXCLUSIVE)
"""What reading and writing take: they keep no application waiting."""
OWN_SCHEMAS = ("_changeover_new_", "_changeover_old_")
"""Where a shadow table stands, and then the old one: applications come there by a trigger of the table at most."""
_SEEN = """
select l.virtualtransaction, n.nspname || '.' || c.relname, l.mode
from pg_locks l
join pg_stat_activity a using (pid)
join pg_class c on c.oid = l.relation and c.relkind in ('r', 'p')
join pg_namespace n on n.oid = c.relnamespace and n.nspname !~ '^(pg_|information_schema$|changeover$)'
where l.locktype = 'relation' and l.granted and a.datname = current_database()
  and a.application_name like 'changeover %'
"""


def lock_mode(name: str) -> LockMode:
    """Return the mode by its name in `pg_locks`: `ShareRowExclusiveLock` is SHARE ROW EXCLUSIVE."""
    by_name = {mode.value.replace(" ", "").lower() + "lock": mode for mode in LockMode}
    return by_name[name.lower()]


@dataclass
class Holds:
    """From when to when transactions were seen with a lock on a table."""

    times: dict[tuple[str, str, LockMode], tuple[float, float]] = field(default_factory=dict)

    def longest(self, *modes: LockMode) -> float:
        """Return the seconds of the one that was held longest."""
        return max((last - first for (_, _, mode), (first, last) in self.times.items() if mode in modes), default=0.0)

    @property
    def modes(self) -> set[LockMode]:
        """Return what was seen on any table."""
        return {mode for _, _, mode in self.times}

    def harder_than(self, announced: Sequence[Lock], but: Collection[str] = ()) -> list[str]:
        """Name what is harder than what is announced for its table, and would keep somebody waiting."""
        strength = list(LockMode)
        said = {lock.table.replace('"', ""): strength.index(lock.mode) for lock in announced}
        return [
            f"{table} {mode}"
            for table, mode in sorted({(table, mode) for _, table, mode in self.times})
            if mode not in HARMLESS
            and table not in but
            and not table.startswith(OWN_SCHEMAS)
            and strength.index(mode) > said.get(table, -1)
        ]


class LockWatch:
    """Looks at the locks of our sessions all the time, for as long as somebody asks."""

    def __init__(self, url: str) -> None:
        self._conn = psycopg.connect(url, autocommit=True)
        self._over = threading.Event()
        self._found: Holds | None = None
        self._thread = threading.Thread(target=self._look, name="lock watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._conn.close()

    @contextmanager
    def during(self) -> Iterator[Holds]:
        """Give what is seen until the body has ended."""
        self._found = found = Holds()
        try:
            yield found
        finally:
            self._found = None

    def _look(self) -> None:
        while not self._over.wait(0.002):
            if (found := self._found) is None:
                continue
            seen = self._conn.execute(_SEEN).fetchall()
            now = time.monotonic()
            for transaction, table, name in seen:
                key = (transaction, table, lock_mode(name))
                found.times[key] = (found.times.get(key, (now, now))[0], now)
