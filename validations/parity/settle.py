"""Rows that seem to differ, read again until the source stands still: only then is a difference one.

B may be a moment behind A. So a row is equal as soon as both sides are seen alike while A does not move, and it
differs once a value of A has not changed for as long as B may be behind, and B still has another one. A row that
is written all the time is judged by the columns that are not.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from validations.parity.report import Difference, Kind
from validations.parity.side import Key, Row

AT_ONCE: Final = 1_000
"""Rows looked up by one statement."""
_PENDING: Final = 20_000
_FIRST_WAIT: Final = 0.02
_LONGEST_WAIT: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A row of both sides; `steady`: A was the same before and after B was read."""

    a: Row | None
    b: Row | None
    steady: bool


Observe = Callable[[Sequence[Key]], dict[Key, Seen]]
_Value = tuple[bool, object]


@dataclass
class _Watched:
    begun: float
    a: dict[str, tuple[_Value, float]] = field(default_factory=dict)
    """Value of each column of A, and since when it is seen; the empty name stands for the row itself."""
    b: dict[str, tuple[_Value, float]] = field(default_factory=dict)

    def look(self, names: Sequence[str], seen: Seen, now: float) -> None:
        """Take note of what was seen."""
        for known, row in ((self.a, seen.a), (self.b, seen.b)):
            # Where the engine has no version of a row, its values are the version.
            version: _Value = (row is not None, row and (row.version or row.values))
            values = ((row is not None, value) for value in (row.values if row is not None else [None] * len(names)))
            for name, value in zip(("", *names), (version, *values), strict=True):
                if name not in known or known[name][0] != value:
                    known[name] = (value, now)

    def proven(self, names: Sequence[str], lag: float, now: float) -> tuple[str, ...] | None:
        """Return the columns that certainly differ, none for a row that one side lacks; None: nothing is certain."""

        def old(of: dict[str, tuple[_Value, float]], name: str) -> bool:
            return lag == 0 or now - of[name][1] >= lag

        (in_a, _), (in_b, _) = self.a[""][0], self.b[""][0]
        if in_a != in_b:
            # A row that comes and goes has another version each time.
            return () if old(self.a, "") else None
        differing = tuple(name for name in names if self.a[name][0] != self.b[name][0])
        if old(self.a, ""):
            return differing
        return tuple(name for name in differing if old(self.a, name) and old(self.b, name)) or None


@dataclass(frozen=True, kw_only=True)
class Settling:
    """How a comparison waits."""

    lag: float
    """Seconds that B may be behind A."""
    patience: float
    """Seconds after which a row that never stands still is given up as unsettled."""
    name: Callable[[Key, Seen, tuple[str, ...]], Difference]
    """Makes what is reported of a row, given the columns that differ."""


def settle(
    keys: Iterable[Key], names: Sequence[str], observe: Observe, how: Settling, checked: Callable[[int], None]
) -> Iterator[Difference]:
    """Give what differs, and what would not settle, of the rows of these keys; `checked` hears of every batch.

    Memory is bounded: no more keys are taken while many are still watched.
    """
    source = iter(keys)
    watched: dict[Key, _Watched] = {}
    wait = _FIRST_WAIT
    while True:
        fresh = list(islice(source, AT_ONCE)) if len(watched) < _PENDING else []
        checked(len(fresh))
        started = time.monotonic()
        watched |= {key: _Watched(begun=started) for key in fresh if key not in watched}
        if not watched:
            return
        batch = fresh or list(watched)
        for index in range(0, len(batch), AT_ONCE):
            yield from _judge(batch[index : index + AT_ONCE], watched, names, observe, how)
        if not fresh and watched:
            time.sleep(wait)
            wait = min(wait * 1.5, _LONGEST_WAIT)


def _judge(
    batch: Sequence[Key], watched: dict[Key, _Watched], names: Sequence[str], observe: Observe, how: Settling
) -> Iterator[Difference]:
    before = time.monotonic()
    for key, seen in observe(batch).items():
        one = watched[key]
        # A value counts from the end of the reading that first showed it until the beginning of this one.
        one.look(names, seen, time.monotonic())
        if seen.steady and _same(seen):
            del watched[key]
        elif seen.steady and (columns := one.proven(names, how.lag, before)) is not None:
            del watched[key]
            yield how.name(key, seen, columns)
        elif before - one.begun > how.patience:
            del watched[key]
            yield Difference(kind=Kind.UNSETTLED, key=key)


def _same(seen: Seen) -> bool:
    if seen.a is None or seen.b is None:
        return seen.a is seen.b
    return seen.a.values == seen.b.values
