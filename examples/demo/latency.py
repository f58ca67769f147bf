"""What an application feels: percentiles, and the lock waits that the server sees."""

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, nan
from types import TracebackType
from typing import Self

import psycopg


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Durations in milliseconds. With a count of 0 all are NaN, so that no comparison with them holds."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed (nearest rank)."""
    if not ordered:
        return nan
    return ordered[max(1, ceil(share * len(ordered))) - 1]


def summarise(seconds: Iterable[float]) -> Latency:
    """Summarise durations given in seconds."""
    ordered = sorted(value * 1000 for value in seconds)
    return Latency(
        count=len(ordered),
        p50_ms=percentile(ordered, 0.5),
        p99_ms=percentile(ordered, 0.99),
        max_ms=percentile(ordered, 1.0),
    )


@dataclass(frozen=True, kw_only=True)
class LockWait:
    """The longest wait seen of one kind: who waited for what, held by whom."""

    application: str
    """application_name of the session that waited."""
    waited_for: str
    """The table and the mode, or the kind of lock where it is not a table's."""
    blocked_by: tuple[str, ...]
    """application_name of those it waited for, holding the lock or before it in the queue; sorted."""
    began: float
    """Seconds since the epoch, by the clock of the server."""
    ms: float
    """Milliseconds, when last seen: up to one sampling interval less than the whole."""


# Only sessions that wait are looked at more closely: pg_blocking_pids stops the lock table for a moment.
_WAITS = """
select
    waiter.application_name,
    coalesce(wait.relation::regclass::text || ' ', '') ||
        case wait.locktype when 'relation' then wait.mode else wait.locktype end,
    array(
        select distinct blocker.application_name
        from unnest(pg_blocking_pids(wait.pid)) as blocking (pid)
        join pg_stat_activity as blocker using (pid)
        order by 1
    ),
    extract(epoch from wait.waitstart)::float8,
    extract(epoch from clock_timestamp() - wait.waitstart)::float8 * 1000
from pg_locks as wait
join pg_stat_activity as waiter using (pid)
where not wait.granted
    and wait.waitstart is not null
    and waiter.datname = current_database()
    and waiter.application_name like %(like)s
"""


class LockSampler:
    """Look at the lock waits of an application every few milliseconds, in a thread of its own.

    One connection, no lock on any table. Keeps the longest wait for each (waiter, what for, blockers), so its
    memory does not grow with time. Waits shorter than the interval may go unseen. PostgreSQL 14 or newer.
    An error of the connection ends the sampling and is raised on exit: not looking must not pass for not seeing.
    """

    def __init__(self, url: str, *, like: str = "demo-app%", interval_ms: float = 10.0):
        self._like = like
        self._interval = interval_ms / 1000
        self._longest: dict[tuple[str, str, tuple[str, ...]], LockWait] = {}
        self._ended = threading.Event()
        self._failure: psycopg.Error | None = None
        self._connection = psycopg.connect(url, autocommit=True, application_name="demo-lock-sampler")
        self._thread = threading.Thread(target=self._sample, name="lock-sampler", daemon=True)
        self.samples = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if self._failure is not None and error is None:
            raise self._failure

    def waits(self, blocked_by: str = "") -> tuple[LockWait, ...]:
        """Return the longest wait of each kind, longest first.

        With `blocked_by`, only those with a blocker whose application_name starts so.
        """
        found = list(self._longest.values())
        if blocked_by:
            found = [wait for wait in found if any(name.startswith(blocked_by) for name in wait.blocked_by)]
        return tuple(sorted(found, key=lambda wait: -wait.ms))

    def longest(self, blocked_by: str = "") -> LockWait | None:
        """Return the longest wait seen so far; None when there was none."""
        return next(iter(self.waits(blocked_by)), None)

    def _end(self) -> None:
        self._ended.set()
        self._thread.join(timeout=10)
        self._connection.close()

    def _sample(self) -> None:
        try:
            due = time.monotonic()
            while not self._ended.wait(max(0.0, due - time.monotonic())):
                due = max(due + self._interval, time.monotonic())
                for row in self._connection.execute(_WAITS, {"like": self._like}):
                    self._keep(*row)
                self.samples += 1
        except psycopg.Error as error:
            self._failure = error

    def _keep(self, application: str, waited_for: str, blocked_by: list[str], began: float, ms: float) -> None:
        key = (application, waited_for, tuple(blocked_by))
        before = self._longest.get(key)
        if before is None or ms > before.ms:
            self._longest[key] = LockWait(
                application=application,
                waited_for=waited_for,
                blocked_by=tuple(blocked_by),
                began=began,
                ms=ms,
            )
