"""Read rows as lines of COPY for a table of another database: all but made by the server, and what does not fit."""

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tasks.engines.notes import among
from tasks.engines.postgresql.blockers import Connection, refuse_waiting
from tasks.engines.postgresql.key_ranges import condition, end_of_batch, tuple_of
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.sessions import require_unbroken
from tasks.engines.postgresql.standstill import Standstill
from tasks.engines.postgresql.transfer_rows import ALL
from tasks.engines.receiving.source import Notes
from tasks.engines.records import Key, Line, Touched
from tasks.model.names import quote
from tasks.model.transfer_steps import NOTE, RowTransfer, TransferColumn, key_columns

_KEY: Final = "_changeover_k"
_TOGETHER: Final = 1 << 15
"""Bytes of rows that are given as one line, where they fit."""


def value_name(number: int) -> str:
    """Name the value of a column, in the order of the new table, as its SQL knows it."""
    return f"_changeover_v{number}"


def inner(action: RowTransfer, which: str) -> str:
    """Return the query of keys and values of those rows that are to be copied."""
    kept = f" and ({action.where}\n)" if action.where else ""
    return _values(action, action.columns, f"from {action.table} as {quote(action.alias)} where ({which}){kept}")


def _values(action: RowTransfer, columns: Sequence[TransferColumn], tail: str) -> str:
    """Return a query of keys and values. A value is called by the place of its column among all columns."""
    # Told apart by their bytes, whatever a collation calls equal.
    keys = [f'{quote(name)}::pg_catalog.text collate pg_catalog."C" as {_KEY}{n}' for n, name in enumerate(action.key)]
    values = [
        f"({one.expression}\n) as {value_name(number)}" for number, one in enumerate(action.columns) if one in columns
    ]
    return f"select {', '.join([*keys, *values])} {tail}"


def noted_keys(action: RowTransfer, columns: Sequence[TransferColumn], which: str) -> str:
    """Return the query of what some notes tell of, as if they were rows: they have the columns of the key."""
    return _values(action, columns, f"from {action.notes} as {quote(action.alias)} where not {ALL} and {which}")


def written_rows(action: RowTransfer, which: str) -> str:
    """Return the query of keys and values of the rows that some notes tell of, as far as they are to be copied."""
    keys = ", ".join(map(quote, action.key))
    return inner(action, f"{tuple_of(action)} in (select {keys} from {action.notes} where not {ALL} and {which})")


def selection(action: RowTransfer, columns: Sequence[TransferColumn], rows: str, *, keyed: bool = False) -> str:
    """Return the query of lines: first what does not fit, with the key, or nothing; then what is sent.

    `keyed`: each has its key.
    """
    wrong = [
        f"case when {misfit.when} then {literal(f'{number}.{reason} ')} else '' end"
        for number, one in enumerate(action.columns)
        if one.unfit != "null" and one in columns
        for reason, misfit in enumerate(one.misfits)
    ]
    keys = ", ".join(f"{_KEY}{number}" for number in range(len(action.key)))
    if not wrong and not keyed:
        return f"select '', {', '.join(map(_sent, columns))} from ({rows}) as r"
    misfits = " || ".join(wrong) or "''"
    told = f"pg_catalog.json_build_array({misfits}, {keys})::text"
    if not keyed:
        told = f"case when ({misfits}) = '' then '' else {told} end"
    return f"select {', '.join([told, *map(_sent, columns)])} from ({rows}) as r"


def _sent(one: TransferColumn) -> str:
    if one.unfit != "null" or not one.misfits:
        return one.text
    wrong = " or ".join(f"({misfit.when})" for misfit in one.misfits)
    return f"case when {wrong} then null else {one.text} end"


def count_of_misfits(doubtful: Sequence[TransferColumn], rows: str) -> str:
    """Return the query for how many rows there are, and for how many values each reason is the first."""
    counted = [
        f"count(*) filter (where (case {''.join(f'when {m.when} then {int(m is misfit)} ' for m in one.misfits)}"
        "else 0 end) = 1)"
        for one in doubtful
        for misfit in one.misfits
    ]
    return f"select {', '.join(['count(*)', *counted])} from ({rows}) as r"


