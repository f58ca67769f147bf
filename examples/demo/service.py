"""The application as a process: workers that follow an open-loop schedule until they are told to end."""

import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import psycopg

from examples.demo.report import ApplicationReport, Timings
from examples.demo.session import KINDS, Session
from examples.demo.workload import Columns, Keys, Worker, choose

GRACE = 5.0
"""Seconds that statements have to finish once the application is told to end; then they are cancelled."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the application runs."""

    url: str
    name: str
    """Workers call themselves `name-0`, `name-1`, ... in application_name."""
    rate: float
    """Operations due each second, all workers together. Most have several statements."""
    workers: int
    seconds: float
    """It ends after this time at the latest."""
    seed: int
    columns: Columns
    prepare: bool
    """Use prepared statements."""
    nulls: float
    """Share of the names written that are NULL."""
    out: Path
    parent: int
    """Process without which it ends by itself."""


def clock() -> float:
    """Return seconds since the epoch that never jump: the clock of the machine is read once, at the start."""
    return _EPOCH + time.monotonic()


_EPOCH = time.time() - time.monotonic()


class Service:
    """Run the schedule; one thread and one connection a worker.

    The schedule is open-loop: operation number n is due at `start + n / rate`, whether or not those before it
    are through. A worker that was held up starts the operations it missed at once; their lag is recorded.
    SIGTERM and SIGINT end it with its report, SIGUSR1 switches to the new columns, SIGUSR2 to the old ones.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._wanted: Columns = settings.columns
        # Plain attributes: an Event set by a signal handler can deadlock with the thread that waits for it.
        self._ending = False
        self._started = 0.0
        self._lags = [Timings() for _ in range(settings.workers)]
        self._deployments: list[tuple[float, str]] = []
        self._broken: list[str] = []
        self._workers = self._connected()
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"worker-{number}", daemon=True)
            for number in range(settings.workers)
        ]

    def run(self) -> int:
        """Run to the end, write the report, and return the exit code."""
        signal.signal(signal.SIGTERM, lambda *_: self._end())
        signal.signal(signal.SIGINT, lambda *_: self._end())
        signal.signal(signal.SIGUSR1, lambda *_: self._switch("new"))
        signal.signal(signal.SIGUSR2, lambda *_: self._switch("old"))
        self._started = clock()
        self._deployments.append((self._started, self._wanted))
        for thread in self._threads:
            thread.start()
        say(event="started", at=self._started, columns=self._wanted)
        self._watch()
        self._stop()
        self._report().write(self._settings.out)
        # The interpreter gives handlers back before it ends: a late signal would spoil the exit code.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        say(event="ended", at=clock(), failures=sum(len(worker.session.failures) for worker in self._workers))
        for trace in self._broken:
            sys.stderr.write(trace)
        return 1 if self._broken else 0

    def _connected(self) -> list[Worker]:
        settings = self._settings
        sessions = [
            Session(settings.url, f"{settings.name}-{number}", clock, prepare=settings.prepare)
            for number in range(settings.workers)
        ]
        for session in sessions:
            session.connect()
        row = sessions[0].run("read", "select coalesce(max(id), 0) from orders").fetchone()
        keys = Keys(top=row[0] if row else 0)
        return [
            Worker(
                session=session,
                dice=random.Random(f"{settings.seed}/{number}"),
                keys=keys,
                columns=settings.columns,
                nulls=settings.nulls,
                steady=number == 0 and settings.workers > 1,
            )
            for number, session in enumerate(sessions)
        ]

    def _end(self) -> None:
        self._ending = True

    def _switch(self, columns: Columns) -> None:
        self._wanted = columns

    def _watch(self) -> None:
        """Wait for the end, and tell when every worker has gone over to other columns."""
        until = self._started + self._settings.seconds
        while not self._ending and clock() < until and os.getppid() == self._settings.parent:
            time.sleep(0.02)
            columns = self._wanted
            if columns != self._deployments[-1][1] and all(work.columns == columns for work in self._workers):
                self._deployments.append((clock(), columns))
                say(event="deployed", at=self._deployments[-1][0], columns=columns)
            self._ending = self._ending or bool(self._broken)

    def _work(self, number: int) -> None:
        worker, lags = self._workers[number], self._lags[number]
        due, step = self._started + number / self._settings.rate, self._settings.workers / self._settings.rate
        try:
            while not self._ending:
                # Between two operations only: an operation belongs to one version of the application.
                worker.columns = self._wanted
                early = due - clock()
                if early > 0:
                    time.sleep(min(early, 0.05))
                    continue
                lags.add(due, -early)
                self._attempt(worker)
                due += step
        except BaseException:  # noqa: BLE001 - a thread that dies unseen would look like an idle application
            self._broken.append(traceback.format_exc())

    @staticmethod
    def _attempt(worker: Worker) -> None:
        operation = choose(worker)
        try:
            worker.session.connect()
            operation(worker)
        except psycopg.Error:
            # Recorded by the session. No second try: the customer has already seen the failure.
            worker.session.recover()

    def _stop(self) -> None:
        self._ending = True
        sessions = [worker.session for worker in self._workers]
        _join(self._threads, GRACE)
        for thread, session in zip(self._threads, sessions, strict=True):
            if thread.is_alive():
                session.cancel()
        _join(self._threads, GRACE)
        for thread, session in zip(self._threads, sessions, strict=True):
            if thread.is_alive():
                session.give_up()
            else:
                session.close()

    def _report(self) -> ApplicationReport:
        statements, operations = Timings(), Timings()
        for worker, lags in zip(self._workers, self._lags, strict=True):
            statements.extend(worker.session.statements)
            operations.extend(lags)
        failures = [failure for worker in self._workers for failure in worker.session.failures]
        return ApplicationReport(
            started=self._started,
            ended=clock(),
            kinds=KINDS,
            statements=statements,
            operations=operations,
            failures=tuple(sorted(failures, key=lambda failure: failure.at)),
            deployments=tuple(self._deployments),
            unfinished=sum(worker.session.unfinished for worker in self._workers),
        )


def say(**event: object) -> None:
    """Tell the parent, in one line of JSON; a parent that is gone does not matter here."""
    try:
        os.write(1, json.dumps(event).encode() + b"\n")
    except OSError:
        return


def _join(threads: list[threading.Thread], seconds: float) -> None:
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
