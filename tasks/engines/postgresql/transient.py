"""Which errors pass by themselves, and how to try again."""

import random
from collections.abc import Callable
from typing import Final, NoReturn

import psycopg
import tenacity

from profiles.model import Limits
from tasks.engines.postgresql.address import redact
from tasks.engines.postgresql.refusals import TooManyConnectionsError, UnreachableError
from tasks.model.errors import ChangeoverError, LockTimeoutError, TransientError

OnRetry = Callable[[BaseException, int, float], None]
"""Called before each wait with the error, the number of the try that failed, and the seconds to wait."""

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

_FIRST_WAIT: Final = {True: 1.0, False: 0.05}  # seconds, after a lost session and after a conflict
_LONGEST_WAIT: Final = {True: 15.0, False: 5.0}


def is_transient(error: BaseException) -> bool:
    """Tell whether the whole transaction, tried again, may succeed.

    Data errors never pass. A TransientError out of retries is not tried again by whoever calls.
    Whether a commit that was cut off has happened is not answered here: read the ledger.
    """
    return _is_lost(error) or _sqlstate(error) in _CONFLICTS


def retrying(limits: Limits, on_retry: OnRetry | None = None) -> tenacity.Retrying:
    """Try up to `limits.attempts` times, with exponential backoff and jitter in between.

    Call it with a function, or loop over it: `for attempt in retrying(limits): with attempt: ...`. Each try
    has to be the whole transaction, on a connection of its own.

    Raises TransientError, for a lock LockTimeoutError, when the last try failed for a passing reason too;
    every other error at once and as it is.
    """

    def before_sleep(state: tenacity.RetryCallState) -> None:
        if on_retry is not None:
            on_retry(_error(state), state.attempt_number, state.upcoming_sleep)

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_transient),
        stop=tenacity.stop_after_attempt(limits.attempts),
        wait=_wait,
        before_sleep=before_sleep,
        retry_error_callback=_give_up,
    )


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


def _error(state: tenacity.RetryCallState) -> BaseException:
    failed = state.outcome.exception() if state.outcome is not None else None
    assert failed is not None
    return failed


def _wait(state: tenacity.RetryCallState) -> float:
    lost = _is_lost(_error(state))
    longest = min(_LONGEST_WAIT[lost], _FIRST_WAIT[lost] * 2.0 ** (state.attempt_number - 1))
    return random.uniform(longest / 2, longest)  # noqa: S311 - spreads load, guards nothing


def _give_up(state: tenacity.RetryCallState) -> NoReturn:
    error = _error(state)
    kind = LockTimeoutError if _sqlstate(error) == "55P03" else TransientError
    hint = error.hint if isinstance(error, ChangeoverError) else ""
    raise kind(
        f"Still failing after {state.attempt_number} tries: {_summary(error)}",
        where=error.where if isinstance(error, ChangeoverError) else "",
        hint=hint or "Run again when the database is calmer; what was committed stays.",
    ) from error


def _summary(error: BaseException) -> str:
    """Give the first line: details and contexts of PostgreSQL may show values of rows."""
    if isinstance(error, ChangeoverError):
        return error.what
    driver = _driver_error(error)
    message = driver.diag.message_primary if isinstance(driver, psycopg.Error) else None
    return redact(message or str(driver).partition("\n")[0] or type(driver).__name__)