def count_of_long(columns: Sequence[TransferColumn], rows: str, most: int) -> str:
    """Return the query for how many rows there are whose values, as literals of MariaDB, have more bytes than that.

    A value that is stored apart is not read for its length, and escapes are counted only where they may matter.
    """
    least, more = ["0"], ["0"]
    for number, one in enumerate(columns):
        if one.form == "bytes":
            # As digits.
            least.append(f"coalesce(2 * pg_catalog.octet_length({value_name(number)})::int8, 0)")
        elif one.form == "text":
            size = f"pg_catalog.octet_length({one.text})"
            plain = f"pg_catalog.octet_length(pg_catalog.translate({one.text}, E'\\\\\\'\\b\\n\\r\\t', ''))"
            least.append(f"coalesce({size}::int8, 0)")
            more.append(f"coalesce({size} - {plain}, 0)")
    size = " + ".join(least)
    exact = f"{size} + {' + '.join(more)}"
    return f"select count(*) from ({rows}) as r where case when 2 * ({size}) > {most} then {exact} > {most} end"


class Reading:
    """A session that reads rows."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self._streams: list[Generator[Line]] = []
        self._steady = False

    def end(self) -> None:
        """End what nobody reads any more: whoever was interrupted leaves it open, and a session waits for that."""
        for stream in self._streams:
            stream.close()
        self._streams.clear()

    def end_of_batch(self, action: RowTransfer, low: Key | None, high: Key | None, rows: int) -> Key | None:
        """Return the key of the row `rows` further on; None when fewer are left before `high`."""
        if self._steady:
            refuse_waiting(self.conn)
        return end_of_batch(self.conn, action, low, high, rows)

    def longer(self, action: RowTransfer, low: Key | None, high: Key | None, most: int) -> int:
        """Return how many rows of a range have more bytes than that as literals of MariaDB."""
        query = count_of_long(action.columns, inner(action, condition(action, low, high)), most)
        row = self.conn.execute(query.encode()).fetchone()
        return int(row[0]) if row else 0

    def lines(self, action: RowTransfer, low: Sequence[str] | None, high: Sequence[str] | None) -> Iterator[Line]:
        """Give the rows of a range, of one snapshot, as they come: few are held."""
        return self._stream(action, action.columns, inner(action, condition(action, low, high)))

    def catch_up(self, action: RowTransfer) -> None:
        """Return at once: what is written is noted in the transaction that writes it."""

    def last_note(self, action: RowTransfer) -> int:
        """Return the number of the last note; 0 where there is none."""
        row = self.conn.execute(f"select coalesce(max({NOTE}), 0) from {action.notes}".encode()).fetchone()
        return int(row[0]) if row else 0

    def notes(self, action: RowTransfer, most: int) -> list[int]:
        """Return the numbers of up to `most` notes, the oldest first."""
        query = f"select {NOTE} from {action.notes} order by {NOTE} limit {int(most)}"
        return [int(row[0]) for row in self.conn.execute(query.encode()).fetchall()]

    def emptied(self, action: RowTransfer, numbers: Sequence[int] | None) -> int:
        """Return the number of the last note that says that the whole table was emptied; 0 where there is none."""
        query = f"select coalesce(max({NOTE}), 0) from {action.notes} where {ALL} and {_which(numbers)}"
        row = self.conn.execute(query.encode()).fetchone()
        return int(row[0]) if row else 0

    def noted(self, action: RowTransfer, numbers: Sequence[int] | None) -> Iterator[Line]:
        """Give the keys that notes tell of, as lines of the columns of the key alone; None: of all notes."""
        columns = key_columns(action)
        return self._stream(action, columns, noted_keys(action, columns, _which(numbers)), keyed=True)

    def written(self, action: RowTransfer, numbers: Sequence[int] | None) -> Iterator[Line]:
        """Give the rows that notes tell of, as far as they are there, and to be copied; None: of all notes."""
        return self._stream(action, action.columns, written_rows(action, _which(numbers)))

    def forget(self, action: RowTransfer, numbers: Sequence[int], ledger: Connection) -> None:
        """Delete notes that were dealt with, within a transaction of the ledger."""
        ledger.execute(f"delete from {action.notes} where {among(numbers)}".encode())

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let everything that is read be of one moment. Locks: ACCESS SHARE, for as long.

        Each batch begins by asking whether somebody waits for that: raises StateError.
        """
        # The other database may take long for a range.
        self.conn.execute("set idle_in_transaction_session_timeout = '10min'")
        with self.conn.transaction(force_rollback=True):
            self.conn.execute("set transaction isolation level repeatable read, read only")
            self._steady = True
            try:
                yield
            finally:
                self._steady = False
                self.end()

    def next_number(self, action: RowTransfer) -> int:
        """Return the number that the source would give to its next row; 0 where it numbers none."""
        if not action.into.next_number:
            return 0
        row = self.conn.execute(action.into.next_number.encode()).fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    def _stream(
        self, action: RowTransfer, columns: Sequence[TransferColumn], rows: str, *, keyed: bool = False
    ) -> Iterator[Line]:
        # One at a time: a session has no more.
        self.end()
        stream = self._rows(action, columns, rows, keyed=keyed)
        self._streams.append(stream)
        return stream

    def _rows(
        self, action: RowTransfer, columns: Sequence[TransferColumn], rows: str, *, keyed: bool
    ) -> Generator[Line]:
        held: list[bytes] = []
        size = 0
        with self.conn.cursor() as cursor:
            query = f"copy ({selection(action, columns, rows, keyed=keyed)}) to stdout"
            with cursor.copy(query.encode()) as copy:
                for block in copy:
                    line = bytes(block)[:-1]
                    if line.startswith(b"\t"):
                        held.append(line[1:])
                        size += len(line)
                        if size < _TOGETHER:
                            continue
                    if held:
                        yield Line(line=b"\n".join(held), rows=len(held))
                        held, size = [], 0
                    if not line.startswith(b"\t"):
                        yield _misfit(action, line)
        if held:
            yield Line(line=b"\n".join(held), rows=len(held))


