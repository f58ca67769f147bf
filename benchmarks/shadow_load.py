"""What applications feel while a table of MariaDB is made anew: by us, by one statement, by pt-online-schema-change."""

import math
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import pymysql

from benchmarks import specs
from benchmarks.parity_mariadb import SERVER
from benchmarks.result import Result, Sizes
from benchmarks.server import Meter, Usage, template
from benchmarks.shadow import on_mariadb
from benchmarks.surroundings import Surroundings
from examples.demo.latency import Latency, summarise
from tasks.engines.mysql.session import MariaSession, connect

NAMES = ("shadow_p99_mariadb", "shadow_stall_mariadb", "shadow_failed_mariadb", "shadow_p99_pt_osc")
_RATE = 175
"""Writes a second, whatever becomes of those before: one that comes late has waited since it was due."""
_THREADS = 4
_IDLE = 10.0
"""Seconds that the application writes alone, before anything is done, to compare with."""
_PEER = "pt-online-schema-change"
_FRESH = 100_000_000
Began = list[tuple[str, float]]
"""What began when, in order: the first is when it began to be felt."""


@dataclass(kw_only=True)
class _Felt:
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
class _Load:
    """An application that writes at a steady rate: updates, inserts, deletes, each a transaction."""

    url: str
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
        with connect(self.url) as conn:
            while not self._over.is_set():
                due = self._started + number / _RATE
                if (early := due - time.monotonic()) > 0 and self._over.wait(early):
                    return
                try:
                    self._write(conn, number, dice)
                except pymysql.err.MySQLError:
                    self.failed += 1
                self.writes.append((due, time.monotonic() - due))
                number += _THREADS

    def _write(self, conn: MariaSession, number: int, dice: random.Random) -> None:
        if number % 10 < 7:
            conn.execute("update orders set quantity = quantity + 1 where id = %s", (dice.randint(1, self.rows),))
        elif number % 10 < 9:
            values = (_FRESH + number, "a", 1, "EUR", "new", "2026-01-01 00:00:00", 1)
            columns = "id, customer, amount, currency, status, created_at, quantity"
            conn.execute(f"insert into orders ({columns}) values (%s, %s, %s, %s, %s, %s, %s)", values)
        else:
            conn.execute("delete from orders where id = %s", (dice.randint(1, self.rows),))


def measure(place: Surroundings, sizes: Sizes) -> list[Result]:
    """Make a table anew in each way, once, under the same load; nothing where there is no MariaDB."""
    server = os.environ.get(SERVER)
    if not server:
        return []
    spec = specs.write(place.folder, "shadow_load", specs.REBUILD, strategy="shadow_table")
    ways: dict[str, Callable[[str], Began]] = {
        "idle": _idle,
        "ours": lambda url: _through_flow(place, url, spec),
        "one insert ... select": _one_statement,
    }
    if program := shutil.which(_PEER):
        ways[_PEER] = lambda url: _peer(program, url)
    with template(place.postgres, sizes.rows, indexed=True) as name:
        felt = {way: _under_load(place.postgres.url_of(name), server, sizes, does) for way, does in ways.items()}
    return list(_results(felt, sizes))


def _under_load(source: str, server: str, sizes: Sizes, does: Callable[[str], Began]) -> _Felt:
    """Let a table be made anew while an application writes; `does` tells from when on that was felt."""
    with on_mariadb(source, server) as (url, pid):
        meter = Meter(pid)
        with _Load(url, sizes.rows) as load:
            began = does(url)
        usage = meter.taken()
    ends = [at for _, at in began[1:]] + [math.inf]
    parts = {
        name: [seconds for due, seconds in load.writes if at <= due < end]
        for (name, at), end in zip(began, ends, strict=True)
    }
    return _Felt(
        latency=summarise(seconds for felt in parts.values() for seconds in felt),
        failed=load.failed,
        usage=usage,
        parts={name: summarise(felt) for name, felt in parts.items() if felt},
    )


def _idle(_: str) -> Began:
    began = time.monotonic()
    time.sleep(_IDLE)
    return [("idle", began)]


def _through_flow(place: Surroundings, url: str, spec: Path) -> Began:
    here = replace(place, environment={**place.environment, specs.URL: url})
    # What Python loads before is not felt, and would thin out what is.
    return [(name, at) for name, at in here.migrate("shadow", spec, place.folder / "benchmark.toml")["parts"]]


def _one_statement(url: str) -> Began:
    began = time.monotonic()
    with connect(url) as conn:
        conn.execute("create table copied like orders")
        conn.execute("set session innodb_lock_wait_timeout = 600")
        conn.execute("insert into copied select * from orders lock in share mode")
    return [("statement", began)]


def _peer(program: str, url: str) -> Began:
    began = time.monotonic()
    parts = urlsplit(url)
    where = f"h={parts.hostname},P={parts.port},u={parts.username},D={parts.path.lstrip('/')},t=orders"
    command = [program, "--execute", "--no-version-check", "--alter", "engine=InnoDB", where]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return [("peer", began)]


def _results(felt: dict[str, _Felt], sizes: Sizes) -> list[Result]:
    ours, idle, peer = felt["ours"].latency, felt["idle"].latency, felt.get(_PEER)
    told = f"{sizes.rows:,} rows, {_RATE} writes a second, open loop; " + "; ".join(
        f"{way}: {one.said()}" for way, one in felt.items()
    )
    told += f". Of ours, {felt['ours'].said_by_part()}"
    against = round(ours.p99_ms / idle.p99_ms, 2)
    results = [
        Result(name=NAMES[0], measured=against, goal=3.0, unit="x", detail=told),
        Result(name=NAMES[1], measured=round(ours.max_ms), goal=100, unit="ms", detail=felt["ours"].said()),
        Result(name=NAMES[2], measured=felt["ours"].failed, goal=0, unit="writes", detail=felt["ours"].said()),
    ]
    if peer is not None:
        measured = round(ours.p99_ms / peer.latency.p99_ms, 3)
        results.append(Result(name=NAMES[3], measured=measured, goal=0.05, unit="x", detail=peer.said()))
    return results
