"""What a comparison found."""

from enum import StrEnum

from tasks.model.base import Record


class Verdict(StrEnum):
    """What can be said of two tables."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNDECIDED = "undecided"
    """No difference was proven, and some rows never stood still long enough to be held against each other."""


class Kind(StrEnum):
    """How a row differs."""

    MISSING = "missing"
    """Only A has it."""
    EXTRA = "extra"
    """Only B has it."""
    CHANGED = "changed"
    UNSETTLED = "unsettled"
    """It was written faster than it could be read on both sides."""


class Difference(Record):
    """A row that differs, named by its key."""

    kind: Kind
    key: tuple[str, ...]
    """As text. Without a key: a digest of the whole row."""
    columns: tuple[str, ...] = ()
    """Which columns differ; empty for a row that one side lacks."""
    a: tuple[str | None, ...] = ()
    """Values of these columns in A, as text; only where the profile allows it."""
    b: tuple[str | None, ...] = ()
    rows_a: int = 1
    """Without a key: how many rows of A are like this one."""
    rows_b: int = 1


class Position(Record):
    """A place in the log of a database."""

    log: str
    """An LSN, a GTID, or file and offset of a binary log."""
    sees: str
    """The snapshot: a commit can stand in the log before a reader sees it, and this says what was seen."""


class Comparison(Record):
    """The result of comparing A and B."""

    a: str
    b: str
    verdict: Verdict
    key: tuple[str, ...]
    """The columns by which rows were paired; empty: rows were counted as a multiset."""
    columns: tuple[str, ...]
    """All columns that were compared."""
    rows_a: int
    rows_b: int
    position_a: Position
    """Whatever A had committed by then is part of the verdict."""
    position_b: Position
    differences: tuple[Difference, ...] = ()
    unsettled: tuple[Difference, ...] = ()
    complete: bool = True
    """False: there may be more differences than are listed."""
    rechecked: int = 0
    """Rows that were read again because their digests or their sides differed."""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
