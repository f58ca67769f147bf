"""A second session that keeps others from writing to children while the table that they refer to is renamed.

Who inserts a child holds a row of its parent, and not the table: the server would let the RENAME have the table, with
everybody behind it, and wait there for that row, for which it has another limit than the lock budget. Nobody holds such
a row while the children are locked against writing, and to get that lock nobody has to queue.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from profiles.model import Limits
from tasks.engines.mysql.session import PATIENT, MariaSession
from tasks.model.steps import SelfCommitting

Quiet = Callable[[str, bool], AbstractContextManager[None]]
"""Gives what is held while a statement is carried out, which queues for its locks, or does not."""

_RENAMES = "rename"


def budget(action: SelfCommitting, statement: str, limits: Limits) -> int:
    """Return for how many milliseconds a statement may wait for its locks: half as long where two wait in turn."""
    return limits.lock_budget // 2 if action.beside and statement.startswith(_RENAMES) else limits.lock_budget


@contextmanager
def nobody_beside(statement: str, queues: bool) -> Iterator[None]:  # noqa: ARG001
    """Hold nothing."""
    yield


@contextmanager
def beside(open_session: Callable[[], MariaSession], action: SelfCommitting, limits: Limits) -> Iterator[Quiet]:
    """Yield what holds the tables of `beside`, for each RENAME alone. Raises what LOCK TABLES does without the lock."""
    if not action.beside:
        yield nobody_beside
        return
    with open_session() as other:

        @contextmanager
        def held(statement: str, queues: bool) -> Iterator[None]:
            if not statement.startswith(_RENAMES):
                yield
                return
            try:
                # A process that stands still does not stop everybody else.
                other.execute("set session wait_timeout = 1")
                other.execute(other.dialect.limited(action.beside, limits.lock_budget // 2, queues=queues))
                yield
            finally:
                if not other.closed:
                    other.execute("unlock tables")
                    other.execute(f"set session {PATIENT}")

        yield held
