"""Two writers that a test keeps busy."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar


class Writer(Protocol):
    """A thread that writes until it is told that it is over."""

    ended: threading.Event

    def start(self) -> None:
        """Begin."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end."""


W = TypeVar("W", bound=Writer)


@contextmanager
def busy(make: Callable[[int], W]) -> Iterator[list[W]]:
    """Let two write for as long as the context lasts; `make` gives one for a seed."""
    writers = [make(seed) for seed in range(2)]
    for one in writers:
        one.start()
    try:
        yield writers
    finally:
        for one in writers:
            one.ended.set()
        for one in writers:
            one.join(60)
