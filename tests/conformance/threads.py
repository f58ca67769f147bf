"""Threads that write until their context ends, and of whose statements none may fail."""

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Self


class Threads(ABC):
    """What a writer of each thread does is `write`; what it meets, and how long it waits, is kept."""

    def __init__(self, url: str, dice: Sequence[random.Random], *, pause: float) -> None:
        self.url, self.pause = url, pause
        self.failures: list[str] = []
        self.longest = 0.0
        self.transactions = 0
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=(number, one)) for number, one in enumerate(dice)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int, dice: random.Random) -> None:
        try:
            self.write(number, dice)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            with self._lock:
                self.failures.append(repr(error))

    @abstractmethod
    def write(self, number: int, dice: random.Random) -> None:
        """Write as the thread of this number, until it is over."""
