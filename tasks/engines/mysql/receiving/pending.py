"""What a comparison has to know of notes that are still to be carried: which rows may differ, and which are to go.

Everything is of the snapshot of the comparison. It lies in temporary tables: there may be many.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from tasks.engines.mysql.names import quote
from tasks.engines.mysql.receiving.follow import digests, make_empty, same, temporary
from tasks.engines.mysql.receiving.load import digest, send
from tasks.engines.mysql.session import MariaSession
from tasks.engines.postgresql.rejections import key_text
from tasks.engines.receiving.source import EmptiedReading, SteadyReading
from tasks.engines.records import Line
from tasks.model.base import Record
from tasks.model.transfer_steps import RowTransfer, key_columns

SENT: Final = "_changeover_sent"
"""Rows of the source, in the form of the table."""
_NOTED, _TEXTS, _LEFT_OUT = (f"_changeover_{name}" for name in ("noted", "texts", "left_out"))
_AT_ONCE: Final = 1000


class Later(Record):
    """What belongs to keys that are noted, and to no row that is copied: it goes when the notes are carried."""

    rows: int = 0
    rejections: int = 0
    """Keys of notes of rejections."""


class Pending:
    """The notes that a snapshot of the source has."""

    def __init__(self, conn: MariaSession, reading: SteadyReading, action: RowTransfer, table: str) -> None:
        self._conn, self._reading, self._action, self._table = conn, reading, action, table
        temporary(conn, action, _NOTED, ", ".join(quote(one.name) for one in key_columns(action)), table)
        for name in (_TEXTS, _LEFT_OUT):
            table_of_hashes(conn, name)
        self.emptied = isinstance(reading, EmptiedReading) and bool(reading.emptied(action, None))
        # As their text, whatever fits; then as the table has them, what fits.
        hashed(conn, _TEXTS, (key_text(key) for one in reading.noted(action, None) for key in one.keys))
        with conn.transaction():
            send(conn, _NOTED, key_columns(action), (one for one in reading.noted(action, None) if not one.touched))

    def noted(self, row: str) -> str:
        """Return the condition that a row, by its alias, has a note."""
        return f"exists (select 1 from {_NOTED} n where {same(self._action, 'n', row)})"

    def keys(self, texts: Sequence[str]) -> set[str]:
        """Return which of these keys have a note."""
        asked = {digest(text): text for text in texts}
        found: set[str] = set()
        for listed in digests(texts):
            rows = self._conn.execute(f"select distinct key_hash from {_TEXTS} where key_hash in ({listed})").fetchall()
            found.update(asked[bytes(row[0])] for row in rows)
        return found

    def later(self) -> Later:
        """Count what goes when the notes are carried. Replaces the rows that were sent."""
        conn, action = self._conn, self._action
        left_out: list[str] = []

        def kept() -> Iterator[Line]:
            for one in self._reading.written(action, None):
                if not one.touched:
                    yield one
                elif all(touched.policy != "fail" for touched in one.touched):
                    left_out.append(key_text(one.key))

        make_empty(conn, SENT)
        with conn.transaction():
            send(conn, SENT, action.columns, kept())
        hashed(conn, _LEFT_OUT, left_out)
        keys, first = ", ".join(map(quote, action.target_key)), quote(action.target_key[0])
        rows = conn.execute(
            f"select count(*) from (select distinct {keys} from {_NOTED}) n join {self._table} t"
            f" on {same(action, 't', 'n')} left join {SENT} s on {same(action, 's', 'n')} where s.{first} is null"
        ).fetchone()[0]
        rejections = conn.execute(
            f"select count(distinct r.key_hash) from {action.rejected} r join {_TEXTS} n on n.key_hash = r.key_hash"
            f" left join {_LEFT_OUT} o on o.key_hash = r.key_hash where o.key_hash is null"
        ).fetchone()[0]
        return Later(rows=int(rows), rejections=int(rejections))


def table_of_hashes(conn: MariaSession, name: str) -> None:
    """Make a table of the session for digests of keys."""
    conn.execute(f"create temporary table {name} (key_hash binary(32), index (key_hash)) engine=InnoDB")


def hashed(conn: MariaSession, into: str, texts: Iterable[str]) -> None:
    """Put digests of keys into such a table."""
    with conn.transaction():
        for listed in _batches(texts):
            conn.execute(f"insert into {into} (key_hash) values {', '.join(f'({one})' for one in listed)}")


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    held: list[str] = []
    for text in texts:
        held.append(f"x'{digest(text).hex()}'")
        if len(held) == _AT_ONCE:
            yield held
            held = []
    if held:
        yield held
