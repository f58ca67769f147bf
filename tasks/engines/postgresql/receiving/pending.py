"""What a comparison has to know of notes that are still to be carried: which rows may differ, and which are to go.

Everything is of the snapshot of the comparison. It lies in temporary tables: there may be many.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.receiving.load import send
from tasks.engines.postgresql.rejections import can_be_noted, key_text
from tasks.engines.receiving.source import SteadyReading
from tasks.engines.records import Line
from tasks.model.base import Record
from tasks.model.names import quote
from tasks.model.transfer_steps import RowTransfer, key_columns

SENT: Final = "pg_temp._changeover_sent"
"""Rows of the source, in the form of the table."""
_NOTED, _TEXTS, _LEFT_OUT = (f"pg_temp._changeover_{name}" for name in ("noted", "texts", "left_out"))


class Later(Record):
    """What belongs to keys that are noted, and to no row that is copied: it goes when the notes are carried."""

    rows: int = 0
    rejections: int = 0
    """Keys of notes of rejections."""


class Pending:
    """The notes that a snapshot of the source has."""

    def __init__(self, conn: Connection, reading: SteadyReading, action: RowTransfer, table: str) -> None:
        self._conn, self._reading, self._action, self._table = conn, reading, action, table
        key = ", ".join(quote(one.name) for one in key_columns(action))
        made = f"create temporary table {_bare(_NOTED)} as select {key} from {table} with no data"
        conn.execute(made.encode())
        for name in (_TEXTS, _LEFT_OUT):
            conn.execute(f"create temporary table {_bare(name)} (key text)")
        # As their text, whatever fits; then as the table has them, what fits.
        copy_texts(conn, _TEXTS, (key_text(key) for one in reading.noted(action, None) for key in one.keys))
        send(conn, _NOTED, key_columns(action), (one for one in reading.noted(action, None) if not one.touched))
        conn.execute(f"create index on {_NOTED} ({key})".encode())
        conn.execute(f"create index on {_TEXTS} (key)")
        conn.execute(f"analyze {_NOTED}; analyze {_TEXTS}")

    def noted(self, row: str) -> str:
        """Return the condition that a row, by its alias, has a note."""
        return f"exists (select from {_NOTED} n where {self._same('n', row)})"

    def keys(self, texts: Sequence[str]) -> set[str]:
        """Return which of these keys have a note."""
        asked = [text for text in texts if can_be_noted(text)]
        rows = self._conn.execute(f"select distinct key from {_TEXTS} where key = any(%s)", (asked,))
        return {row[0] for row in rows}

    def later(self) -> Later:
        """Count what goes when the notes are carried. Replaces the rows that were sent."""
        conn = self._conn
        left_out: list[str] = []

        def kept() -> Iterator[Line]:
            for one in self._reading.written(self._action, None):
                if not one.touched:
                    yield one
                elif all(touched.policy != "fail" for touched in one.touched):
                    left_out.append(key_text(one.key))

        conn.execute(f"truncate {SENT}")
        send(conn, SENT, self._action.columns, kept())
        copy_texts(conn, _LEFT_OUT, left_out)
        conn.execute(f"analyze {SENT}; analyze {_LEFT_OUT}; reset enable_hashjoin; reset enable_mergejoin")
        rows = conn.execute(
            f"select count(*) from {self._table} t where exists (select from {_NOTED} n where {self._same('n', 't')})"
            f" and not exists (select from {SENT} s where {self._same('s', 't')})".encode()
        ).fetchone()
        rejections = conn.execute(
            f"select count(distinct r.key) from {self._action.rejected} r"
            f" where exists (select from {_TEXTS} n where n.key = r.key)"
            f" and not exists (select from {_LEFT_OUT} o where o.key = r.key)"
        ).fetchone()
        assert rows is not None
        assert rejections is not None
        return Later(rows=rows[0], rejections=rejections[0])

    def _same(self, one: str, other: str) -> str:
        return " and ".join(f"{one}.{quote(name)} = {other}.{quote(name)}" for name in self._action.target_key)


def copy_texts(conn: Connection, into: str, texts: Iterable[str]) -> None:
    """Put keys, as text, into a table of one column; none that no such table can have."""
    with conn.cursor() as cursor, cursor.copy(f"copy {into} from stdin") as copy:
        for text in texts:
            if can_be_noted(text):
                copy.write_row((text,))


def _bare(name: str) -> str:
    return name.removeprefix("pg_temp.")
