"""Write a range of rows, batch by batch: rows, account and position in one transaction, then the cursor commits.

Both transactions are open while the one commits and then the other. Killed in between, the position here is one batch
ahead of the cursor, and the next run begins with it: so no batch is written twice.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Final, NamedTuple, Protocol

from profiles.model import Limits
from tasks.engines.batches import copied
from tasks.engines.postgresql.rejections import refuse_lost, refuse_undecided
from tasks.engines.receiving.source import Reading
from tasks.engines.records import Checkpoint, Key, Line, Shard, Touched
from tasks.engines.session import Session
from tasks.model.base import Record
from tasks.model.errors import DataChanged, FencedError, StepError
from tasks.model.transfer_steps import RowTransfer

MOST_ROWS: Final = 50_000


class Written(Record):
    """What became of some rows."""

    read: int
    written: int
    rejected: int


class Standing(NamedTuple):
    """How far a shard is, by the account where the rows are."""

    position: Key | None
    previous: Key | None
    """Where it was before the last batch."""
    last: int
    """Rows read of the last batch."""


class Writing(Protocol):
    """A session with the target that writes rows of one copy."""

    @property
    def action(self) -> RowTransfer:
        """The copy."""

    def take(self, lines: Iterator[Line]) -> int:
        """Write rows that fit, as they come, and return how many they have become."""

    def note_rejected(self, rows: Sequence[tuple[Key, Sequence[Touched]]]) -> None:
        """Write down which rows were left out, and why."""


class Taking(Writing, Protocol):
    """One that writes them into their table, until the swap."""

    def transaction(self) -> AbstractContextManager[object]:
        """Begin, and commit at the end; whatever is raised inside rolls back."""

    def hold(self, epoch: int) -> None:
        """Keep newer runs from taking over until the transaction ends. Raises FencedError when one has."""

    def standing(self, shard: int) -> Standing | None:
        """Return how far a shard is; None where nothing of it is there."""

    def advance(self, shard: int, low: Key | None, high: Key) -> bool:
        """Move the position, and return True; False where another worker has moved it."""

    def note(self, shard: int, written: Written) -> None:
        """Add to the account of a shard what has become of a batch."""


def load(
    taking: Taking,
    ledger: Session,
    reading: Reading,
    shard: Shard,
    number: int,
    epoch: int,
    limits: Limits,
    checkpoint: Checkpoint,
    between: Callable[[int], int | None],
) -> int:
    """Work through a shard and return the rows read.

    `between` is called before each batch with the size that it would have; it may wait, raise Paused, or return another
    size. Nothing is locked in the source. Raises FencedError when a newer run has taken over.
    """
    done, batches, size = 0, 0, min(shard.batch_rows, MOST_ROWS)
    position, ahead = _resumed(taking, shard, number)
    if ahead is not None:
        with ledger.transaction():
            assert position is not None
            checkpoint(0, ledger, position, ahead, size)
        done, batches = ahead, 1
    while position != shard.high:
        size = between(size) or size
        end = reading.end_of_batch(taking.action, position, shard.high, size)
        high = end or shard.high
        started = time.monotonic()
        record = partial(checkpoint, batches)
        done += _batch(taking, ledger, reading, (position, high), number, epoch, size, record)
        batches += 1
        position = high
        if end is not None:
            size = copied(size, time.monotonic() - started, limits, MOST_ROWS)
    return done


def _resumed(taking: Taking, shard: Shard, number: int) -> tuple[Key | None, int | None]:
    """Return how far the rows are and, where that is further than the cursor says, how many rows it is further."""
    found = taking.standing(number)
    if found is None:
        return shard.position, None
    if found.position == shard.position:
        return found.position, None
    if found.previous == shard.position:
        return found.position, found.last
    into = taking.action.into
    raise StepError(
        "ledger and table do not agree on how far the copy is: a database has lost what it had committed",
        where=f"{into.database}: {into.full_name}",
        hint="Roll back, then run again: it copies everything anew.",
        changed=DataChanged.PARTIALLY,
    )


def _batch(
    taking: Taking,
    ledger: Session,
    reading: Reading,
    span: tuple[Key | None, Key],
    number: int,
    epoch: int,
    size: int,
    checkpoint: Callable[[Session, Key, int, int], None],
) -> int:
    low, high = span
    # The inner one commits first. The ledger's begins when the rows are there: it would be ended for its idleness.
    with ExitStack() as outer, taking.transaction():
        taking.hold(epoch)
        # First: whoever else works on this range waits for it, and then finds that it is done.
        if not taking.advance(number, low, high):
            raise FencedError(
                "another worker has moved this position",
                where=f"{taking.action.into.full_name}, shard {number}",
                hint="Let the other worker finish; the batch of this one is rolled back.",
                changed=DataChanged.ROLLED_BACK,
            )
        written = write(taking, reading.lines(taking.action, low, high))
        taking.note(number, written)
        outer.enter_context(ledger.transaction())
        checkpoint(ledger, high, written.read, size)
    return written.read


def write(taking: Writing, lines: Iterable[Line]) -> Written:
    """Write rows, and note which are left out, and why; raises StepError where one is lost."""
    read = 0
    rejected: list[tuple[Key, Sequence[Touched]]] = []

    def kept() -> Iterator[Line]:
        nonlocal read
        for one in lines:
            read += one.rows
            if one.touched:
                refuse_undecided(taking.action.table, one.touched)
                rejected.append((one.key, one.touched))
            else:
                yield one

    written = taking.take(kept())
    taking.note_rejected(rejected)
    refuse_lost(taking.action.table, read, written, len(rejected))
    return Written(read=read, written=written, rejected=len(rejected))
