"""Indexes built and dropped without blocking writers, and without leaving an invalid one behind."""

import contextvars
import threading
import time
from collections.abc import Callable

import psycopg

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.postgresql.blockers import Connection, named, old_snapshots
from tasks.engines.postgresql.drain import drain
from tasks.model.errors import LockTimeoutError, StepError
from tasks.model.names import OWN_PREFIX, quote
from tasks.model.steps import ConcurrentIndex

Connect = Callable[[], Connection]
_DUPLICATES = "Remove the duplicates, then run again."
_EXCHANGED = " If there are none, values were exchanged at REPEATABLE READ meanwhile: run again when that is rarer."
_BEGUN = "build_begun"
"""What is kept of a step from its build on, until nothing is left of that: an index of its name is ours."""


def build(connect: Connect, index: ConcurrentIndex, limits: Limits, journal: Journal) -> None:
    """Build the index, or find that it is there and valid; then record.

    An invalid index of this name is what an interrupted build of ours left: it is dropped first. That the build has
    begun is recorded before, so that a rollback of a run that was killed meanwhile knows of it, and taken back when it
    fails; what bears the name already then is somebody else's, and refused. What was lost while it built may go on, and
    come to its end behind us: then that is the index. Locks: SHARE UPDATE EXCLUSIVE, twice; waits
    for every older snapshot of the database, and says so. Raises StepError.
    """
    with connect() as conn:
        with conn.transaction():
            journal.begin(conn)
            begun = bool(journal.so_far(conn).get(_BEGUN))
            if not begun:
                _refuse_others(conn, index)
                journal.keep(conn, {_BEGUN: False})
        state = _state(conn, index) if begun or _kept_for_us(index) else None
        if begun and state is not None and not _as_planned(conn, index):
            journal.keep(conn, {_BEGUN: False})
            raise _taken(index)
        if state is False:
            _let_go(conn, index, journal)
        if state is not True:
            _carry_and_create(conn, connect, index, limits, journal, lost=begun and state is None)
        with conn.transaction():
            journal.begin(conn)
            journal.finish(conn)


def drop(connect: Connect, index: ConcurrentIndex, journal: Journal) -> None:
    """Drop the index if it is there, belongs to no constraint and is not somebody else's; then record."""
    with connect() as conn:
        # Of a step that is done nothing is kept.
        kept = journal.so_far(conn).get(_BEGUN)
        ours = _as_planned(conn, index) if kept else kept is None or _kept_for_us(index)
        if ours and _state(conn, index) is not None and not _owned(conn, index):
            _drop(conn, index)
        with conn.transaction():
            journal.begin(conn)
            journal.finish(conn)


def _carry_and_create(
    conn: Connection, connect: Connect, index: ConcurrentIndex, limits: Limits, journal: Journal, *, lost: bool
) -> None:
    """Carry over what is noted, and build; once more, if what was noted meanwhile made a duplicate.

    `lost`: an earlier build, of which there is nothing yet, may still be under way.
    """
    for last in (not index.drain, True):
        drain(conn, index.drain, limits, between=journal.between, waiting=journal.waiting)
        with conn.transaction():
            journal.begin(conn)
            if not lost:
                _refuse_others(conn, index)
            journal.keep(conn, {_BEGUN: True})
        try:
            _create(conn, connect, index, limits, journal, lost=lost)
        except psycopg.errors.UniqueViolation:
            if last:
                # What is noted of rows may be of values that were exchanged; an archive of duplicates has none.
                noted = "{after}" in index.drain
                raise StepError(
                    f"{index.name} cannot be unique: the table has duplicates",
                    where=index.table,
                    hint=_DUPLICATES + _EXCHANGED * noted,
                ) from None
            lost = False
        else:
            return


def _create(
    conn: Connection, connect: Connect, index: ConcurrentIndex, limits: Limits, journal: Journal, *, lost: bool
) -> None:
    conn.execute("set statement_timeout = 0")
    conn.execute(f"set lock_timeout = '{limits.lock_patience * 1000:.0f}ms'")
    watch = _Watch(connect, conn.info.backend_pid, limits.snapshot_age, journal)
    with watch:
        try:
            conn.execute(index.create)
        except psycopg.Error as error:
            if conn.closed:
                raise
            quicker = _somebody_was_quicker(error)
            if quicker and not (lost and _as_planned(conn, index)):
                # Nothing was made, and nothing is dropped: who builds it may not have come to the end.
                journal.keep(conn, {_BEGUN: False})
                raise _taken(index) from None
            if quicker and _state(conn, index):
                return
            _let_go(conn, index, journal)
            if isinstance(error, psycopg.errors.QueryCanceled) and watch.gave_up:
                raise LockTimeoutError(
                    f"the build of {index.name} waited {limits.snapshot_age:g} s for {watch.gave_up}",
                    where=index.table,
                    hint="End that transaction, or run again when it is done.",
                ) from None
            raise
    if _state(conn, index) is not True:
        raise StepError(f"{index.name} was built but is not valid", where=index.table, hint="Run again.")


