"""What an application recorded about itself: compact while it runs, a report afterwards."""

import json
import os
from array import array
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from heapq import nlargest
from math import inf
from pathlib import Path
from typing import Self

from examples.demo.latency import Latency, summarise


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A statement that failed: a broken promise, since nothing is tried again."""

    at: float
    """When it was sent, in seconds since the epoch."""
    kind: str
    sqlstate: str
    """Of PostgreSQL; empty when the connection was lost without one."""
    message: str
    """The first line of what the server said; the rows of the demo are made up, so it may be shown."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement, as timed by the application."""

    at: float
    """When it was sent, in seconds since the epoch."""
    kind: str
    ms: float
    """From sending to the result."""


@dataclass(kw_only=True)
class Timings:
    """Start, duration and kind of many events, at 17 bytes each."""

    at: "array[float]" = field(default_factory=lambda: array("d"))
    seconds: "array[float]" = field(default_factory=lambda: array("d"))
    kind: "array[int]" = field(default_factory=lambda: array("B"))

    def add(self, at: float, seconds: float, kind: int = 0) -> None:
        """Append one event."""
        self.at.append(at)
        self.seconds.append(seconds)
        self.kind.append(kind)

    def extend(self, other: "Timings") -> None:
        """Append all events of another."""
        self.at.extend(other.at)
        self.seconds.extend(other.seconds)
        self.kind.extend(other.kind)

    def within(self, since: float, until: float) -> Iterator[int]:
        """Yield the numbers of the events that were under way at some moment from `since` to `until`."""
        for number, at in enumerate(self.at):
            if at < until and at + self.seconds[number] >= since:
                yield number

    def dump(self) -> dict[str, str]:
        """Return the arrays as text."""
        arrays = {"at": self.at.tobytes(), "seconds": self.seconds.tobytes(), "kind": self.kind.tobytes()}
        return {name: b64encode(octets).decode() for name, octets in arrays.items()}

    @classmethod
    def load(cls, texts: dict[str, str]) -> Self:
        """Read what `dump` returned, on a machine of the same byte order."""
        result = cls()
        for name, text in texts.items():
            getattr(result, name).frombytes(b64decode(text))
        return result


@dataclass(frozen=True, kw_only=True)
class ApplicationReport:
    """Everything that one application process did. Times are seconds since the epoch."""

    started: float
    ended: float
    kinds: tuple[str, ...]
    """Names of the kinds of statements, by number."""
    statements: Timings
    """Each statement: sent at, service time."""
    operations: Timings
    """Each operation of the schedule: due at, and how late it started."""
    failures: tuple[Failure, ...]
    deployments: tuple[tuple[float, str], ...]
    """When every worker had gone over to which columns; the first entry is the start."""
    unfinished: int
    """Statements cancelled because the application was told to end while they waited."""

    def latency(self, since: float = -inf, until: float = inf, kinds: Collection[str] | None = None) -> Latency:
        """Summarise the service times of the statements under way in a time range.

        A statement that reaches over a limit counts on both sides: no wait is lost between two ranges.
        """
        chosen = self._chosen(since, until, kinds)
        return summarise(self.statements.seconds[number] for number in chosen)

    def lag(self, since: float = -inf, until: float = inf) -> Latency:
        """Summarise how late the operations started that were due, or waiting to start, in a time range.

        The schedule goes on while a worker is held up: what a closed loop would hide is in here.
        """
        numbers = self.operations.within(since, until)
        return summarise(self.operations.seconds[number] for number in numbers)

    def slowest(
        self, count: int = 10, since: float = -inf, until: float = inf, kinds: Collection[str] | None = None
    ) -> tuple[Statement, ...]:
        """Return the slowest statements under way in a time range, slowest first."""
        timings = self.statements
        numbers = nlargest(count, self._chosen(since, until, kinds), key=timings.seconds.__getitem__)
        return tuple(
            Statement(
                at=timings.at[number],
                kind=self.kinds[timings.kind[number]],
                ms=timings.seconds[number] * 1000,
            )
            for number in numbers
        )

    def counts(self, since: float = -inf, until: float = inf) -> dict[str, int]:
        """Count the statements under way in a time range, by kind."""
        numbers = self.statements.within(since, until)
        return dict(Counter(self.kinds[self.statements.kind[number]] for number in numbers))

    def _chosen(self, since: float, until: float, kinds: Collection[str] | None) -> Iterator[int]:
        for number in self.statements.within(since, until):
            if kinds is None or self.kinds[self.statements.kind[number]] in kinds:
                yield number

    def write(self, path: Path) -> None:
        """Write the report, whole or not at all."""
        content = {
            **{name: getattr(self, name) for name in ("started", "ended", "kinds", "deployments", "unfinished")},
            "failures": [asdict(failure) for failure in self.failures],
            "statements": self.statements.dump(),
            "operations": self.operations.dump(),
        }
        partial = path.with_name(f"{path.name}.partial")
        partial.write_text(json.dumps(content), encoding="utf-8")
        os.replace(partial, path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a report; raises FileNotFoundError when the application never wrote one."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            started=content["started"],
            ended=content["ended"],
            kinds=tuple(content["kinds"]),
            statements=Timings.load(content["statements"]),
            operations=Timings.load(content["operations"]),
            failures=tuple(Failure(**failure) for failure in content["failures"]),
            deployments=tuple((at, columns) for at, columns in content["deployments"]),
            unfinished=content["unfinished"],
        )
