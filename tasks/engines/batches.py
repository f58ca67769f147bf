"""How many rows a batch takes, on any engine: by the time that the one before it took."""

from typing import Final

from profiles.model import Limits

GROWTH: Final = 2.0
PANIC: Final = 5.0
"""A batch that takes this many times its target divides the next by ten (spirit does the same)."""


def next_size(size: int, took_ms: float, limits: Limits) -> int:
    """Aim at the target time; grow gently, shrink at once."""
    if took_ms > PANIC * limits.batch_target:
        wanted = size / 10
    else:
        wanted = min(size * limits.batch_target / max(took_ms, 1.0), size * GROWTH)
    return max(1, min(int(wanted), limits.batch_rows))
