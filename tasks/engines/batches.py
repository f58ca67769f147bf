"""How many rows a batch takes, on any engine: by the time that the one before it took."""

from typing import Final

from profiles.model import Limits

GROWTH: Final = 2.0
LEISURE: Final = 5.0
"""As many times the target may be taken where nobody waits."""
PANIC: Final = 5.0
"""A batch that takes this many times its target divides the next by ten (spirit does the same)."""


def copied(size: int, seconds: float, limits: Limits, most: int) -> int:
    """Return how many rows the next batch has of a copy that nobody waits for: it holds no row of the applications.

    Such a batch may take longer, so that what each of them costs beside its rows weighs less.
    """
    return min(next_size(size, seconds * 1000 / LEISURE, limits), most)


def next_size(size: int, took_ms: float, limits: Limits) -> int:
    """Aim at the target time; grow gently, shrink at once."""
    if took_ms > PANIC * limits.batch_target:
        wanted = size / 10
    else:
        wanted = min(size * limits.batch_target / max(took_ms, 1.0), size * GROWTH)
    return max(1, min(int(wanted), limits.batch_rows))
