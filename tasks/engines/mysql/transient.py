"""Which errors of MariaDB pass by themselves, and why a server did not let us in."""

from typing import TYPE_CHECKING, Final

import tenacity

from profiles.model import Limits
from tasks.engines.mysql.driver import driver_error
from tasks.engines.retrying import OnRetry, Passing
from tasks.engines.retrying import retrying as again
from tasks.engines.unreachable import TooManyConnectionsError, UnreachableError
from tasks.model.errors import ChangeoverError, PreflightError

if TYPE_CHECKING:
    from pymysql.err import MySQLError

BEING_CHANGED: Final = 1684
OUT_OF_TIME: Final = 1969
LOCKED: Final = frozenset({1205, 1213, OUT_OF_TIME, 3024, BEING_CHANGED})
"""lock wait timeout, deadlock, max_statement_time, MySQL's max_execution_time, DDL on a table that is asked about."""
LOST: Final = frozenset({1053, 1040, 1203, 1927, 2003, 2006, 2013, 2055, 0})
"""shutdown, too many connections, killed, and all ways in which a client loses its server."""
_IDLE: Final = 4031
"""MySQL's, for a session that was idle. MariaDB's says that a trigger, before which one is made, is not there."""
_REFUSED: Final[dict[int, tuple[type[ChangeoverError], str, str]]] = {
    1045: (PreflightError, "The server refused the user or the password", "Correct user and password in the URL."),
    1044: (PreflightError, "The user may not use this database", "Ask the administrator for the privileges."),
    1049: (PreflightError, "The database does not exist", "Correct the name at the end of the URL, or create it."),
    1040: (
        TooManyConnectionsError,
        "The server has no free connection",
        "End idle sessions, or raise max_connections.",
    ),
    1203: (TooManyConnectionsError, "The user has no free connection", "End idle sessions, or raise the user's limit."),
    2003: (UnreachableError, "No server answers there", "Start the server, or correct host and port in the URL."),
}


def code_of(error: BaseException) -> int | None:
    """Return the server's or the client's number of an error; None for others."""
    inner = getattr(error, "orig", None) or error
    if isinstance(inner, driver_error()) and inner.args and isinstance(inner.args[0], int):
        return inner.args[0]
    return None


def is_transient(error: BaseException) -> bool:
    """Tell whether the whole transaction, tried again, may succeed."""
    return code_of(error) in LOCKED or is_lost(error)


def is_lost(error: BaseException) -> bool:
    """Tell whether the server is gone, or has no connection for us."""
    code = code_of(error)
    idle = code == _IDLE and "wait_timeout" in str(error)
    return isinstance(error, UnreachableError | TooManyConnectionsError) or code in LOST or idle


def refusal(error: "MySQLError", place: str) -> ChangeoverError:
    """Turn the error of a failed connection into ours, without what it quotes."""
    code = code_of(error) or 0
    kind, what, hint = _REFUSED.get(
        code, (PreflightError, f"The connection could not be made: {code}", "Remove the cause that the server gives.")
    )
    return kind(what, where=place, hint=hint)


def retrying(limits: Limits, on_retry: OnRetry | None = None) -> tenacity.Retrying:
    """Try up to `limits.attempts` times; see `tasks.engines.retrying`."""
    return again(limits, PASSING, on_retry)


def _summary(error: BaseException) -> str:
    if isinstance(error, ChangeoverError):
        return error.what
    return f"the server said {code_of(error)}"


PASSING: Final = Passing(
    passes=is_transient, lost=is_lost, lock=lambda error: code_of(error) in LOCKED - {1213}, summary=_summary
)
