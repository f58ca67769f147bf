"""A result: what was measured, what the goal is, and whether it is met. Kept in results.json, shown as a table."""

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Literal

RESULTS = Path(__file__).with_name("results.json")
_LIBRARIES = ("prefect", "great_expectations", "psycopg", "pydantic")


@dataclass(frozen=True, kw_only=True)
class Result:
    """One figure."""

    name: str
    measured: float
    goal: float
    unit: str
    better: Literal["lower", "higher"] = "lower"
    detail: str
    """The figures behind it, in words."""

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.measured <= self.goal if self.better == "lower" else self.measured >= self.goal


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    rows: int = 1_000_000
    """Rows of the table of the backfill."""
    small: int = 100_000
    large: int = 3_000_000
    """Rows of the two tables whose migrations must cost the same memory."""
    compared: int = 5_000_000
    """Rows of the larger of two tables that are compared, each with a twin, in the same memory."""
    rounds: int = 3


FULL = Sizes()
QUICK = Sizes(rows=100_000, small=20_000, large=200_000, compared=200_000, rounds=3)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the ratios round by round: what disturbs a whole round disturbs both."""
    return round(median(a / b for a, b in zip(ours, theirs, strict=True)), 3)


def spread(seconds: Sequence[float]) -> str:
    """Say the median and the extremes."""
    return f"{median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


def machine(postgres: str) -> dict[str, str]:
    """Describe the machine and what runs on it, without a name by which it could be found."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "postgresql": postgres,
        "libraries": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
    }


def save(results: Sequence[Result], described: dict[str, str], path: Path = RESULTS) -> None:
    """Write results; those of other names that the file holds stay."""
    kept = {row["name"]: row for row in read(path)["results"]} if path.exists() else {}
    measured = datetime.now(UTC).date().isoformat()
    kept |= {one.name: {**asdict(one), "met": one.met, "measured_on": measured} for one in results}
    content = {"machine": described, "results": list(kept.values())}
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path = RESULTS) -> dict[str, Any]:
    """Read what `save` wrote."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def show(results: Sequence[Result], say: Callable[[str], None]) -> None:
    """Say the results as a table, with the figures behind each."""
    say(f"{'name':<22}{'measured':>12}{'goal':>12}  met")
    for one in results:
        sign = "<=" if one.better == "lower" else ">="
        measured, goal = f"{one.measured:g} {one.unit}", f"{sign} {one.goal:g} {one.unit}"
        say(f"{one.name:<22}{measured:>12}{goal:>12}  {'yes' if one.met else 'NO'}")
        say(f"    {one.detail}")


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or "unknown"
