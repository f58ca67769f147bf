"""Read a batch of rows on a session of its own while the one before it is written."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from tasks.engines.mongodb import ready
from tasks.engines.mongodb.document import Made, documents
from tasks.engines.mongodb.sides import side_of
from tasks.engines.records import Key
from tasks.engines.session import Session
from tasks.model.transfer_steps import DocumentTransfer

_RARE = 10
"""The server makes documents while it leaves at most one in so many to us: those are read twice."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Documents of a range of rows."""

    high: Key
    """The last key of the range."""
    last: bool
    """There is no more before the end of the shard."""
    ready: list[bytes]
    """Documents about which there is nothing to tell."""
    made: list[Made]
    """All others."""
    took: float
    """Seconds."""
    asked: int
    """How many rows it was to have."""

    @property
    def rows(self) -> int:
        """How many rows they are of."""
        return len(self.ready) + len(self.made)

    @property
    def bytes(self) -> int:
        """How large the documents are, together."""
        return sum(map(len, self.ready)) + sum(len(one.document) for one in self.made)


class Reader:
    """Reads batch after batch up to the end of a shard; at most one of them is held that nobody has taken."""

    def __init__(self, conn: Session, action: DocumentTransfer, end: Key, pool: ThreadPoolExecutor) -> None:
        self._conn, self._action, self._end, self._pool = conn, action, end, pool
        self._side, self._by_server = side_of(conn), ready.can_make(conn, action)
        self._begun: Future[Batch] | None = None

    def begin(self, position: Key | None, size: int) -> None:
        """Begin to read the batch after a key."""
        self._begun = self._pool.submit(self._read, position, size)

    def take(self, position: Key | None, size: int) -> Batch:
        """Return the batch after a key: the one that was begun, whatever its size, or one that is read now."""
        if self._begun is None:
            self.begin(position, size)
        assert self._begun is not None
        begun, self._begun = self._begun, None
        return begun.result()

    def _read(self, low: Key | None, size: int) -> Batch:
        started = time.monotonic()
        end = self._side.end_of_batch(self._conn, self._action, low, self._end, size)
        high = end or self._end
        made, others = self._documents(low, high)
        took = time.monotonic() - started
        return Batch(high=high, last=high == self._end, ready=made, made=others, took=took, asked=size)

    def _documents(self, low: Key | None, high: Key) -> tuple[list[bytes], list[Made]]:
        conn, action = self._conn, self._action
        if not self._by_server or not isinstance(conn, psycopg.Connection):
            return [], list(documents(action, self._side.rows(conn, action, low, high)))
        made, keys = ready.ready(conn, action, low, high)
        # A row that is gone or changed by now is noted, where writes are noted: it is as if it was read so at once.
        others = list(documents(action, self._side.rows_of(conn, action, keys)))
        self._by_server = len(keys) * _RARE <= len(keys) + len(made)
        return made, others


@contextmanager
def reading(conn: Session, action: DocumentTransfer, end: Key, search_path: str) -> Iterator[Reader]:
    """Give what reads a shard on this session, and nobody else uses it meanwhile; what is being read is waited for."""
    side_of(conn).prepare(conn, search_path)
    with ThreadPoolExecutor(1, thread_name_prefix="read ahead") as pool:
        yield Reader(conn, action, end, pool)
