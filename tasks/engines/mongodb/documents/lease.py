"""What a process that was taken for dead may still send: nothing that the server would carry out.

Each write has a moment, by the clock of the server, after which it matches no document. That comes before a run that
takes over has ended to wait. So whatever an older run sends when it wakes up is void.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import pymongo
from pymongo.errors import ExecutionTimeout

from tasks.engines.mongodb.connect import Documents

SECONDS: Final = 3.0
"""How long a write may take to begin, and then to end."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The time that a write has."""

    until: datetime
    began: float

    @property
    def condition(self) -> dict[str, Any]:
        """What a write has to ask of each document."""
        return {"$lt": ["$$NOW", {"$literal": self.until}]}

    def require(self) -> None:
        """Raise ExecutionTimeout, which passes, when the write that has ended may have been void.

        To be called before anything is recorded of it.
        """
        if time.monotonic() - self.began >= SECONDS:
            raise ExecutionTimeout("a write took longer than it may", code=50)

    def outlast(self) -> None:
        """Wait until nothing that was sent within this time is carried out any more, whether it was answered or not."""
        time.sleep(max(0.0, self.began + 2 * SECONDS - time.monotonic()))


@contextmanager
def leased(database: Documents) -> Iterator[Lease]:
    """Begin the time of a write, and bound it. Enter it before the fence, and never after.

    A run that takes over begins to wait after the fence of the older one, hence after this moment.
    """
    began = time.monotonic()
    now = database.command("hello")["localTime"]
    with pymongo.timeout(SECONDS):
        yield Lease(until=now + timedelta(seconds=SECONDS), began=began)


def outlast(say: Callable[[str], None]) -> None:
    """Wait until nothing that another run has sent, or still sends, is carried out any more."""
    wait = 2 * SECONDS
    say(f"waits for {wait:g} s, until nothing of the run before can arrive any more")
    time.sleep(wait)
