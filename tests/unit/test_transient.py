"""Which errors pass by themselves, and how long we wait for them."""

import psycopg
import pytest
import sqlalchemy.exc
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from profiles.model import Limits
from tasks.engines.postgresql.transient import is_transient, retrying
from tasks.engines.unreachable import TooManyConnectionsError, UnreachableError
from tasks.model.errors import (
    FencedError,
    LockTimeoutError,
    PreflightError,
    StepError,
    TransientError,
)

PASSING = {
    *("08000", "08001", "08003", "08004", "08006", "08007", "08P01"),
    *("25P03", "40001", "40P01", "53300", "55P03", "57P01", "57P02", "57P03", "57P05"),
}
CODES = sorted(code for code in psycopg.errors._sqlcodes if psycopg.errors.lookup(code).sqlstate == code)


def of(code: str) -> psycopg.Error:
    return psycopg.errors.lookup(code)("words of the server")


def test_of_all_codes_that_psycopg_knows_only_these_pass() -> None:
    assert len(CODES) > 250
    assert {code for code in CODES if is_transient(of(code))} == PASSING


def test_every_data_error_stays() -> None:
    for code in CODES:
        if code[:2] in {"21", "22", "23", "42", "44"}:
            assert not is_transient(of(code)), code


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("the connection is lost"),
        psycopg.OperationalError("consuming input failed: server closed the connection unexpectedly"),
        sqlalchemy.exc.OperationalError("select 1", {}, of("57P01")),
        UnreachableError("No server listens there"),
        TooManyConnectionsError("The server has no free connection"),
    ],
)
def test_a_lost_connection_passes(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        psycopg.InterfaceError("the cursor is closed"),
        psycopg.DataError("wrong"),
        psycopg.ProgrammingError("wrong"),
        sqlalchemy.exc.IntegrityError("insert", {}, of("23505")),
        TransientError("out of retries"),
        LockTimeoutError("out of retries"),
        PreflightError("no"),
        StepError("no"),
        FencedError("no"),
        KeyError("x"),
        ConnectionResetError("not the database's"),
        KeyboardInterrupt(),
        SystemExit(),
    ],
)
def test_everything_else_stays(error: BaseException) -> None:
    assert not is_transient(error)


def failing(errors: list[BaseException]) -> str:
    if errors:
        raise errors.pop(0)
    return "done"


def without_waiting(limits: Limits, slept: list[float]) -> tenacity.Retrying:
    return retrying(limits).copy(sleep=slept.append)


def test_a_passing_error_is_tried_again_until_it_has_passed() -> None:
    told: list[tuple[str, int]] = []
    again = retrying(Limits(), lambda error, number, seconds: told.append((type(error).__name__, number)))
    assert again(failing, [of("40001"), of("40P01")]) == "done"
    assert told == [("SerializationFailure", 1), ("DeadlockDetected", 2)]


def test_a_loop_tries_again_too() -> None:
    errors: list[BaseException] = [of("40001")]
    done = []
    for attempt in retrying(Limits()):
        with attempt:
            done.append(failing(errors))
    assert done == ["done"]


@pytest.mark.parametrize("error", [of("23505"), StepError("no"), KeyboardInterrupt()])
def test_another_error_ends_the_tries_as_it_is(error: BaseException) -> None:
    errors: list[BaseException] = [of("40001"), error, of("40001")]
    with pytest.raises(type(error)) as raised:
        retrying(Limits())(failing, errors)
    assert raised.value is error
    assert len(errors) == 1


@pytest.mark.parametrize(("code", "kind"), [("40001", TransientError), ("55P03", LockTimeoutError)])
def test_out_of_tries(code: str, kind: type[TransientError]) -> None:
    last = of(code)
    slept: list[float] = []
    with pytest.raises(TransientError, match="Still failing after 3 tries") as given_up:
        without_waiting(Limits(attempts=3), slept)(failing, [of(code), of(code), last, of(code)])
    assert type(given_up.value) is kind
    assert given_up.value.__cause__ is last
    assert given_up.value.hint
    assert len(slept) == 2
    assert not is_transient(given_up.value)


def test_out_of_tries_keeps_place_and_remedy_and_no_secret() -> None:
    unreachable = UnreachableError("No server listens there", where="h:5432/d", hint="Start the server.")
    with pytest.raises(TransientError) as given_up:
        without_waiting(Limits(attempts=1), [])(failing, [unreachable])
    assert (given_up.value.where, given_up.value.hint) == ("h:5432/d", "Start the server.")
    lost = psycopg.OperationalError("lost postgresql://u:geheim@h/d\nDETAIL: row (geheim)")
    with pytest.raises(TransientError) as given_up:
        without_waiting(Limits(attempts=1), [])(failing, [lost])
    assert given_up.value.what == "Still failing after 1 tries: lost postgresql://u:***@h/d"


@given(code=st.sampled_from(sorted(PASSING)), attempts=st.integers(1, 12))
def test_waits_grow_vary_and_are_bounded(code: str, attempts: int) -> None:
    slept: list[float] = []
    with pytest.raises(TransientError):
        without_waiting(Limits(attempts=attempts), slept)(failing, [of(code)] * attempts)
    first, longest = (0.05, 5.0) if code in {"40001", "40P01", "55P03"} else (1.0, 15.0)
    assert len(slept) == attempts - 1
    for number, seconds in enumerate(slept):
        most = min(longest, first * 2**number)
        assert most / 2 <= seconds <= most
    if len(slept) > 3:
        assert len(set(slept)) == len(slept)
