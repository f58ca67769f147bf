"""An application that writes at a steady rate, and what it feels of what is done meanwhile."""

import math
import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Protocol, Self

import psycopg
import pymysql

from benchmarks.result import Result, Sizes
from benchmarks.server import Meter, Usage
from examples.demo.latency import Latency, summarise

RATE: Final = 175
"""Writes a second, whatever becomes of those before: one that comes late has waited since it was due."""
_THREADS = 4
_IDLE = 10.0
"""Seconds that the application writes alone, before anything is done, to compare with."""
_FRESH = 100_000_000
_COLUMNS = "id, customer, amount, currency, status, created_at, quantity"
IDLE: Final = "idle"
OURS: Final = "ours"
Began = list[tuple[str, float]]
"""What began when, in order: the first is when it began to be felt."""


class Session(Protocol):
    """A session of either server: both take the same parameters."""

    def execute(self, query: Any, params: Any = None, /) -> Any:
        """Carry out a statement, and commit."""


@dataclass(kw_only=True)
class Felt:
    """What applications felt, and what it took."""

    latency: Latency
    failed: int
    usage: Usage
    parts: dict[str, Latency]
    """What of it was felt during which part, where there are several."""

    def said(self) -> str:
        """Say it in one line."""
        felt = self.latency
        return (
            f"p50 {felt.p50_ms:.1f}, p99 {felt.p99_ms:.1f}, longest {felt.max_ms:.0f} ms of {felt.count:,} writes, "
            f"{self.failed} failed, in {self.usage.wall:.1f} s, {self.usage.cpu:.1f} s of the server"
        )

    def said_by_part(self) -> str:
        """Say when it was felt."""
        return "; ".join(
            f"{name}: p50 {felt.p50_ms:.1f}, p99 {felt.p99_ms:.1f}, longest {felt.max_ms:.0f} ms of {felt.count:,}"
            for name, felt in self.parts.items()
        )


@dataclass
class Load:
    """An application that writes at a steady rate: updates, inserts, deletes, each a transaction."""

    session: Callable[[], AbstractContextManager[Session]]
    rows: int
    writes: list[tuple[float, float]] = field(default_factory=list)
    """When each was due, by the clock of the machine, and how long it took from then on."""
    failed: int = 0

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._started = time.monotonic()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(_THREADS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        dice = random.Random(number)
        with self.session() as conn:
            while not self._over.is_set():
                due = self._started + number / RATE
                if (early := due - time.monotonic()) > 0 and self._over.wait(early):
                    return
                try:
                    self._write(conn, number, dice)
                except (psycopg.Error, pymysql.err.MySQLError):
                    self.failed += 1
                self.writes.append((due, time.monotonic() - due))
                number += _THREADS

    def _write(self, conn: Session, number: int, dice: random.Random) -> None:
        if number % 10 < 7:
            conn.execute("update orders set quantity = quantity + 1 where id = %s", (dice.randint(1, self.rows),))
        elif number % 10 < 9:
            values = (_FRESH + number, "a", 1, "EUR", "new", "2026-01-01 00:00:00", 1)
            conn.execute(f"insert into orders ({_COLUMNS}) values (%s, %s, %s, %s, %s, %s, %s)", values)
        else:
            conn.execute("delete from orders where id = %s", (dice.randint(1, self.rows),))


def felt(load: Load, postmaster: int, does: Callable[[], Began]) -> Felt:
    """Let something be done while an application writes; `does` tells from when on that was felt."""
    meter = Meter(postmaster)
    with load:
        began = does()
    usage = meter.taken()
    ends = [at for _, at in began[1:]] + [math.inf]
    parts = {
        name: [seconds for due, seconds in load.writes if at <= due < end]
        for (name, at), end in zip(began, ends, strict=True)
    }
    return Felt(
        latency=summarise(seconds for part in parts.values() for seconds in part),
        failed=load.failed,
        usage=usage,
        parts={name: summarise(part) for name, part in parts.items() if part},
    )


def idle() -> Began:
    """Do nothing for a while."""
    began = time.monotonic()
    time.sleep(_IDLE)
    return [(IDLE, began)]


def results(names: tuple[str, str, str], found: dict[str, Felt], sizes: Sizes) -> list[Result]:
    """Return the 99th percentile beside ours against that beside nothing, the longest write, and those that failed."""
    ours = found[OURS]
    told = f"{sizes.rows:,} rows, {RATE} writes a second, open loop; " + "; ".join(
        f"{way}: {one.said()}" for way, one in found.items()
    )
    told += f". Of ours, {ours.said_by_part()}"
    against = round(ours.latency.p99_ms / found[IDLE].latency.p99_ms, 2)
    return [
        Result(name=names[0], measured=against, goal=3.0, unit="x", detail=told),
        Result(name=names[1], measured=round(ours.latency.max_ms), goal=100, unit="ms", detail=ours.said()),
        Result(name=names[2], measured=ours.failed, goal=0, unit="writes", detail=ours.said()),
    ]
