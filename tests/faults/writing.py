"""Applications that write while a run is killed."""

import random
import threading
import time
from collections.abc import Callable, Sequence

from tests.faults.runs import Run


class Application(threading.Thread):
    """Writes by dice of its own, until it is told that it is over; `run` says what."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__()
        self.url, self.random, self.ended = url, random.Random(seed), threading.Event()
        self.failures: list[str] = []


def killed_while_writing(
    begin: Callable[[], Run], writers: Sequence[Application], dice: random.Random, *, times: int, longest: float
) -> None:
    """Kill a run at random, again and again, and let the last come to its end; no statement of a writer fails."""
    for one in writers:
        one.start()
    try:
        for _ in range(times):
            run = begin()
            time.sleep(dice.uniform(0.5, longest))
            run.kill()
        outcome = begin().wait(300)
    finally:
        for one in writers:
            one.ended.set()
            one.join(60)
    assert outcome.state == "complete", str(outcome)
    assert [failure for one in writers for failure in one.failures] == []
