"""DDL within the lock budget, where every statement commits by itself.

A statement that waits for a metadata lock makes everyone behind it wait, and whoever has read the table and goes on to
write it fails: the server calls that a deadlock, and spares the DDL. So a statement does not queue: it is tried again
and again. Only if the profile allows it (`ddl_queues`), it waits towards the end of the patience, for the budget at
most each time, in whole seconds. What has happened is never guessed: the catalogue is asked.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence

import pymysql

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.mysql.beside import Quiet, beside, nobody_beside, perform
from tasks.engines.mysql.blockers import named, old_views, open_transactions, outlasted, prepared
from tasks.engines.mysql.drift import refuse_other_shape
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.transient import LOCKED, code_of
from tasks.model.errors import ChangeoverError, DataChanged, GateError, LockTimeoutError, StepError
from tasks.model.steps import SelfCommitting

Open = Callable[[], MariaSession]
_LAST_RESORT = 0.25
"""The part of the patience in which a statement may queue for its locks."""
_TELL_EVERY = 1.0
_LOOK_EVERY = 0.1
_UNENDED = "prepared transactions did not end: "
_BLOCKED = "End the session that blocks, or run again when it is done."
_NEVER_FREE = (
    "If one transaction always follows another, allow DDL to queue (ddl_queues = true in the limits of the profile):"
    " an application that has read the table and goes on to write it may then fail with error 1213, and must try again."
)
_NEVER_AT_ONCE = (
    "The table, those whose foreign keys refer to it, and what refers to those, have to be free in one moment. If"
    " transactions that write to several of them always overlap, pause these writers until the run has gone on: to let"
    " DDL queue does not help there."
)


def carry_out(open_session: Open, action: SelfCommitting, limits: Limits, journal: Journal) -> None:
    """Do what is left of a step, and record it. Raises LockTimeoutError, with who may block, when patience ends."""
    with open_session() as ledger, open_session() as worker, beside(open_session, action, limits) as quiet:
        with ledger.transaction():
            # Committed before anything happens, so that a rollback knows that something may have.
            journal.begin(ledger)
        with ledger.transaction():
            # Held while the statements run: no newer run takes over in the middle of one.
            journal.fence(ledger)
            there = holds(worker, action)
            if action.filled and not there:
                _outlast_old_views(worker, action, limits, journal)
            if action.outlasts_prepared and not there:
                _outlast_prepared(worker, action, limits, journal)
            if action.guard and (there or not action.held):
                # Applications may have written ever since it was done: a refusal undoes nothing then.
                journal.guard(worker)
            if not there and action.held:
                _held(open_session, ledger, worker, action, limits, journal)
            elif not there and not _gone(worker, action):
                if action.given is not None:
                    refuse_other_shape(worker, action.given, action.given.name)
                if not action.guard:
                    _refuse_emptied(worker, action)
                _run(worker, action, action.forward, limits, journal, quiet, wanted=True)
                if action.guard:
                    _guard_again(worker, action, limits, journal, quiet, swapped=True)
                else:
                    _refuse_emptied(worker, action)
            journal.finish(ledger)


def take_back(open_session: Open, action: SelfCommitting, limits: Limits, journal: Journal) -> None:
    """Undo a step as far as it was done, and record it. Raises DriftError for a table that has neither shape."""
    with (
        open_session() as ledger,
        open_session() as worker,
        beside(open_session, action, limits) as quiet,
        ledger.transaction(),
    ):
        journal.begin(ledger)
        if action.inverse and (not action.done or holds(worker, action)):
            if action.keeps and worker.execute(action.keeps).fetchone() is not None:
                raise StepError(
                    "what would be dropped is not what this step made",
                    where=action.table,
                    hint="Roll back the swap first; if it was, look who renamed these tables.",
                    changed=DataChanged.PARTIALLY,
                )
            if action.guard:
                journal.guard(worker)
            _run(worker, action, action.inverse, limits, journal, quiet, wanted=False)
            if action.guard:
                _guard_again(worker, action, limits, journal, quiet, swapped=False)
            else:
                _refuse_what_would_go(worker, action)
        elif action.inverse and action.given is not None and not action.set_aside:
            # Not the new shape: then it is the old one, or what somebody else made of either, which is not undone.
            refuse_other_shape(worker, action.given, action.given.name)
        elif action.inverse:
            # Killed after it was taken back, and before anybody looked.
            _refuse_what_would_go(worker, action)
        journal.finish(ledger)


def holds(conn: MariaSession, action: SelfCommitting) -> bool:
    """Ask the catalogue whether a step is done."""
    return bool(action.done) and conn.execute(action.done).fetchone() is not None


def _gone(conn: MariaSession, action: SelfCommitting) -> bool:
    """Ask the catalogue whether what a step is about is there no more."""
    return bool(action.gone) and conn.execute(action.gone).fetchone() is not None


def _outlast_old_views(conn: MariaSession, action: SelfCommitting, limits: Limits, journal: Journal) -> None:
    """Wait until nobody is left who would see a part of the new table: what was copied after his snapshot he does not.

    Who has touched the table holds it, and keeps it from being renamed; this is about all others.
    """
    began = time.monotonic()
    told = began - _TELL_EVERY
    left = old_views(conn, action.filled)
    while left:
        now = time.monotonic()
        if now - began >= limits.snapshot_age:
            raise LockTimeoutError(
                f"transactions that may be older than the copy of {action.table} did not end within"
                f" {limits.snapshot_age:g} s, and would see only a part of the new table:"
                f" {named(tuple(left.values())[:5])}",
                where=conn.place,
                hint="End them, or run again when they are done. At READ COMMITTED they would not be in the way.",
                changed=DataChanged.PARTIALLY,
            )
        if now - told >= _TELL_EVERY:
            told = now
            journal.waiting(f"older snapshots are open: {named(tuple(left.values())[:5])}")
        journal.between()
        time.sleep(_LOOK_EVERY)
        present = old_views(conn, action.filled)
        left = {who: present[who] for who in left if who in present}


def _outlast_prepared(conn: MariaSession, action: SelfCommitting, limits: Limits, journal: Journal) -> None:
    """Wait until nobody is left who may have written before this, and will commit after it without anybody's lock."""
    began = time.monotonic()
    told = began - _TELL_EVERY
    left = prepared(conn)
    while left:
        now = time.monotonic()
        reason = f"{_UNENDED}{', '.join(sorted(left)[:5])}"
        if now - began >= limits.lock_patience and not action.endless:
            raise LockTimeoutError(
                f"{reason}, within {limits.lock_patience:g} s, and may have written to {action.table}",
                where=conn.place,
                hint="Commit them, or roll them back, by these names (XA RECOVER shows them), then run again.",
                changed=DataChanged.PARTIALLY,
            )
        if now - told >= _TELL_EVERY:
            told = now
            journal.waiting(reason)
        journal.between()
        time.sleep(_LOOK_EVERY)
        left &= prepared(conn)


