"""How a command ends: what went wrong, what became of the data, and the exit code.

0 done, 1 failed, 2 refused, 3 paused. The last line tells what became of the data, and it is read from the
ledger, because an exception only knows what its thrower knew.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import typer

from flows.terminal import err, print_json
from tasks.engines.mysql.driver import driver_error
from tasks.engines.postgresql.address import redact
from tasks.engines.protocol import Engine
from tasks.engines.translate import driver_errors
from tasks.ledger.state import MigrationSummary, listing
from tasks.ledger.steps import step_records
from tasks.model.errors import ChangeoverError, DataChanged
from tasks.model.status import MigrationState

_S = MigrationState
_FRESH = (_S.PLANNED, _S.ROLLED_BACK)
_DONE = (_S.COMPLETE, _S.CONTRACTED)


@dataclass(frozen=True, kw_only=True)
class _Moment:
    """What the ledger says at one moment; `summary` is None when it does not know the migration."""

    summary: MigrationSummary | None
    begun: frozenset[tuple[str, object]] = frozenset()
    """Steps, with the moment at which each was last begun."""


class Witness:
    """Remembers what the ledger said before a command changes anything, to tell afterwards what it did."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._migration = ""
        self._before = _Moment(summary=None)

    def watch(self, engine: Engine, migration: str) -> None:
        """Look at the ledger now. What fails before this call has changed nothing."""
        self._before = _look(engine, migration)
        self._engine, self._migration = engine, migration

    @property
    def state(self) -> MigrationState | None:
        """The present state of the migration; None when there is none, or nobody can tell."""
        if self._engine is None:
            return None
        try:
            now = _look(self._engine, self._migration).summary
        except (ChangeoverError, *driver_errors()):
            return None
        return now.state if now else None

    def verdict(self) -> str:
        """Say what became of the data, in the words that end every failed command."""
        if self._engine is None:
            return DataChanged.NO
        try:
            now = _look(self._engine, self._migration)
        except (ChangeoverError, *driver_errors()):
            return DataChanged.UNKNOWN
        return _verdict(self._migration, self._before, now)


def _look(engine: Engine, migration: str) -> _Moment:
    with engine.connect("look") as conn:
        summary = next((m for m in listing(conn) if m.id == migration), None)
        if summary is None:
            return _Moment(summary=None)
        records = step_records(conn, migration).values()
        return _Moment(summary=summary, begun=frozenset((r.key, r.started_at) for r in records if r.started_at))


def _verdict(name: str, before: _Moment, now: _Moment) -> str:
    if now.summary is None:
        return DataChanged.NO
    touched = bool(now.begun - before.begun)
    was = before.summary.state if before.summary is not None else None
    state = now.summary.state
    taken_over = before.summary is None or before.summary.epoch != now.summary.epoch
    if state in _FRESH:
        return DataChanged.ROLLED_BACK if touched or (was is not None and was not in _FRESH) else DataChanged.NO
    if not taken_over or (state is was and state in _DONE):
        return DataChanged.NO
    if state in _DONE:
        return f"applied: the migration is {state}"
    again = {_S.ROLLING_BACK: f"changeover rollback {name}", _S.CONTRACTING: f"changeover contract {name}"}.get(
        state, f"changeover resume {name} (or rollback {name})"
    )
    return f"{DataChanged.PARTIALLY}, run: {again}"


def expected(error: BaseException) -> ChangeoverError | None:
    """Return the error of ours that an exception is, or was caused by."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if isinstance(current, ChangeoverError):
            return current
        seen.add(id(current))
        current = current.__cause__ or current.__context__
    return None


@contextmanager
def reported(*, as_json: bool = False, verbose: bool = False) -> Iterator[Witness]:
    """Turn whatever goes wrong into a message without secrets, a verdict and an exit code."""
    witness = Witness()
    try:
        yield witness
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        code = 3 if witness.state is _S.PAUSED else 1
        _tell(_message("INTERRUPTED", "interrupted"), witness.verdict(), code, as_json=as_json)
        raise typer.Exit(code) from None
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the end of the line: nobody else could tell the user
        if verbose:
            err().print(redact("".join(traceback.format_exception(error))), style="dim")
        ours = expected(error)
        code = ours.exit_code if ours is not None else 1
        _tell(_of(ours) if ours is not None else _surprise(error), witness.verdict(), code, as_json=as_json)
        raise typer.Exit(code) from None


def _message(code: str, what: str, where: str = "", hint: str = "") -> dict[str, object]:
    return {"code": code, "what": redact(what), "where": redact(where), "hint": redact(hint)}


def _of(error: ChangeoverError) -> dict[str, object]:
    found = _message(error.code, error.what, error.where, error.hint)
    return found | {"retryable": error.retryable, "actor": error.actor.value}


def _surprise(error: BaseException) -> dict[str, object]:
    """Name an error that nobody foresaw. PostgreSQL's own detail is left out: it quotes rows."""
    kind = f"{type(error).__module__.partition('.')[0]}.{type(error).__name__}"
    if isinstance(error, driver_error()):
        # Its texts quote values.
        what = f"{kind}: the server said {error.args[0] if error.args else 'nothing'}"
    elif isinstance(error, psycopg.Error):
        said = error.diag.message_primary or str(error).splitlines()[:1]
        what = f"{kind}: {said if isinstance(said, str) else ''.join(said)}"
    else:
        what = f"{kind}: {error}" if str(error) else kind
    return _message("UNEXPECTED", what, hint="Run it again with --verbose to see where it came from.")


def _tell(message: dict[str, object], verdict: str, code: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"error": message, "outcome": str(verdict), "exit_code": code})
        return
    console = err()
    style = "yellow" if code == 3 else "red"
    console.print(f"[{message['code']}] {message['what']}", style=f"bold {style}", soft_wrap=True)
    for key in ("where", "hint"):
        if message[key]:
            console.print(f"  {key + ':':<6} {message[key]}", soft_wrap=True)
    console.print(str(verdict), style="bold", soft_wrap=True)
