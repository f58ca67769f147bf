"""A session with MariaDB: strict, in UTC, read committed, and named so that it is found again."""

import secrets
import socket
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from tasks.engines.mysql.address import options, where
from tasks.engines.mysql.dialect import Dialect, dialect_of
from tasks.engines.mysql.driver import driver_error
from tasks.engines.mysql.transient import BEING_CHANGED, refusal
from tasks.model.errors import StepError

if TYPE_CHECKING:
    import pymysql

SQL_MODE: Final = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION"
"""Strict, so that nothing is shortened in silence. Zero dates pass: they may be in tables that are only copied."""
PATIENT: Final = (
    "wait_timeout = 31536000 /*M!100300 , max_statement_time = 0, idle_transaction_timeout = 0,"
    " idle_readonly_transaction_timeout = 0, idle_write_transaction_timeout = 0 */"
)
"""Whatever server and user say, sessions are not ended: the one that holds the tables says nothing for as long as a run
lasts, whole tables are read by one statement, a transaction may wait beside DDL. MySQL knows only the first."""
_WARNED: Final = "max_error_count = 64, sql_notes = 0"
"""The server keeps warnings to ask for, and none that are but notes, which would take their room."""
_LOOKED_UP: Final = "/*M!100600 , in_predicate_conversion_threshold = 0 */"
"""However many values are listed, each is looked up by the index: of a thousand the server would make a subquery, for
which it reads the whole table where its settings keep it from a join."""
_KEEP_ALIVE: Final = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds, and times: whatever stands between forgets connections that say nothing within minutes."""


class MariaSession:
    """An autocommit session. Whatever the server warns of is an error."""

    def __init__(self, raw: "pymysql.Connection[Any]", place: str) -> None:
        self._raw = raw
        self.place = place
        self.name = f"changeover.{secrets.token_hex(12)}"
        """The lock that this session holds for as long as it lives: by it, it is found and ended."""
        with raw.cursor() as cursor:
            cursor.execute("select version()")
            row = cursor.fetchone()
        self.dialect: Dialect = dialect_of(str(row and row[0]), place)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def raw(self) -> "pymysql.Connection[Any]":
        """The driver's connection, for whoever needs one."""
        return self._raw

    @property
    def closed(self) -> bool:
        """True once it was closed, or lost."""
        return not self._raw.open

    @property
    def in_transaction(self) -> bool:
        """What the server said with its last answer."""
        from pymysql.constants import SERVER_STATUS  # noqa: PLC0415 - see driver

        # The types of PyMySQL leave it out.
        return bool(self._raw.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS)  # type: ignore[attr-defined]

    @property
    def database(self) -> str:
        """The database that unqualified names are looked up in."""
        name = self._raw.db
        return name.decode() if isinstance(name, bytes) else str(name)

    def execute(self, query: Any, params: Any = None, *, by_name: bool = False) -> Any:
        """Run a statement; raises StepError when the server warns of what it did."""
        from pymysql.cursors import Cursor, DictCursor  # noqa: PLC0415 - see driver

        cursor = self._raw.cursor(DictCursor if by_name else Cursor)
        cursor.execute(self.dialect.spoken(str(query)), params)
        if cursor.warning_count:
            self._refuse_warnings()
        return cursor

    def send(self, statement: bytes) -> int:
        """Run a statement of bytes, as it is, and return how many rows it changed; raises StepError on a warning."""
        from pymysql.cursors import Cursor  # noqa: PLC0415 - see driver

        cursor = self._raw.cursor(Cursor)
        # The types of PyMySQL want a text, and its client sends bytes as they are.
        changed = int(cursor.execute(statement))  # type: ignore[call-overload]
        if cursor.warning_count:
            self._refuse_warnings()
        return changed

    def stream(self, query: str) -> Generator[tuple[Any, ...]]:
        """Give the rows of a query as they come, holding none; raises StepError, at the end, when the server warned."""
        from pymysql.cursors import SSCursor  # noqa: PLC0415 - see driver

        with closing(self._raw.cursor(SSCursor)) as cursor:
            try:
                cursor.execute(self.dialect.spoken(query))
                yield from cursor
            finally:
                if self.closed:
                    # The driver would read on where nothing is, and fail in its own way: nobody would try again.
                    self._forget_answer()
        self._refuse_warnings()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Begin, and commit at the end; whatever is raised inside rolls back."""
        assert not self.in_transaction, "transactions are not nested"
        self.execute("start transaction")
        try:
            yield
        except BaseException:
            if not self.closed:
                self._raw.rollback()
            raise
        self._raw.commit()

    def close(self) -> None:
        """End the session; what was not committed is rolled back."""
        if self._raw.open:
            # What nobody has read of an answer is not read any more: whoever streams it may be cleared away later.
            self._forget_answer()
            self._raw.close()

    def _forget_answer(self) -> None:
        if (answer := getattr(self._raw, "_result", None)) is not None:
            answer.unbuffered_active = False

    def cut(self) -> None:
        """Cut the connection, from whichever thread: the server ends the session, and lets go of what it holds."""
        with suppress(OSError, AttributeError):
            # The types of PyMySQL leave it out; to close it would have to wait for whoever uses it.
            self._raw._sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]

    def _refuse_warnings(self) -> None:
        with self._raw.cursor() as cursor:
            cursor.execute("show warnings")
            # The texts of warnings quote values of rows.
            codes = sorted({int(code) for level, code, _ in cursor.fetchall() if level != "Note"})
        if BEING_CHANGED in codes:
            # The catalogue has left something out: asked again, it tells.
            raise driver_error()(BEING_CHANGED, "somebody's DDL is changing a table")
        if codes:
            raise StepError(
                f"the server warns: {', '.join(map(str, codes))}",
                where=self.place,
                hint="Correct the expression or the rows, so that nothing is shortened or guessed.",
            )


def connect(url: str, *, lock_timeout_ms: int = 1000, read_only: bool = False) -> MariaSession:
    """Open a session. Raises ProfileError for a URL that cannot be read, UnreachableError, PreflightError."""
    from pymysql.connections import Connection  # noqa: PLC0415 - see driver

    from tasks.engines.mysql.opportunistic_tls import OpportunisticTls  # noqa: PLC0415

    given = options(url)
    opening = Connection if any(name.startswith("ssl_") for name in given) else OpportunisticTls
    seconds = max(1, -(-lock_timeout_ms // 1000))
    settings = (
        f"set session sql_mode = '{SQL_MODE}', time_zone = '+00:00', lock_wait_timeout = {seconds},"
        f" innodb_lock_wait_timeout = {seconds}, group_concat_max_len = 1048576, {_WARNED}, {PATIENT}{_LOOKED_UP}"
    )
    try:
        raw = opening(
            **given, charset="utf8mb4", autocommit=True, connect_timeout=10, init_command=settings,
            program_name="changeover",
        )  # fmt: skip
    except driver_error() as error:
        failed = refusal(error, where(url))
    else:
        _keep_alive(raw)
        session = MariaSession(raw, where(url))
        session.execute("set session transaction isolation level read committed" + (", read only" if read_only else ""))
        return session
    # Outside of the handler: the driver's own error may quote the user.
    raise failed


def _keep_alive(raw: Any) -> None:
    for name, value in _KEEP_ALIVE.items():
        # Not every system has each.
        if (option := getattr(socket, name, None)) is not None:
            # The types of PyMySQL leave the socket out.
            raw._sock.setsockopt(socket.IPPROTO_TCP, option, value)
