"""How the answers of rows to what a new shape demands are told, on every engine."""

from collections.abc import Iterable
from typing import Final

GATE: Final = "before_run"
MOST_EXAMPLES: Final = 10
_LONGEST_KEY = 100


def broken(count: int, kind: str) -> str:
    """Say how many rows, or groups of equal rows where `kind` is `unique`, break a requirement."""
    if not count:
        return "no violations"
    what, few = "group" if kind == "unique" else "row", count == 1
    of = " of equal rows" if what == "group" else ""
    return f"{count:,} {what}{'' if few else 's'}{of} break{'s' if few else ''} it"


def named(rows: Iterable[Iterable[object]]) -> tuple[str, ...]:
    """Write keys as people read them, the longest cut off."""
    return tuple(", ".join("null" if v is None else str(v)[:_LONGEST_KEY] for v in row) for row in rows)
