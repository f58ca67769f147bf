"""Which errors pass by themselves, and how to try again."""

from typing import Final

import psycopg
import tenacity

from profiles.model import Limits
from tasks.engines.postgresql.address import redact
from tasks.engines.retrying import OnRetry, Passing
from tasks.engines.retrying import retrying as again
from tasks.engines.unreachable import TooManyConnectionsError, UnreachableError
from tasks.model.errors import ChangeoverError

# Others were faster; the same transaction goes through once they are done.
_CONFLICTS: Final = frozenset(
    {
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "55P03",  # lock_not_available
    }
)
# The session is gone, or was never made; a new one may do.
_LOST: Final = frozenset(
    {
        "25P03",  # idle_in_transaction_session_timeout: our client was held up
        "53300",  # too_many_connections
        "57P01",  # admin_shutdown, also pg_terminate_backend
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
        "57P05",  # idle_session_timeout
    }
)
_CONNECTION_EXCEPTION: Final = "08"  # a class: every code that begins with it


def is_transient(error: BaseException) -> bool:
    """Tell whether the whole transaction, tried again, may succeed.

    Data errors never pass. A TransientError out of retries is not tried again by whoever calls.
    Whether a commit that was cut off has happened is not answered here: read the ledger.
    """
    return _is_lost(error) or _sqlstate(error) in _CONFLICTS


def retrying(limits: Limits, on_retry: OnRetry | None = None) -> tenacity.Retrying:
    """Try up to `limits.attempts` times; see `tasks.engines.retrying`."""
    return again(limits, PASSING, on_retry)


def _is_lost(error: BaseException) -> bool:
    if isinstance(error, UnreachableError | TooManyConnectionsError):
        return True
    driver = _driver_error(error)
    code = _sqlstate(error)
    if code is not None:
        return code in _LOST or code.startswith(_CONNECTION_EXCEPTION)
    # Without a code the server did not speak: the connection broke. One that was never made carries
    # its parameters, and its reasons are told apart by `refusals`.
    return isinstance(driver, psycopg.OperationalError) and driver.pgconn is None


def _sqlstate(error: BaseException) -> str | None:
    driver = _driver_error(error)
    return driver.sqlstate if isinstance(driver, psycopg.Error) else None


def _driver_error(error: BaseException) -> BaseException:
    """Look through SQLAlchemy, which wraps the error of the driver."""
    inner = getattr(error, "orig", None)
    return inner if isinstance(inner, psycopg.Error) else error


def _summary(error: BaseException) -> str:
    """Give the first line: details and contexts of PostgreSQL may show values of rows."""
    if isinstance(error, ChangeoverError):
        return error.what
    driver = _driver_error(error)
    message = driver.diag.message_primary if isinstance(driver, psycopg.Error) else None
    return redact(message or str(driver).partition("\n")[0] or type(driver).__name__)


PASSING: Final = Passing(
    passes=is_transient, lost=_is_lost, lock=lambda error: _sqlstate(error) == "55P03", summary=_summary
)
