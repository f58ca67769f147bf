"""How much is tested: each meaning once; or, where CHANGEOVER_EVERY_LEG is set, every case in every way."""

import os

EVERY_LEG = bool(os.environ.get("CHANGEOVER_EVERY_LEG"))
TIMES = 5 if EVERY_LEG else 1
"""How many times as many examples Hypothesis tries."""
