"""How much is tested: each meaning once; or, where CHANGEOVER_EVERY_LEG is set, every case in every way."""

import os

EVERY_LEG = bool(os.environ.get("CHANGEOVER_EVERY_LEG"))
TIMES = 5 if EVERY_LEG else 1
"""How many times as many examples Hypothesis tries."""
SEED = int(os.environ.get("CHANGEOVER_FAULT_SEED", "20"))
"""Of the dice that say when a process is killed."""


def kills(usual: int) -> int:
    """Say how often one is killed at random."""
    return int(os.environ.get("CHANGEOVER_FAULT_RUNS", usual))
