"""Compare rows of a source that is written meanwhile, and that nobody can look at in one moment.

Here the table stands still: nobody carries notes. So whatever differs from what it had when it was last carried was
written since, and is noted: all notes are asked for when all rows were read. What differs and has no note is a
difference; what has one comes later. The keys that were read are kept until then, in a temporary table.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from tasks.engines.postgresql.rejections import key_text
from tasks.engines.receiving.differences import EXAMPLES, Differences, Sorted, sort
from tasks.engines.receiving.source import MovingReading
from tasks.engines.records import Key, Line
from tasks.model.transfer_steps import RowTransfer, TransferColumn, noted_columns

ROWS: Final = 20_000
"""Rows at a time."""
SENT, READ, SUSPECTS, NOTED = "sent", "read", "suspects", "noted"
"""Rows of a range; keys of all that were read, of those that differ, and of those that are noted."""
LEFT_OUT, UNDECIDED, TEXTS = "left_out", "undecided", "texts"
"""Keys as text: of rows that are rejected, of those about which nothing is said, and of those that are noted."""
_EVERY: Final = 2.0
"""Seconds after which what was written is noted again: no stream is left alone for long."""


@dataclass(frozen=True)
class Scratch(ABC):
    """Temporary tables of a session with the target, by their names above, for one comparison."""

    conn: Any
    action: RowTransfer
    table: str
    """What is compared, quoted and, where there are schemas, qualified."""

    key: ClassVar[str]
    """The column of a key as text, also among rejected rows."""

    @abstractmethod
    def named(self, name: str) -> str:
        """Return how a table is called in statements."""

    @abstractmethod
    def quote(self, name: str) -> str:
        """Quote the name of a column."""

    @abstractmethod
    def key_texts(self, row: str) -> list[str]:
        """Return SQL that makes texts of the key of a row, by its alias."""

    @abstractmethod
    def make(self) -> None:
        """Make the tables, and a session that compares."""

    @abstractmethod
    def differing(self) -> str:
        """Return a query, from its FROM on, of rows that were sent, `s`, and have no such row in the table."""

    @abstractmethod
    def empty(self, name: str) -> None:
        """Empty a table."""

    @abstractmethod
    def send(self, name: str, columns: Sequence[TransferColumn], lines: Iterable[Line]) -> None:
        """Put lines into a table of rows, or of keys."""

    @abstractmethod
    def keep_read(self) -> None:
        """Keep the keys of the rows that were sent, among all that were read; one may be there already."""

    @abstractmethod
    def keep(self, name: str, texts: Iterable[str]) -> None:
        """Put keys into a table of texts."""

    @abstractmethod
    def settle(self) -> None:
        """Prepare for questions about all that is kept."""

    def asked(self, query: str) -> Sequence[Any]:
        """Run a statement, and return what it gives."""
        found: Sequence[Any] = self.conn.execute(query).fetchall()
        return found


def compare_moving(reading: MovingReading, scratch: Scratch) -> Differences:
    """Compare all rows of the source with those of a table. Locks: those of reading. Makes notes, and carries none."""
    action = scratch.action
    scratch.make()
    rows = _read(reading, scratch)
    reading.catch_up(action)
    for page in reading.pages(action):
        scratch.send(NOTED, noted_columns(action), (one for one in page if not one.touched))
        scratch.keep(TEXTS, (key_text(key) for one in page for key in one.keys))
    scratch.settle()
    return _differences(scratch, rows)


def _read(reading: MovingReading, scratch: Scratch) -> int:
    """Read all rows; keep the keys of all, and of those that differ, or are not to be copied."""
    action, named = scratch.action, scratch.named
    listed = ", ".join(f"s.{scratch.quote(name)}" for name in action.target_key)
    position: Key | None = None
    rows, looked = 0, time.monotonic()
    while True:
        end = reading.end_of_batch(action, position, None, ROWS)
        found = Sorted()
        scratch.empty(SENT)
        scratch.send(SENT, action.columns, sort(reading.lines(action, position, end), found))
        scratch.keep_read()
        scratch.conn.execute(f"insert into {named(SUSPECTS)} select {listed} {scratch.differing()}")
        scratch.keep(LEFT_OUT, found.left_out)
        scratch.keep(UNDECIDED, found.undecided)
        rows += found.read
        if end is None:
            return rows
        position = end
        if time.monotonic() - looked > _EVERY:
            reading.catch_up(action)
            looked = time.monotonic()


def _differences(scratch: Scratch, rows: int) -> Differences:
    action, key, table = scratch.action, scratch.key, scratch.table
    columns = [scratch.quote(name) for name in action.target_key]
    told = [scratch.quote(one.name) for one in noted_columns(action)]

    def there(name: str, row: str) -> str:
        same = " and ".join(f"x.{one} = {row}.{one}" for one in (told if name == NOTED else columns))
        return f"exists (select 1 from {scratch.named(name)} x where {same})"

    def among(name: str, row: str) -> str:
        return f"exists (select 1 from {name} x where x.{key} = {row}.{key})"

    def counted(what: str, noted: str) -> tuple[int, int]:
        """Return how many have no note, and how many have one."""
        marked = f"select case when {noted} then 1 else 0 end as noted from {what}"
        ((every, later),) = scratch.asked(f"select count(*), coalesce(sum(noted), 0) from ({marked}) as found")
        return int(every) - int(later), int(later)

    suspects, left_out = scratch.named(SUSPECTS), scratch.named(LEFT_OUT)
    texts = scratch.named(TEXTS)
    differing, later = counted(f"{suspects} s", there(NOTED, "s"))
    undecided, undecided_later = counted(f"{scratch.named(UNDECIDED)} u", among(texts, "u"))
    superfluous, going = counted(f"{table} t where not {there(READ, 't')}", there(NOTED, "t"))
    not_noted, _ = counted(f"{left_out} l where not {among(action.rejected, 'l')}", among(texts, "l"))
    rejections = f"(select distinct {key} from {action.rejected}) r"
    not_rejected, _ = counted(f"{rejections} where not {among(left_out, 'r')}", among(texts, "r"))
    shown = ", ".join(scratch.key_texts("s"))
    examples = scratch.asked(
        f"select {shown} from {suspects} s where not {there(NOTED, 's')} order by {shown} limit {EXAMPLES}"
    )
    present, rejected = (int(scratch.asked(f"select count(*) from {name}")[0][0]) for name in (table, left_out))
    return Differences(
        rows=rows,
        rejected=rejected,
        differing=differing + undecided,
        present=present,
        expected=present - superfluous,
        not_noted=not_noted + not_rejected,
        unsettled=later + undecided_later + going,
        examples=tuple(key_text(tuple(map(str, row))) for row in examples),
    )