def _misfit(action: RowTransfer, line: bytes) -> Line:
    told, _, rest = line.partition(b"\t")
    # JSON has no other escapes of COPY in it than that of the backslash: what is below U+0020 is escaped by JSON.
    misfits, *key = json.loads(told.replace(b"\\\\", b"\\"))
    found: dict[str, Touched] = {}
    for pair in misfits.split():
        number, _, reason = pair.partition(".")
        column = action.columns[int(number)]
        # The first reason of a column is the one that is told.
        touched = Touched(field=column.name, policy=column.unfit, reason=column.misfits[int(reason)].reason)
        found.setdefault(column.name, touched)
    return Line(line=rest, key=tuple(map(str, key)), touched=tuple(found.values()))


@dataclass(frozen=True, kw_only=True)
class PostgresRows:
    """Rows of PostgreSQL, which also has the ledger. Sessions are opened for each use, and closed."""

    connect: Callable[[str], Connection]
    search_path: str

    def __repr__(self) -> str:
        return "PostgresRows()"

    @contextmanager
    def reading(self, purpose: str) -> Iterator[Reading]:
        """Open a session to read with."""
        conn = self.connect(purpose)
        try:
            reading = Reading(prepared(conn, self.search_path))
            try:
                yield reading
            finally:
                reading.end()
        finally:
            conn.close()

    @contextmanager
    def reading_notes(self, action: RowTransfer, purpose: str, notes: Notes) -> Iterator[Reading]:  # noqa: ARG002
        """Open a session to read with, also notes: they lie where the rows do."""
        with self.reading(purpose) as reading:
            # Notes are few and have no statistics: each row is looked up by its key.
            reading.conn.execute("set enable_hashjoin = off; set enable_mergejoin = off")
            yield reading

    def require_unbroken(self, conn: Connection) -> None:
        """Raise GateError where the server may have forgotten what was read from it during this run."""
        require_unbroken(conn)

    @contextmanager
    def standstill(self, action: RowTransfer, budget_ms: int) -> Iterator[Standstill]:
        """Open a session that can hold the table still; it lets go of it at the end."""
        conn = self.connect("standstill")
        try:
            yield Standstill(conn, action.table, budget_ms)
        finally:
            conn.close()


def _which(numbers: Sequence[int] | None) -> str:
    return "true" if numbers is None else among(numbers)


def prepared(conn: Connection, search_path: str) -> Connection:
    """Return a session as one that reads all rows: hidden ones would silently be missing."""
    conn.execute("set row_security = off; set jit = off; set statement_timeout = 0")
    conn.execute("select set_config('search_path', %s, false)", (search_path,))
    return conn
