"""Read rows as lines of COPY for a table of another database: all but made by the server, and what does not fit."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.key_ranges import condition, end_of_batch
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.records import Key, Line, Touched
from tasks.model.names import quote
from tasks.model.transfer_steps import RowTransfer, TransferColumn

_KEY: Final = "_changeover_k"
_TOGETHER: Final = 1 << 15
"""Bytes of rows that are given as one line, where they fit."""


def value_name(number: int) -> str:
    """Name the value of a column, in the order of the new table, as its SQL knows it."""
    return f"_changeover_v{number}"


def inner(action: RowTransfer, which: str) -> str:
    """Return the query of keys and values of those rows that are to be copied."""
    # Told apart by their bytes, whatever a collation calls equal.
    keys = [f'{quote(name)}::pg_catalog.text collate pg_catalog."C" as {_KEY}{n}' for n, name in enumerate(action.key)]
    values = [f"({one.expression}\n) as {value_name(number)}" for number, one in enumerate(action.columns)]
    kept = f" and ({action.where}\n)" if action.where else ""
    return f"select {', '.join([*keys, *values])} from {action.table} as {quote(action.alias)} where ({which}){kept}"


def selection(action: RowTransfer, columns: Sequence[TransferColumn], rows: str) -> str:
    """Return the query of lines: first what does not fit, with the key, or nothing; then what is sent."""
    wrong = [
        f"case when {misfit.when} then {literal(f'{number}.{reason} ')} else '' end"
        for number, one in enumerate(action.columns)
        if one.unfit != "null" and one in columns
        for reason, misfit in enumerate(one.misfits)
    ]
    keys = ", ".join(f"{_KEY}{number}" for number in range(len(action.key)))
    if not wrong:
        return f"select '', {', '.join(map(_sent, columns))} from ({rows}) as r"
    misfits = " || ".join(wrong)
    told = f"case when ({misfits}) = '' then '' else pg_catalog.json_build_array({misfits}, {keys})::text end"
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


class Reading:
    """A session that reads rows."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn

    def end_of_batch(self, action: RowTransfer, low: Key | None, high: Key | None, rows: int) -> Key | None:
        """Return the key of the row `rows` further on; None when fewer are left before `high`."""
        return end_of_batch(self.conn, action, low, high, rows)

    def lines(self, action: RowTransfer, low: Sequence[str] | None, high: Sequence[str] | None) -> Iterator[Line]:
        """Give the rows of a range, of one snapshot, as they come: few are held."""
        return self._stream(action, action.columns, inner(action, condition(action, low, high)))

    def next_number(self, action: RowTransfer) -> int:
        """Return the number that the source would give to its next row; 0 where it numbers none."""
        if not action.into.next_number:
            return 0
        row = self.conn.execute(action.into.next_number.encode()).fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    def _stream(self, action: RowTransfer, columns: Sequence[TransferColumn], rows: str) -> Iterator[Line]:
        held: list[bytes] = []
        size = 0
        with self.conn.cursor() as cursor:
            query = f"copy ({selection(action, columns, rows)}) to stdout"
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
        with self.connect(purpose) as conn:
            yield Reading(prepared(conn, self.search_path))


def prepared(conn: Connection, search_path: str) -> Connection:
    """Return a session as one that reads all rows: hidden ones would silently be missing."""
    conn.execute("set row_security = off; set jit = off; set statement_timeout = 0")
    conn.execute("select set_config('search_path', %s, false)", (search_path,))
    return conn
