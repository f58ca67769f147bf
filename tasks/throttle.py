"""Hold what works in ranges back while the database is under stress. An unknown reading means: hold back."""

import time
from collections.abc import Callable

from tasks.boundary import Boundary
from tasks.model.errors import DataChanged, Paused
from tasks.model.steps import InRanges
from tasks.run import say

LOOK_EVERY = 1.0
"""Seconds between two readings."""


def between_batches(
    boundary: Boundary, action: InRanges, waiting: Callable[[str], None]
) -> Callable[[int], int | None]:
    """Return what is called before each batch, or range: it may wait, stop the run, or change the size."""
    state = {"read": 0.0, "finished": 0.0}

    def between(size: int) -> int | None:
        boundary.check()
        ratio = boundary.profile.throttle.pause_ratio
        if ratio and state["finished"]:
            time.sleep(ratio * (time.monotonic() - state["finished"]))
        if time.monotonic() - state["read"] > LOOK_EVERY:
            _hold_back(boundary, action, waiting)
            state["read"] = time.monotonic()
        state["finished"] = time.monotonic()
        wanted = boundary.batch_rows
        return min(size, wanted) if wanted else None

    return between


def _hold_back(boundary: Boundary, action: InRanges, waiting: Callable[[str], None]) -> None:
    started = time.monotonic()
    told = ""
    while reason := stress(boundary, action):
        if reason != told:
            say(f"throttled: {reason}")
            waiting(f"throttled: {reason}")
            told = reason
        if time.monotonic() - started > boundary.profile.throttle.patience:
            raise Paused(
                f"throttled for too long: {reason}",
                where=boundary.run.migration,
                hint="Relieve the database, then resume.",
                changed=DataChanged.PARTIALLY,
            )
        time.sleep(0.5)
        boundary.check()
    if told:
        waiting("")


def stress(boundary: Boundary, action: InRanges) -> str:
    """Return why the run has to hold back; empty when it need not."""
    throttle, engine = boundary.profile.throttle, boundary.run.engine
    if throttle.replica_lag_bytes is not None:
        lag = engine.lag_bytes(boundary.conn)
        if lag is None:
            return "the lag of a standby is unknown"
        if lag > throttle.replica_lag_bytes:
            return f"replica lag {lag / 1e6:.1f} MB > {throttle.replica_lag_bytes / 1e6:.1f} MB"
    if throttle.probe_latency is not None:
        took = engine.probe_ms(boundary.conn, action)
        if took > throttle.probe_latency:
            return f"probe {took:.0f} ms > {throttle.probe_latency} ms"
    return ""
