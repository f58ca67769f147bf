"""Compare a table with its shadow while applications write to both, and copy once more what differs.

One statement is one snapshot, and a write commits to both tables at once: so what differs in it does differ. Where
nothing differs in a range, and both have as many rows of it, the shadow has none that the table has not: what is
equal once stays so, and no write changes by how many rows they differ then, so they may be counted a moment later. A
row that differs is first deleted from the shadow, then copied as all others were: read with a lock, and only if the
shadow has none. Whatever an application writes in between is there, or comes there by its trigger. As the copy does,
this waits for no lock while it holds one. How far it is stands in the ledger: a run that was paused, or killed, goes
on there.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import pymysql

from profiles.model import Limits
from tasks.engines.batches import next_size
from tasks.engines.differences import TIMES, refuse_unless_repaired, unequal
from tasks.engines.journal import Journal
from tasks.engines.mysql.compared import Compared
from tasks.engines.mysql.copy import OF_A_ROW, TOO_LARGE, give_up_at_one, give_up_waiting, rows_not_there
from tasks.engines.mysql.key_ranges import condition, count, end_of_batch, equal_to, last_key
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.transient import LOCKED, OUT_OF_TIME, code_of
from tasks.engines.records import FIRST_ROWS, Key
from tasks.model.errors import StepError
from tasks.model.steps import Copy, CopyAgain

MOST: Final = 100
"""As many keys are dealt with in one transaction."""
_DUPLICATE: Final = 1062


def copy_again(conn: MariaSession, action: CopyAgain, limits: Limits, journal: Journal) -> None:
    """Compare everything, repair or refuse as the profile says, and record.

    Raises StepError when rows differ and may not be carried over, or still differ after that, LockTimeoutError when
    one of them stays locked, TransientError when a single row takes longer than the budget. Locks: rows that differ,
    for one transaction. Each range is one snapshot.
    """
    work = _Work(conn, action, limits, journal)
    try:
        work.carry_on()
    except StepError:
        # Somebody will look, and change something: then all of it is compared anew.
        work.note(Compared(repaired=work.done.repaired))
        raise
    work.finish()


class _Work:
    """One table and its shadow, one session, and how far they are compared."""

    def __init__(self, conn: MariaSession, action: CopyAgain, limits: Limits, journal: Journal) -> None:
        self.conn, self.action, self.limits, self.journal = conn, action, limits, journal
        self.copy, self.backwards = action.copy_of, _backwards(action.copy_of)
        # A row has its parent where the table itself says so; to look would wait for whoever writes to that one.
        conn.execute("set session foreign_key_checks = 0")
        with conn.transaction():
            # Committed before anything happens, so that a rollback forgets how far it was.
            journal.begin(conn)
            self.done = Compared.model_validate(journal.so_far(conn))
        self._waits(own=False)

    def carry_on(self) -> None:
        """Go on where it stopped. Rows whose place another one holds come last: by then it may be free."""
        high, size = last_key(self.conn, self.copy), FIRST_ROWS
        while high is not None and self.done.position != high:
            low = self.done.position
            end = end_of_batch(self.conn, self.copy, low, high, size)
            rows = size if end is not None else count(self.conn, self.copy, low, high)
            took = self._compared(low, end or high, rows)
            size = next_size(size, took, self.limits)
        self._beyond(size)
        self._until_all_fit()

    def _beyond(self, size: int) -> None:
        """Compare the rows that have come since, and whatever else the shadow has, until less than a range is left.

        Both are walked: either may have many that the other has not. It ends: to compare is faster than to write.
        """
        for side in (self.copy, self.backwards):
            while (end := end_of_batch(self.conn, side, self.done.position, None, size)) is not None:
                low = self.done.position
                size = next_size(size, self._compared(low, end, count(self.conn, self.copy, low, end)), self.limits)
        self._compared(self.done.position, None, count(self.conn, self.copy, self.done.position, None))

    def finish(self) -> None:
        """Record, and wait for whoever records something at the same moment."""
        self.journal.counted(self.done.repaired)
        self._waits(own=True)
        with self.conn.transaction():
            self.journal.fence(self.conn)
            self.journal.finish(self.conn)
        self.journal.waiting(
            f"{self.action.table}: {self.done.compared:,} rows compared, {self.done.repaired:,} carried over,"
            " none differs"
        )

    def note(self, done: Compared) -> None:
        """Say in the ledger how far it is."""
        self.done = done
        self._waits(own=True)
        with self.conn.transaction():
            self.journal.keep(self.conn, done.model_dump(mode="json"))
        self._waits(own=False)

    def _waits(self, *, own: bool) -> None:
        """Wait for locks within the budget, of the ledger's own rows, or not at all."""
        budget = max(1, -(-self.limits.lock_budget // 1000))
        self.conn.execute(f"set session innodb_lock_wait_timeout = {budget if own else self.conn.dialect.no_wait}")

    def _compared(self, low: Key | None, high: Key | None, rows: int) -> float:
        """Make a range equal, but for rows whose place is held, and return the milliseconds that one look took."""
        self.journal.between()
        within, there = condition(self.copy, low, high), condition(self.backwards, low, high)
        started = time.monotonic()
        keys = self._found(self.action.differing, within)
        took = (time.monotonic() - started) * 1000
        held = self._until_equal(within, there, keys) if keys or self._are_not_as_many(within, there) else ()
        self.done = self.done.further(high or self.done.position, rows, held)
        if self.done.can_be_kept:
            self.note(self.done)
        return took

    def _are_not_as_many(self, within: str, there: str) -> bool:
        table, shadow = self.conn.execute(
            f"select (select count(*) from {self.copy.table} force index (primary) where {within}),"
            f" (select count(*) from {self.copy.target} force index (primary) where {there})"
        ).fetchone()
        return bool(table != shadow)

    def _found(self, query: tuple[str, str], within: str) -> list[Key]:
        rows = self.conn.execute(f"{query[0]}{within}{query[1]}").fetchall()
        return [tuple(map(str, row)) for row in rows]

    def _until_equal(self, within: str, there: str, keys: list[Key]) -> tuple[Key, ...]:
        """Carry over what differs in a range, and look again; return the keys whose place a row elsewhere holds.

        What differs may become one too many meanwhile: a foreign key deletes the row, and not what differs from it.
        """
        held: dict[Key, int] = {}
        found: Counter[Key] = Counter()
        more = self._found(self.action.superfluous, there)
        while keys or more:
            # What is one too many goes first: it may hold a value that another row is to have.
            if more:
                self._carry_over(more, superfluous=True)
            refused = self._carry_over(keys, superfluous=False) if keys else {}
            held |= {key: code for key, code in refused.items() if code == _DUPLICATE}
            keys = [key for key in self._found(self.action.differing, within) if key not in held]
            more = self._found(self.action.superfluous, there)
            found.update({*keys, *more})
            if left := [key for key, times in found.items() if times == TIMES]:
                raise _unequal(self.action, left, refused)
        return tuple(held)

    def _until_all_fit(self) -> None:
        """Carry over the rows whose place was held: by now it may be free, or becomes so by one of them."""
        tries = 0
        while self.done.held:
            refused = self._carry_over(self.done.held, superfluous=False)
            left = [
                key
                for start in range(0, len(self.done.held), MOST)
                for key in self._found(
                    self.action.differing, f"({equal_to(self.copy, self.done.held[start : start + MOST])})"
                )
            ]
            tries = tries + 1 if len(left) >= len(self.done.held) else 0
            if tries == TIMES:
                raise _unequal(self.action, left, refused)
            self.done = self.done.model_copy(update={"held": tuple(left)})

    def _carry_over(self, keys: Sequence[Key], *, superfluous: bool) -> dict[Key, int]:
        """Delete rows from the shadow, and copy them anew; return the errors of single rows."""
        refuse_unless_repaired(self.action.table, len(keys), self.limits)
        # All of them first: one may hold a value that another is to have, under a unique key.
        self._in_turn(keys, self._taken_away, counts=superfluous)
        return self._in_turn(keys, self._copied, counts=not superfluous)

    def _taken_away(self, keys: Sequence[Key]) -> str:
        return f"delete s from {self.copy.target} as s force index (primary) where {equal_to(self.backwards, keys)}"

    def _copied(self, keys: Sequence[Key]) -> str:
        return rows_not_there(self.copy, f"({equal_to(self.copy, keys)})")

    def _in_turn(
        self, keys: Sequence[Key], statement: Callable[[Sequence[Key]], str], *, counts: bool
    ) -> dict[Key, int]:
        """Carry out a statement for all keys, some at a time; return the errors that single rows caused."""
        done, size, most, too_slow = 0, MOST, MOST, 0
        refused: dict[Key, int] = {}
        blocked_since: float | None = None
        while done < len(keys):
            self.journal.between()
            some = keys[done : done + size]
            counted = self.done.repaired + len(some) * counts
            try:
                with self.conn.transaction():
                    # Whoever has taken this run for dead may have swapped by now.
                    self.journal.fence(self.conn)
                    self.conn.execute(self.conn.dialect.timed(statement(some), self.limits.lock_budget))
                    if counts:
                        self.journal.keep(self.conn, {"repaired": counted})
            except pymysql.err.MySQLError as error:
                code = code_of(error)
                if code in LOCKED:
                    if code == OUT_OF_TIME:
                        too_slow += len(some) == 1
                        give_up_at_one(self.copy, too_slow, self.limits)
                    else:
                        blocked_since = blocked_since or time.monotonic()
                        give_up_waiting(self.copy, blocked_since, self.limits)
                    time.sleep(random.uniform(0.02, 0.1))  # noqa: S311
                    size = max(len(some) // 4, 1)
                    continue
                if code == TOO_LARGE and len(some) > 1:
                    # And never as many again: fewer than these fit.
                    size = most = len(some) // 2
                    continue
                if code not in OF_A_ROW:
                    raise
                if len(some) > 1:
                    size = 1
                    continue
                # It may fit once another row is what it should be.
                refused[some[0]] = code or 0
            else:
                self.done = self.done.model_copy(update={"repaired": counted})
            blocked_since, too_slow = None, 0
            done, size = done + len(some), min(size * 2, most)
        return refused


def _backwards(copy: Copy) -> Copy:
    """The same copy, walked along the key of the shadow."""
    return copy.model_copy(update={"table": copy.target, "key": copy.target_key})


def _unequal(action: CopyAgain, keys: Sequence[Key], refused: dict[Key, int]) -> StepError:
    codes = ", ".join(map(str, sorted(set(refused.values()))))
    return unequal(action.table, len(keys), f": the server said {codes}" if codes else "")
