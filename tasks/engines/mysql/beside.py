"""A second session that keeps others from children while the table that they refer to is renamed.

The server locks each child then, in InnoDB, so that nobody looks for rows in it: behind whoever has written to one, has
read one to lock it, or has inserted a row that refers to one. It would let the RENAME have the table, with everybody
behind it, and wait there, for which it has another limit than the lock budget. Who has read or written a child holds
it, and who refers to one holds its own table: nobody is left while the children are locked against all, and what refers
to them against writing. To get that lock nobody has to queue. The RENAME never does: the server would let it wait for a
second at least, with the children locked all the time.

Whoever locks a table against all locks whatever its triggers may come to, and what refers to it, with that, all the
way. Where that may be the table that is renamed, a child is held against writing alone, which locks nothing else: who
has locked rows of it by reading them is met by the RENAME then.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

from profiles.model import Limits
from tasks.engines.mysql.driver import driver_error
from tasks.engines.mysql.names import quote
from tasks.engines.mysql.session import PATIENT, MariaSession
from tasks.engines.mysql.unqueued import carry_out_unqueued
from tasks.model.steps import SelfCommitting

Quiet = Callable[[str, bool], AbstractContextManager[None]]
"""Gives what is held while a statement is carried out, which queues for its locks, or does not."""
_ASK_EVERY = 1.0
"""Seconds for which what refers to the children is taken for known: the catalogue opens every table to tell."""
_RENAMES = "rename"
_LONGEST = 500
"""Milliseconds: less than the second after which the server ends the session that holds the children and is silent."""


def perform(conn: MariaSession, action: SelfCommitting, statement: str, limits: Limits, *, queues: bool) -> None:
    """Carry out a statement; a RENAME with children locked beside it in the other half of the lock budget."""
    if action.beside and statement.startswith(_RENAMES):
        carry_out_unqueued(conn, statement, min(limits.lock_budget // 2, _LONGEST) if queues else 0)
    else:
        conn.execute(conn.dialect.limited(statement, limits.lock_budget, queues=queues))


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
    asked, around = float("-inf"), _Around()

    @contextmanager
    def held(statement: str, queues: bool) -> Iterator[None]:
        nonlocal other, asked, around
        if not statement.startswith(_RENAMES):
            yield
            return
        if other.closed:
            other = open_session()
        try:
            if time.monotonic() - asked > _ASK_EVERY:
                around = _around(other)
                asked = time.monotonic()
            # A process that stands still does not stop everybody else.
            other.execute("set session wait_timeout = 1")
            locked = _lock(action.beside, around, statement)
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


@dataclass(frozen=True)
class _Key:
    """A foreign key to a table of the database, by quoted names."""

    table: str
    to: str
    follows: bool
    """Whether it writes to its table what is done to the other one."""
    far: bool
    """Whether its table is in another database."""


@dataclass(frozen=True)
class _Around:
    """What LOCK TABLES may come to."""

    keys: tuple[_Key, ...] = ()
    triggered: frozenset[str] = frozenset()
    """The quoted names of tables with triggers."""


def _around(conn: MariaSession) -> _Around:
    keys = conn.execute(
        "select table_name, referenced_table_name, constraint_schema,"
        " greatest(delete_rule not in ('restrict', 'no action'), update_rule not in ('restrict', 'no action'))"
        " from information_schema.referential_constraints where unique_constraint_schema = database() order by 3, 1"
    ).fetchall()
    triggered = conn.execute(
        "select distinct event_object_table from information_schema.triggers where event_object_schema = database()"
    ).fetchall()
    return _Around(
        tuple(
            _Key(
                quote(table) if schema == conn.database else f"{quote(schema)}.{quote(table)}",
                quote(to),
                bool(follows),
                schema != conn.database,
            )
            for table, to, schema, follows in keys
        ),
        frozenset(quote(table) for (table,) in triggered),
    )


def _lock(children: Sequence[str], around: _Around, statement: str) -> str:
    """Return the LOCK TABLES; what the statement renames is held by whoever has written to it."""
    names = [quote(child) for child in children]
    tables = [f"{name} {'read' if _comes_to(name, around, statement) else 'write'}" for name in names]
    referring = dict.fromkeys(key.table for key in around.keys if key.to in names and key.table not in names)
    tables += [f"{one} read" for one in referring if one not in statement]
    return f"lock tables {', '.join(tables)}"


def _comes_to(child: str, around: _Around, statement: str) -> bool:
    """Tell whether to lock a child against all may lock what the statement renames, too."""
    seen, left = {child}, [child]
    while left:
        one = left.pop()
        keys = [key for key in around.keys if key.to == one]
        if one in around.triggered or any(key.table in statement or (key.follows and key.far) for key in keys):
            return True
        left += {key.table for key in keys if key.follows} - seen
        seen.update(left)
    return False
