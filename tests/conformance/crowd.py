"""Several applications at once, each a thread with a connection of its own, for as long as a context lasts."""

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import psycopg

from tests.conformance.drive import Connection
from tests.legs import EVERY_LEG
from tests.servers.remains import soon


class Member(threading.Thread, ABC):
    """One connection of an application, which writes until it is told to stop, or fails."""

    expected: tuple[type[Exception], ...] = ()
    """What members do to each other, migration or not: the transaction is tried no more, and the next one comes."""

    settings = "select"
    """What its session begins with."""

    def __init__(self, url: str, name: str, seed: str) -> None:
        super().__init__(name=name, daemon=True)
        self.url = url
        self.random = random.Random(seed)
        self.over = threading.Event()
        self.committed = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Write until told to stop; stop at the first failure that is not the members' own doing."""
        try:
            with psycopg.connect(self.url, autocommit=True) as conn:
                conn.execute(self.settings.encode())
                while not self.over.is_set():
                    began = time.monotonic()
                    try:
                        self.transaction(conn)
                        self.committed += 1
                    except self.expected:
                        pass
                    self.over.wait(self.thinks(time.monotonic() - began))
        except BaseException as error:  # noqa: BLE001 - the test shows it
            self.failure = error

    def thinks(self, took: float) -> float:
        """Say for how many seconds it does nothing after a transaction that took so many.

        Those who never stop take all of a slow machine, and block each other there without end.
        """
        return 0.0 if EVERY_LEG else min(2 * took, 0.05)

    @abstractmethod
    def transaction(self, conn: Connection) -> None:
        """Carry out one transaction."""


class Keyed(Member):
    """One that writes a few keys in a transaction, in their order, so that members do not deadlock each other."""

    keys = 40
    """Few enough for members to meet."""

    def transaction(self, conn: Connection) -> None:
        """Change what belongs to some keys."""
        keys = sorted(self.random.sample(range(1, self.keys), self.random.randint(1, 5)))
        with conn.transaction() as transaction:
            for key in keys:
                self.statements(conn, key)
            if self.random.random() < 0.15:
                raise psycopg.Rollback(transaction)

    @abstractmethod
    def statements(self, conn: Connection, key: int) -> None:
        """Change what belongs to one."""


class Crowd:
    """Members at work while the context lasts; the failure of one is raised at its end."""

    def __init__(self, writers: Sequence[Member]) -> None:
        self.writers = writers

    def __enter__(self) -> Self:
        for writer in self.writers:
            writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self.writers:
            writer.over.set()
        for writer in self.writers:
            writer.join()
            if error is None and writer.failure is not None:
                raise writer.failure

    @property
    def committed(self) -> int:
        """How many transactions were committed so far."""
        return sum(writer.committed for writer in self.writers)

    def work(self, transactions: int) -> None:
        """Wait until so many more transactions were committed."""
        wanted = self.committed + transactions
        assert soon(lambda: self.committed >= wanted or any(one.failure for one in self.writers), seconds=60)
