"""What is asked of a database whose rows become documents, in its own SQL: of PostgreSQL, or of MariaDB."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import psycopg

from tasks.engines.records import Key, Touched
from tasks.engines.session import Session
from tasks.model.transfer_steps import DocumentTransfer

Row = tuple[Any, ...]
"""The key as text, then what is sent for each field that is read, and its text or NULL."""


class Side(Protocol):
    """What knows the SQL of a source. Each takes a session with it."""

    def prepare(self, conn: Any, search_path: str) -> None:
        """Make a session one that reads all rows, and knows the names that expressions use."""

    def has(self, conn: Any, table: str) -> bool:
        """Tell whether there is a table of ours, quoted."""

    def last_key(self, conn: Any, action: DocumentTransfer) -> Key | None:
        """Return the greatest key there is; None for an empty table."""

    def end_of_batch(
        self, conn: Any, action: DocumentTransfer, low: Key | None, high: Key | None, rows: int
    ) -> Key | None:
        """Return the key of the row `rows` further on; None when fewer are left before `high`."""

    def rows(self, conn: Any, action: DocumentTransfer, low: Key | None, high: Key | None) -> list[Row]:
        """Return the rows of a range that are to be copied, of one snapshot."""

    def between(
        self, conn: Any, action: DocumentTransfer, low: Key | None, high: Key | None
    ) -> AbstractContextManager[Iterator[Row]]:
        """Read them as they are asked for. Nothing else is done on the session meanwhile, unless it is PostgreSQL's."""

    def rows_of(self, conn: Any, action: DocumentTransfer, keys: Sequence[Key]) -> Iterable[Row]:
        """Give the rows with these keys that are to be copied. Nothing else is done on the session meanwhile."""

    def snapshot(self, conn: Any, search_path: str) -> AbstractContextManager[None]:
        """Let everything that is read be of one moment."""

    def refuse_waiting(self, conn: Any, free: Any, action: DocumentTransfer) -> None:
        """Raise StateError where somebody waits for what this session holds; `free`: one on which nothing is read."""

    def noted(self, conn: Any, action: DocumentTransfer, most: int) -> Generator[list[Row]]:
        """Yield key and `_id` of what notes tell of, each once, so many at a time."""

    def pending(self, conn: Any, action: DocumentTransfer, keys: Sequence[Key]) -> set[Key]:
        """Return those of these keys of which it is noted that their documents become others."""

    def emptied(self, conn: Any, action: DocumentTransfer) -> bool:
        """Tell whether it is noted that the whole table was emptied."""

    def unidentified(self, conn: Any, action: DocumentTransfer) -> tuple[int, int]:
        """Count rows whose `_id` is null, and those that have the `_id` of another."""

    def unread(self, error: Exception) -> str:
        """Say why rows cannot be read; nothing where that passes, or is no error of the server."""

    def note_rejected(
        self, conn: Any, action: DocumentTransfer, touched: Sequence[tuple[Key, Sequence[Touched]]]
    ) -> None:
        """Write down which rows were left out, and why."""

    def rejected(self, conn: Any, action: DocumentTransfer, keys: Sequence[str]) -> set[str]:
        """Return which of these keys, as text, have a note of a rejection."""

    def count_rejected(self, conn: Any, action: DocumentTransfer) -> int:
        """Return how many keys have a note of a rejection."""

    def forget_rejected(self, conn: Any, action: DocumentTransfer, keys: Sequence[str]) -> None:
        """Delete the notes of rejections of these keys, as text."""

    def account(self, conn: Any, action: DocumentTransfer, number: int, read: int, written: int, left_out: int) -> None:
        """Add to the account of a shard."""


def side_of(conn: Session) -> Side:
    """Return what knows the SQL of the server of a session."""
    if isinstance(conn, psycopg.Connection):
        from tasks.engines.postgresql import as_documents as postgresql  # noqa: PLC0415 - the other loads a driver

        return postgresql
    from tasks.engines.mysql import as_documents as mariadb  # noqa: PLC0415 - loads the driver

    return mariadb
