"""What comparing the rows of a source with those that were copied comes to, on whichever database these are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tasks.engines.postgresql.rejections import key_text
from tasks.engines.records import Line
from tasks.model.base import Record
from tasks.model.errors import StateError
from tasks.model.transfer_steps import RowTransfer

EXAMPLES: Final = 10


class Differences(Record):
    """What came of a comparison."""

    rows: int
    """Of the source, as far as they are to be copied."""
    rejected: int
    differing: int
    """Rows of the source without a row here, or with another one."""
    present: int
    """Rows here."""
    expected: int
    """So many belong here."""
    not_noted: int
    """Rejected rows without a note, and notes without a rejected row."""
    unsettled: int = 0
    """Rows, there or gone, that differ and are noted: carried later. They are none of the others."""
    emptied: bool = False
    """That the whole table was emptied is noted, so that nothing can be said."""
    examples: tuple[str, ...]
    """Keys of rows that differ."""

    @property
    def superfluous(self) -> int:
        """How many rows there are too many or, where it is negative, too few."""
        return self.present - self.expected

    @property
    def equal(self) -> bool:
        """Every row is there, exactly, and nothing else is."""
        return not (self.differing or self.superfluous or self.not_noted or self.emptied)


@dataclass
class Found:
    """What has been found so far."""

    read: int = 0
    rejected: int = 0
    noted: int = 0
    not_noted: int = 0
    differing: int = 0
    matched: int = 0
    """Rows here with the key of a row of the source; counted where writes are noted."""
    unsettled: int = 0
    examples: list[str] = field(default_factory=list)

    def differs(self, key: str, *, comes: bool) -> None:
        """Count a row that differs; `comes`: it is carried later."""
        if comes:
            self.unsettled += 1
            return
        self.differing += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(key)


@dataclass
class Sorted:
    """Rows of a range: how many there are, and the keys of those that are not sent."""

    read: int = 0
    left_out: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    """Nothing says what becomes of them."""


def sort(lines: Iterator[Line], into: Sorted) -> Iterator[Line]:
    """Give what is to be copied, and say of the rest what it is."""
    for one in lines:
        into.read += one.rows
        if not one.touched:
            yield one
        elif any(touched.policy == "fail" for touched in one.touched):
            into.undecided.append(key_text(one.key))
        else:
            into.left_out.append(key_text(one.key))


def refuse_columns(action: RowTransfer, found: Sequence[str]) -> None:
    """Raise StateError where these columns of the table are not those of the copy."""
    ours = [one.name for one in action.columns]
    added, gone = ([name for name in one if name not in other] for one, other in ((found, ours), (ours, found)))
    if added or gone:
        told = [f"{what}: {', '.join(names)}" for what, names in (("added", added), ("gone", gone)) if names]
        raise StateError(
            f"the columns are no longer those of the copy, and what was written into them would be lost:"
            f" {'; '.join(told)}",
            where=action.into.full_name,
            hint="Copy what you want to keep; then accept what is lost with --accept-loss.",
        )
