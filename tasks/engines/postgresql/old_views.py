"""Before a table takes the place of another: wait for transactions that would see only a part of it.

At REPEATABLE READ and SERIALIZABLE a transaction sees what was committed when it began. Dual write commits with the
statement that it follows, so whatever began after the last copy, and after the last note was carried over, sees the
same in both tables. Of a session the server tells the oldest transaction that its snapshot may not see, and it tells
everybody; not at which isolation it is. At READ COMMITTED there is a snapshot only while a statement runs, so a
session that has none is in nobody's way. A prepared transaction reads nothing any more.
"""

import time
from dataclasses import dataclass, field

from profiles.model import Limits
from tasks.engines.journal import Journal
from tasks.engines.postgresql.blockers import Blocker, Connection, named
from tasks.engines.postgresql.drain import FEW, drain
from tasks.model.errors import DataChanged, LockTimeoutError

_TELL_EVERY = 1.0
_LOOK_EVERY = 0.1
_TURNS = 3
# Nobody can read a table after a VACUUM, or after an index was built concurrently, in the same transaction.
_OLD = """
select a.pid, a.backend_xmin::text, a.xact_start,
       coalesce(a.usename || ' ' || nullif(a.application_name, ''), a.usename), coalesce(a.state, 'unknown'),
       coalesce(extract(epoch from clock_timestamp() - a.xact_start)::float8, 0)
from pg_catalog.pg_stat_activity a
where a.datname = current_database() and a.usesysid is not null and a.pid <> pg_backend_pid()
  and a.backend_xmin is not null
  and (%(written)s::text is null or age(a.backend_xmin) >= age(%(written)s::text::xid))
  and a.pid not in (select pid from pg_catalog.pg_stat_progress_vacuum)
  and a.pid not in (select pid from pg_catalog.pg_stat_progress_create_index where command like '%% CONCURRENTLY')
order by a.xact_start
"""


@dataclass(kw_only=True)
class Outlast:
    """What is called before each attempt to swap, without a lock."""

    conn: Connection
    limits: Limits
    journal: Journal
    drain: str
    """The statement that carries over what is noted."""
    written: str
    """A query for the transactions that wrote to the table, and not for an application; empty: nobody is waited for."""
    back: bool = False
    """It is the way back of a rollback."""
    _outlasted: str | None = field(default=None, init=False)
    """The last of them, when all who are older have ended: who comes later is younger, whatever keeps him from
    telling so."""

    def __call__(self) -> str:
        """Carry over, and wait for who may not see it, `snapshot_age` at most; return why it is too early for locks.

        Raises LockTimeoutError, with their names, when those who are older than the copy do not end. What is noted
        meanwhile is carried over, too, so that little is left to do under the locks; but not for ever: where writers
        note all the time there is always somebody who is older than the last note.
        """
        began = time.monotonic()
        for turn in range(_TURNS):
            left = self._carry()
            looked = time.monotonic()
            if not self.written:
                break
            self._wait(began, demanded=turn == 0)
            if (time.monotonic() - looked) * 1000 < self.limits.lock_budget:
                break
        else:
            left = self._carry()
        return f"about {left:,} writes are noted, and applications go on noting" if left > FEW else ""

    def _carry(self) -> int:
        return drain(
            self.conn,
            self.drain,
            self.limits,
            between=self.journal.between,
            waiting=self.journal.waiting,
            back=self.back,
        )

    def _wait(self, began: float, *, demanded: bool) -> None:
        row = self.conn.execute(f"select xmin::text from ({self.written}) as w order by age(xmin) limit 1".encode())
        found = row.fetchone()
        written = str(found[0]) if found else None
        if written is not None and written == self._outlasted:
            return
        told = began
        left = self._older(written)
        while left:
            now = time.monotonic()
            who = named(tuple(left.values()))
            if now - began >= self.limits.snapshot_age:
                if not demanded:
                    return
                raise LockTimeoutError(
                    f"transactions that are older than the last copy did not end within {self.limits.snapshot_age:g} s,"
                    f" and would see only a part of the new table: {who}",
                    where=self.conn.info.dbname,
                    hint=f"End them, or {'roll back' if self.back else 'run'} again when they are done."
                    " At READ COMMITTED they are not in the way between their statements.",
                    changed=DataChanged.PARTIALLY,
                )
            if now - told >= _TELL_EVERY:
                told = now
                self.journal.waiting(f"older snapshots are open: {who}")
            self.journal.between()
            time.sleep(_LOOK_EVERY)
            present = self._older(written)
            left = {one: present[one] for one in left if one in present}
        self._outlasted = written

    def _older(self, written: str | None) -> dict[tuple[object, ...], Blocker]:
        """Return who may not see that transaction: surely who was there before it, and was not seen to end."""
        rows = self.conn.execute(_OLD, {"written": written}).fetchall()
        return {
            tuple(row[:3]): Blocker(pid=row[0], who=row[3], state=row[4], seconds=row[5], holds="a snapshot")
            for row in rows
        }
