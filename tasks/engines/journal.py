"""How the engine tells the ledger what it does, inside its own transactions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from profiles.model import Limits
from tasks.engines.retrying import Passing, retrying
from tasks.engines.session import Session

Connection = Session


class AlreadyRecorded(Exception):  # noqa: N818 - not an error: the outcome of a commit that was cut off
    """The ledger says that this very step is done: its commit arrived, only the answer did not."""


def _nothing(*_: object) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Journal:
    """Two calls within a transaction, and some for whoever watches.

    `begin` is called first: it fences, and raises AlreadyRecorded when there is nothing left to do. `finish`
    records. Neither commits, and either may be called before the locks are taken: they commit together.
    """

    begin: Callable[[Connection], None]
    finish: Callable[[Connection], None]
    counted: Callable[[int], None] = _nothing
    """Told before `finish` how many rows a step has dealt with, where it says so: that is recorded, and audited."""
    fence: Callable[[Connection], object] = _nothing
    """Keeps newer runs away until the transaction ends, where `begin` was committed before."""
    so_far: Callable[[Connection], Mapping[str, object]] = lambda _: {}
    """What `keep` was told by an attempt that did not come to its end."""
    keep: Callable[[Connection, Mapping[str, object]], None] = _nothing
    """Fences, and adds to what an attempt is to know that goes on after this one. `finish` forgets it."""
    guard: Callable[[Connection], None] = _nothing
    """Called under the locks of a guarded step, before its statements; raises to refuse."""
    guard_again: Callable[[Connection], None] = _nothing
    """Called under locks, where `guard` was called right before them: it asks the ledger and the source alone, on this
    session. To open others, maybe far away, takes longer than writers may wait."""
    waiting: Callable[[str], None] = _nothing
    """Called with the reason whenever the engine waits."""
    between: Callable[[], None] = _nothing
    """Called where a step can stop without harm; raises Paused to stop it."""

    def guarded(self, guard: Callable[[Connection], None], again: Callable[[Connection], None] | None = None) -> Self:
        """Return the same journal with a guard; `again`: what is left of it to be asked under locks, if not all."""
        return replace(self, guard=guard, guard_again=again or guard)


def until_recorded(limits: Limits, kind: Passing, act: Callable[[], None], journal: Journal) -> None:
    """Try a step again after a passing failure, the whole transaction, on a new session.

    A commit that was cut off may have happened: then the ledger says so, and there is nothing to repeat.
    """

    def on_retry(error: BaseException, tries: int, _seconds: float) -> None:
        journal.waiting(f"try {tries} of {limits.attempts} failed: {type(error).__name__}")

    try:
        retrying(limits, kind, on_retry)(act)
    except AlreadyRecorded:
        return
