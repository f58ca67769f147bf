"""How much is tested: each meaning once; or, where CHANGEOVER_EVERY_LEG is set, every case in every way."""

import os
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

T = TypeVar("T")

EVERY_LEG = bool(os.environ.get("CHANGEOVER_EVERY_LEG"))
TIMES = 5 if EVERY_LEG else 1
"""How many times as many examples Hypothesis tries."""
SEED = int(os.environ.get("CHANGEOVER_FAULT_SEED", "20"))
"""Of the dice that say when a process is killed."""


def kills(usual: int) -> int:
    """Say how often one is killed at random."""
    return int(os.environ.get("CHANGEOVER_FAULT_RUNS", usual))


def each_once(items: Sequence[T], kinds: Callable[[T], Collection[str]]) -> list[T]:
    """Return items, in their order, that show each kind; all of them where every leg is walked."""
    left = {kind for item in items for kind in kinds(item)}
    found: list[int] = []
    while left and not EVERY_LEG:
        # Of those that show as many new kinds, the one that stands first.
        best = max(range(len(items)), key=lambda place: len(left & {*kinds(items[place])}))
        left -= {*kinds(items[best])}
        found.append(best)
    return [item for place, item in enumerate(items) if EVERY_LEG or place in found]