def _guard_again(
    conn: MariaSession, action: SelfCommitting, limits: Limits, journal: Journal, quiet: Quiet, *, swapped: bool
) -> None:
    """No lock can be held until the statement that swaps: whoever wrote in between is looked at after it."""
    try:
        journal.guard(conn)
        if not swapped:
            _refuse_what_would_go(conn, action)
        if swapped and action.given is not None and action.set_aside:
            refuse_other_shape(conn, action.given, action.set_aside)
        if swapped and action.result is not None:
            refuse_other_shape(conn, action.result, action.result.name)
        if swapped:
            _refuse_emptied(conn, action)
    except ChangeoverError:
        # What is before the last one readies a way back, which this is not: nothing has been taken off.
        statements = action.inverse[-1:] if swapped else action.forward
        _run(conn, action, statements, limits, journal, quiet, wanted=not swapped)
        raise


def _refuse_emptied(conn: MariaSession, action: SelfCommitting) -> None:
    if action.emptied and conn.execute(action.emptied).fetchone() is not None:
        since, hint = "gate", "Roll back, then run again."
        if not action.guard:
            since, hint = "swap", "Insert them again from the old table, or delete them there, too; then run again."
        raise GateError(
            f"rows are gone since the {since}, and no trigger saw them go: TRUNCATE fires none",
            where=action.table,
            hint=hint,
            changed=DataChanged.PARTIALLY,
        )


def _refuse_what_would_go(conn: MariaSession, action: SelfCommitting) -> None:
    """Refuse what somebody has done while the way back waited: the gate before it was too early."""
    found = conn.execute(action.found_after_inverse).fetchone() if action.found_after_inverse else None
    if found is not None:
        raise GateError(
            str(found[0]),
            where=action.table,
            hint=str(found[1]),
            changed=DataChanged.PARTIALLY,
        )


