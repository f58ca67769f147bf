"""A second session that keeps others from children while the table that they refer to is renamed.

The server locks each child then, in InnoDB, so that nobody looks for rows in it: behind whoever has written to one, has
read one to lock it, or has inserted a row that refers to one. It would let the RENAME have the table, with everybody
behind it, and wait there, for which it has another limit than the lock budget. Who has read or written a child holds
it, and who refers to one holds its own table: nobody is left while the children are locked against all, and what refers
to them against writing. To get that lock nobody has to queue.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress

from profiles.model import Limits
from tasks.engines.mysql.driver import driver_error
from tasks.engines.mysql.names import quote, quoted
from tasks.engines.mysql.session import PATIENT, MariaSession
from tasks.model.steps import SelfCommitting

Quiet = Callable[[str, bool], AbstractContextManager[None]]
"""Gives what is held while a statement is carried out, which queues for its locks, or does not."""
_ASK_EVERY = 1.0
"""Seconds for which what refers to the children is taken for known: the catalogue opens every table to tell."""
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
    other = open_session()
    asked, referring = float("-inf"), []

    @contextmanager
    def held(statement: str, queues: bool) -> Iterator[None]:
        nonlocal other, asked, referring
        if not statement.startswith(_RENAMES):
            yield
            return
        if other.closed:
            other = open_session()
        try:
            if time.monotonic() - asked > _ASK_EVERY:
                referring = _referring(other, action.beside)
                asked = time.monotonic()
            # A process that stands still does not stop everybody else.
            other.execute("set session wait_timeout = 1")
            locked = _lock(action.beside, referring, statement)
            other.execute(other.dialect.limited(locked, limits.lock_budget // 2, queues=queues))
            yield
        finally:
            _let_go(other)

    try:
        yield held
    finally:
        other.close()


def _let_go(other: MariaSession) -> None:
    """Let go of all tables, with the session where it cannot say so: what the statement beside it has met counts."""
    with suppress(driver_error()):
        if not other.closed:
            other.execute("unlock tables")
            other.execute(f"set session {PATIENT}")
            return
    other.close()


def _referring(conn: MariaSession, children: Sequence[str]) -> list[str]:
    """Return what refers to the children, quoted, with its database."""
    names = ", ".join(map(quoted, children))
    rows = conn.execute(
        "select distinct table_schema, table_name from information_schema.key_column_usage"
        f" where referenced_table_schema = database() and referenced_table_name in ({names})"
        f" and not (table_schema = database() and table_name in ({names})) order by 1, 2"
    ).fetchall()
    return [quote(name) if schema == conn.database else f"{quote(schema)}.{quote(name)}" for schema, name in rows]


def _lock(children: Sequence[str], referring: Sequence[str], statement: str) -> str:
    """Return the LOCK TABLES; what the statement renames is held by whoever has written to it."""
    tables = [f"{quote(child)} write" for child in children]
    tables += [f"{one} read" for one in referring if one not in statement]
    return f"lock tables {', '.join(tables)}"
