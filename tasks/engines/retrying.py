"""Try again what can pass by itself, on any engine: the whole transaction, bounded, with jitter."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

import tenacity

from profiles.model import Limits
from tasks.model.errors import ChangeoverError, LockTimeoutError, TransientError

OnRetry = Callable[[BaseException, int, float], None]
"""Called before each wait with the error, the number of the try that failed, and the seconds to wait."""

_FIRST_WAIT: Final = {True: 1.0, False: 0.05}  # seconds, after a lost session and after a conflict
_LONGEST_WAIT: Final = {True: 15.0, False: 5.0}


@dataclass(frozen=True, kw_only=True)
class Passing:
    """What an engine knows of its errors."""

    passes: Callable[[BaseException], bool]
    """The whole transaction, tried again, may succeed."""
    lost: Callable[[BaseException], bool]
    """The session is gone, or was never made."""
    lock: Callable[[BaseException], bool]
    """A lock could not be had in time."""
    summary: Callable[[BaseException], str]
    """One line without secrets and values of rows."""


def either(one: Passing, other: Passing) -> Passing:
    """Return what is known of the errors of two engines, where a step works on both."""
    return Passing(
        passes=lambda error: one.passes(error) or other.passes(error),
        lost=lambda error: one.lost(error) or other.lost(error),
        lock=lambda error: one.lock(error) or other.lock(error),
        summary=lambda error: (one if one.passes(error) else other).summary(error),
    )


def retrying(limits: Limits, kind: Passing, on_retry: OnRetry | None = None) -> tenacity.Retrying:
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
        retry=tenacity.retry_if_exception(kind.passes),
        stop=tenacity.stop_after_attempt(limits.attempts),
        wait=lambda state: _wait(state, kind),
        before_sleep=before_sleep,
        retry_error_callback=lambda state: _give_up(state, kind),
    )


def _error(state: tenacity.RetryCallState) -> BaseException:
    failed = state.outcome.exception() if state.outcome is not None else None
    assert failed is not None
    return failed


def _wait(state: tenacity.RetryCallState, kind: Passing) -> float:
    lost = kind.lost(_error(state))
    longest = min(_LONGEST_WAIT[lost], _FIRST_WAIT[lost] * 2.0 ** (state.attempt_number - 1))
    return random.uniform(longest / 2, longest)  # noqa: S311 - spreads load, guards nothing


def _give_up(state: tenacity.RetryCallState, passing: Passing) -> NoReturn:
    error = _error(state)
    kind = LockTimeoutError if passing.lock(error) else TransientError
    hint = error.hint if isinstance(error, ChangeoverError) else ""
    raise kind(
        f"Still failing after {state.attempt_number} tries: {passing.summary(error)}",
        where=error.where if isinstance(error, ChangeoverError) else "",
        hint=hint or "Run again when the database is calmer; what was committed stays.",
    ) from error
