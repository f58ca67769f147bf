"""Where MySQL 8 differs from MariaDB 10.11, all in one place. Statements are written for MariaDB.

Tested on MariaDB 10.11 alone: what stands here for MySQL follows its manual.
"""

import math
from dataclasses import dataclass
from typing import Final

from tasks.engines.mysql.names import quoted
from tasks.model.errors import PreflightError

OLDEST_MARIADB: Final = (10, 6)
"""Before 10.6 a RENAME of several tables can be torn by a crash."""
OLDEST_MYSQL: Final = (8, 0)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """A server, by its version."""

    maria: bool
    version: tuple[int, ...]

    @property
    def name(self) -> str:
        """`MariaDB 10.11`, for people."""
        return f"{'MariaDB' if self.maria else 'MySQL'} {'.'.join(map(str, self.version[:2]))}"

    @property
    def no_wait(self) -> int:
        """The innodb_lock_wait_timeout that waits least: MySQL knows no 0."""
        return 0 if self.maria else 1

    def spoken(self, statement: str) -> str:
        """Return a statement in the words of this server."""
        if self.maria:
            return statement
        for ours, theirs in _VARIABLES.items():
            statement = statement.replace(ours, theirs)
        return statement

    def default(self, text: str, options: tuple[str, ...]) -> str:
        """Return a default of the catalogue as SQL: MariaDB keeps it so, MySQL keeps bare texts."""
        if self.maria or any("default_generated" in option for option in options):
            return text
        return quoted(text)

    @property
    def in_place(self) -> tuple[str, ...]:
        """The last clause of an ALTER TABLE that takes a moment, whatever the size of the table, or is refused.

        The second is for indexes that are dropped. MySQL knows neither `nocopy`, nor a lock beside `instant`.
        """
        maria = (", algorithm=instant, lock=none", ", algorithm=nocopy, lock=none")
        return maria if self.maria else (", algorithm=instant",)

    def limited(self, statement: str, budget_ms: int, *, queues: bool) -> str:
        """Return a DDL statement that waits for its locks as long as the budget, in whole seconds, if it `queues`.

        Else it does not wait at all. MySQL has only the `lock_wait_timeout` that every session of ours sets.
        `max_statement_time`, which knows milliseconds, would end work, too: MariaDB loses the triggers of a table whose
        RENAME is ended half way, and whoever is ended while he reads triggers leaves them unreadable to all who write.
        But LOCK TABLES does nothing but wait: it is ended at the budget.

        For rows an ALTER never waits: those of tables whose foreign keys refer to this one, too. It would hold the
        table meanwhile, and nothing but `innodb_lock_wait_timeout` ends that. But a RENAME that fails half way has to
        lock the server's own tables to be undone.
        """
        at_once, rows = statement.endswith(self.in_place), statement.startswith(_ROWS)
        if not self.maria or not (at_once or statement.startswith(_WAITS)):
            return statement
        if rows or (queues and statement.startswith(_LOCKS)):
            waits = "" if queues else "innodb_lock_wait_timeout = 0, "
            return f"set statement {waits}max_statement_time = {budget_ms / 1000:.3f} for {statement}"
        waits = f"lock_wait_timeout = {math.ceil(budget_ms / 1000) if queues else 0}"
        if at_once:
            waits += ", innodb_lock_wait_timeout = 0"
        return f"set statement {waits} for {statement}"

    def timed(self, statement: str, budget_ms: int) -> str:
        """Return a statement that is ended at the budget. MySQL ends nothing but what only reads."""
        return f"set statement max_statement_time = {budget_ms / 1000:.3f} for {statement}" if self.maria else statement


_ROWS: Final = "delete"
"""What waits for rows, and for no metadata."""
_LOCKS: Final = "lock tables"
_WAITS: Final = (
    "rename",
    "create trigger",
    "create or replace definer",
    "drop trigger",
    _LOCKS,
    "execute",
    _ROWS,
)
"""What waits for locks on tables of applications. The rest is about tables of ours, and may take its time."""
_VARIABLES: Final = {
    "@@tx_isolation": "@@transaction_isolation",
    "@@server_uid": "@@server_uuid",
    "information_schema.innodb_sys_tables": "information_schema.innodb_tables",
}


def dialect_of(version: str, place: str) -> Dialect:
    """Read what `select version()` says; raises PreflightError for a server that is not known."""
    maria = "mariadb" in version.lower()
    numbers = version.lower().removeprefix("5.5.5-").split("-")[0].split(".")
    known = tuple(int(part) for part in numbers[:3] if part.isdigit())
    oldest = OLDEST_MARIADB if maria else OLDEST_MYSQL
    found = Dialect(maria=maria, version=known)
    if known < oldest:
        raise PreflightError(
            f"{found.name} is not supported, only MariaDB 10.6 and MySQL 8.0, or later",
            where=place,
            hint="Upgrade the server.",
        )
    return found
