"""What engines and tasks tell each other, beside the plan."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tasks.model.base import Record

Key = tuple[str, ...]
"""The key of a row, each value as text that turns into the same value again."""
Range = tuple[Key | None, Key | None]
"""`low < key <= high`; either end is open when None."""
Checkpoint = Callable[[int, Any, Key, int, int], None]
"""Called first in the transaction of a batch, also when one is tried again: fence, then move the cursor.

(batches that this call of `fill` has committed, session, position, rows, size)
"""
FIRST_ROWS = 1000
"""The size of the first batch, before anything is known about its time."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A range of keys, and how far it is done."""

    position: Key | None
    """The last key that is done, or the open lower end."""
    high: Key
    batch_rows: int = FIRST_ROWS


class TableFacts(Record):
    """A table at one moment."""

    table: str
    rows: int
    digest: str
    """Of all rows as a multiset, with the count; comparable within one engine."""


class Facts(Record):
    """Tables at one moment, all of one snapshot."""

    lsn: str
    """The position in the log."""
    at: str
    tables: tuple[TableFacts, ...]


class DumpRecord(Record):
    """A finished, verified dump."""

    table: str
    columns: tuple[str, ...]
    rows: int
    digest: str
    file: str
    sha256: str


class Touched(Record):
    """A value that could not be held as it is."""

    field: str
    policy: str
    reason: str


class Line(NamedTuple):
    """A row, as the target takes it; or several, none of which is touched."""

    line: bytes
    """Of several, all lines with their ends between them."""
    key: Key = ()
    """Needed where something is touched; else it may be empty."""
    touched: tuple[Touched, ...] = ()
    """What does not fit, where a policy does not make it fit."""
    rows: int = 1
    others: tuple[Key, ...] = ()
    """Where keys are asked for, those of all rows but the first."""

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys of all rows."""
        return (self.key, *self.others)
