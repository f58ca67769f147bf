"""Documents as a source of rows, with or without writers."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.rows import changes
from tasks.engines.mongodb.rows.following import Following
from tasks.engines.mongodb.rows.reading import Reading, require_same
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.receiving.source import COMPARED_LATER, Notes, Position
from tasks.model.transfer_steps import RowTransfer


@dataclass(frozen=True, kw_only=True)
class MongoRows:
    """Documents of MongoDB, whose ledger lies in PostgreSQL. Sessions are opened for each use, and closed.

    What is read was written by a majority: no server forgets it. Writers cannot be kept waiting: what is written after
    the last look at the change stream is told by it later.
    """

    connect: Callable[[str], Connection]
    """Opens a session with the ledger."""
    connected: Callable[[], AbstractContextManager[Documents]]

    def __repr__(self) -> str:
        return "MongoRows()"

    @contextmanager
    def reading(self, purpose: str) -> Iterator[Reading]:
        """Open a session to read with."""
        with self.connected() as database:
            yield Reading(database, by_server=purpose in COMPARED_LATER)

    @contextmanager
    def reading_notes(
        self,
        action: RowTransfer,  # noqa: ARG002 - notes are those of one copy
        purpose: str,
        notes: Notes,
    ) -> Iterator[Following]:
        """Open a session to read with beside writers; notes of what they write are in the database of another one."""
        with self.connected() as database, database.client.start_session(causal_consistency=True) as session:
            yield Following(database, session, notes, by_server=purpose in COMPARED_LATER)

    def beginning(self, action: RowTransfer) -> Position:
        """Return where the change stream is now. Raises DriftError where the collection is not that of the plan."""
        with self.connected() as database:
            require_same(database, action)
            return changes.beginning(database, action)

    def seconds_behind(self, position: Position) -> float:
        """Return how long ago a place in the change stream was the end of it."""
        with self.connected() as database:
            return changes.seconds_behind(database, position)

    def require_unbroken(self, conn: Connection) -> None:
        """Ask nothing: what was read cannot be forgotten."""

    @contextmanager
    def standstill(self, action: RowTransfer, budget_ms: int) -> Iterator["NoStandstill"]:  # noqa: ARG002
        """Hold nothing still."""
        yield NoStandstill()


class NoStandstill:
    """Writers go on: MongoDB has nothing that lets them wait."""

    holds: Final = False

    def begin(self) -> str:
        """Return at once."""
        return ""

    def lost(self) -> str:
        """Return at once."""
        return ""

    def ended(self) -> str:
        """Return at once."""
        return ""