def _let_go(conn: Connection, index: ConcurrentIndex, journal: Journal) -> None:
    """Drop what is not whole: it would slow down every write. What is whole, somebody else has made meanwhile."""
    if _state(conn, index) is False:
        _drop(conn, index)
    journal.keep(conn, {_BEGUN: False})


def _somebody_was_quicker(error: psycopg.Error) -> bool:
    """Whether the name was taken after it was looked for: by who has committed, or commits while the server looks."""
    in_catalogue = isinstance(error, psycopg.errors.UniqueViolation) and error.diag.schema_name == "pg_catalog"
    return in_catalogue or isinstance(error, psycopg.errors.DuplicateTable)


def _kept_for_us(index: ConcurrentIndex) -> bool:
    return index.name.startswith(OWN_PREFIX) or index.schema_name.startswith(OWN_PREFIX)


def _refuse_others(conn: Connection, index: ConcurrentIndex) -> None:
    """Refuse a name that was taken since the plan was made; names that are kept for us are nobody else's."""
    if _kept_for_us(index):
        return
    row = conn.execute("select to_regclass(%s) is not null", (_name(index),)).fetchone()
    if row and row[0]:
        raise _taken(index)


def _taken(index: ConcurrentIndex) -> StepError:
    return StepError(
        f"somebody has made {_name(index)} since the plan was made",
        where=index.table,
        hint="Drop or rename it, an index concurrently, then run again; or roll back, which leaves it alone.",
    )


def _state(conn: Connection, index: ConcurrentIndex) -> bool | None:
    """Return whether the index is valid; None when there is no such index."""
    row = conn.execute(
        "select i.indisvalid and i.indisready from pg_catalog.pg_index i where i.indexrelid = to_regclass(%s)",
        (_name(index),),
    ).fetchone()
    return bool(row[0]) if row else None


def _as_planned(conn: Connection, index: ConcurrentIndex) -> bool:
    """Tell whether what has the name is an index of that table, and as unique as ours; or a name kept for us."""
    row = conn.execute(
        "select indrelid = to_regclass(%s) and indisunique = %s from pg_catalog.pg_index"
        " where indexrelid = to_regclass(%s)",
        (index.table, index.create.lower().startswith("create unique"), _name(index)),
    ).fetchone()
    return _kept_for_us(index) or bool(row and row[0])


def _owned(conn: Connection, index: ConcurrentIndex) -> bool:
    row = conn.execute(
        "select exists (select from pg_catalog.pg_constraint where conindid = to_regclass(%s)"
        " and contype in ('p', 'u', 'x'))",
        (_name(index),),
    ).fetchone()
    return bool(row and row[0])


def _drop(conn: Connection, index: ConcurrentIndex) -> None:
    conn.execute("set statement_timeout = 0")
    conn.execute(f"drop index concurrently if exists {_name(index)}")


def _name(index: ConcurrentIndex) -> str:
    return f"{quote(index.schema_name)}.{quote(index.name)}"


class _Watch:
    """Look, from another session, what a build waits for; say so, and end the wait when it is too long."""

    def __init__(self, connect: Connect, pid: int, patience: float, journal: Journal) -> None:
        self.connect = connect
        self.pid = pid
        self.patience = patience
        self.journal = journal
        self.gave_up = ""
        self._over = threading.Event()
        # In the context of the run: a thread has none of its own, and what it says would go to nobody's log.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="index watch", daemon=True)

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        waiting_since: float | None = None
        if self._over.wait(1.0):
            return
        with self.connect() as conn:
            while not self._over.wait(1.0):
                row = conn.execute(
                    "select phase from pg_catalog.pg_stat_progress_create_index where pid = %s", (self.pid,)
                ).fetchone()
                if row is None or not str(row[0]).startswith("waiting"):
                    waiting_since = None
                    continue
                waiting_since = waiting_since or time.monotonic()
                who = named([b for b in old_snapshots(conn) if b.pid != self.pid])
                self.journal.waiting(f"the index build is {row[0]}: {who}")
                if time.monotonic() - waiting_since > self.patience:
                    self.gave_up = who
                    conn.execute("select pg_cancel_backend(%s)", (self.pid,))
                    return