def _held(
    open_session: Open,
    ledger: MariaSession,
    conn: MariaSession,
    action: SelfCommitting,
    limits: Limits,
    journal: Journal,
) -> None:
    """Check and do everything while nobody can write; what goes wrong is undone before anybody can.

    Until the first statement the lock is had for the budget at most: then its session is cut. It goes with the session:
    killed in between, a part is done without a mark, and the guard of the next run says which.
    """
    with open_session() as other:
        _within_budget(conn, action, action.held, limits, journal, nobody_beside, last=False, wanted=True)
        until = time.monotonic() + limits.lock_budget / 1000
        cut = threading.Timer(limits.lock_budget / 1000, conn.cut)
        cut.start()
        try:
            # A process that stands still does not stop everybody else.
            conn.execute("set session wait_timeout = 1")
            left = outlasted(conn, until - limits.lock_budget / 2000)
            if not left:
                # Whoever holds tables may read no others: the ledger's session asks.
                journal.guard(ledger)
            cut.cancel()
            cut.join()
            _refuse_late(conn, action, limits, left, until)
            try:
                for statement in action.forward:
                    conn.execute(conn.dialect.limited(statement, limits.lock_budget, queues=True))
                other.execute(action.mark)
            except BaseException:
                if not conn.closed:
                    for statement in action.inverse:
                        conn.execute(conn.dialect.limited(statement, limits.lock_budget, queues=True))
                raise
        finally:
            cut.cancel()
            # Its end lets go of the tables.
            conn.close()


def _refuse_late(conn: MariaSession, action: SelfCommitting, limits: Limits, left: set[str], until: float) -> None:
    if left:
        raise LockTimeoutError(
            f"{_UNENDED}{', '.join(sorted(left)[:5])}, and may have written to {action.table}",
            where=conn.place,
            hint="Commit them, or roll them back, by these names (XA RECOVER shows them), then run again.",
            changed=DataChanged.NO,
        )
    if time.monotonic() >= until:
        raise LockTimeoutError(
            f"what has to be asked while nobody can write to {action.table} took more than {limits.lock_budget} ms",
            where=conn.place,
            hint="Run again; or give this run a larger lock_budget, for which applications wait.",
            changed=DataChanged.NO,
        )


def _run(
    conn: MariaSession,
    action: SelfCommitting,
    statements: Sequence[str],
    limits: Limits,
    journal: Journal,
    quiet: Quiet,
    *,
    wanted: bool,
) -> None:
    for statement in statements:
        last = statement is statements[-1]
        _within_budget(conn, action, statement, limits, journal, quiet, last=last, wanted=wanted)
    if action.done and holds(conn, action) is not wanted:
        raise StepError(
            "the server reported success, and the catalogue does not show it",
            where=action.table,
            hint="Look who else changes this table, then run again.",
            changed=DataChanged.PARTIALLY,
        )


def _hint(action: SelfCommitting, limits: Limits) -> str:
    if action.beside:
        return f"{_BLOCKED} {_NEVER_AT_ONCE}"
    return _BLOCKED if limits.ddl_queues else f"{_BLOCKED} {_NEVER_FREE}"


def _within_budget(
    conn: MariaSession,
    action: SelfCommitting,
    statement: str,
    limits: Limits,
    journal: Journal,
    quiet: Quiet,
    *,
    last: bool,
    wanted: bool,
) -> None:
    began = time.monotonic()
    told, queued = began, 0
    # While they hold rows, the server would wait for them with everybody behind.
    waits = action.outlasts_prepared and not statement.startswith("set session")
    left = prepared(conn) if waits else set[str]()
    while True:
        left = left and left & prepared(conn)
        queues = limits.ddl_queues and time.monotonic() - began >= limits.lock_patience * (1 - _LAST_RESORT)
        queued += queues
        try:
            if not left:
                with quiet(statement, queues):
                    perform(conn, action, statement, limits, queues=queues)
                return
        except pymysql.err.MySQLError as error:
            if conn.closed:
                raise
            # It may have been done when its time was over, or by a session that was lost before it could say so.
            if last and action.done and holds(conn, action) is wanted:
                return
            if code_of(error) not in LOCKED:
                raise
            left = prepared(conn) if waits else left
        now = time.monotonic()
        over = now - began >= limits.lock_patience and not (wanted and action.endless)
        if now - told >= _TELL_EVERY or over:
            told = now
            reason = f"{_UNENDED}{', '.join(sorted(left)[:5])}" if left else f"blocked by {open_transactions(conn)}"
            if over:
                raise LockTimeoutError(
                    f"no lock on {action.table} within {limits.lock_patience:g} s: {reason}",
                    where=conn.place,
                    hint=_hint(action, limits),
                    changed=DataChanged.PARTIALLY,
                )
            journal.waiting(reason)
        journal.between()
        pause = min(0.25 * 1.5 ** min(queued, 6), 2.0) if queues else 0.02
        time.sleep(random.uniform(0.5, 1.5) * pause)  # noqa: S311
