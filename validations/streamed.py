"""What a gate asks of documents that are written while it asks; failures that pass are tried again."""

from collections.abc import Callable
from typing import TypeVar

from profiles.model import Limits
from tasks.engines.mongodb.connect import connected
from tasks.engines.mongodb.errors import PASSING
from tasks.engines.mongodb.rows.following import Following
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.receiving.compare_moving import compare_moving
from tasks.engines.postgresql.receiving.notes import StreamNotes
from tasks.engines.receiving.differences import Differences
from tasks.engines.retrying import retrying
from tasks.model.transfer_steps import RowTransfer

T = TypeVar("T")


def noted_until_now(url: str, conn: Connection, action: RowTransfer, called: str, limits: Limits) -> None:
    """See to it that what was written until now is noted. Raises StepError where nobody can tell any more."""
    retrying(limits, PASSING)(lambda: _following(url, conn, action, called, lambda reading: reading.catch_up(action)))


def compared_meanwhile(
    url: str, there: str, action: RowTransfer, table: str, called: str, limits: Limits
) -> Differences:
    """Compare all documents with the rows of a table, quoted and qualified, each try on sessions of its own."""

    def once() -> Differences:
        with connect(there, application_name=called) as conn:
            return _following(url, conn, action, called, lambda reading: compare_moving(conn, reading, action, table))

    return retrying(limits, PASSING)(once)


def _following(url: str, conn: Connection, action: RowTransfer, called: str, act: Callable[[Following], T]) -> T:
    with (
        connected(url, name=called) as database,
        database.client.start_session(causal_consistency=True) as session,
    ):
        return act(Following(database, session, StreamNotes(conn, action)))
