"""Read rows as PostgreSQL takes them: lines of COPY, all but made by the server, and what does not fit in each."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tasks.engines.mysql.blockers import refuse_waiting
from tasks.engines.mysql.key_ranges import condition, end_of_batch, key_text
from tasks.engines.mysql.names import quote, quoted
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.sessions import require_unbroken
from tasks.engines.mysql.standstill import Standstill
from tasks.engines.notes import among, deletions
from tasks.engines.receiving.lines import NULL, escaped
from tasks.engines.receiving.source import Notes
from tasks.engines.records import Key, Line, Touched
from tasks.engines.session import Session
from tasks.model.errors import DataChanged, StepError
from tasks.model.transfer_steps import NOTE, ZERO, Misfit, RowTransfer, Transfer, TransferColumn, key_columns


def value_name(number: int) -> str:
    """Name the value of a column, in the order of the new table, as its SQL knows it."""
    return f"_changeover_v{number}"


def prepare(conn: MariaSession) -> None:
    """Let the server wait for whoever takes its rows."""
    conn.execute("set session net_write_timeout = 3600, net_read_timeout = 3600")


def inner(action: RowTransfer, which: str, source: str = "") -> str:
    """Return the query of keys and values of those rows that are to be copied; `source`: not of the whole table."""
    # Without being told, the server may read the whole table for each range.
    source = source or f"{action.table} as {quote(action.alias)} force index (primary)"
    kept = f" and ({action.where}\n)" if action.where else ""
    return _values(action, action.columns, f"from {source} where ({which}){kept}")


def _values(action: RowTransfer, columns: Sequence[TransferColumn], tail: str) -> str:
    """Return a query of keys and values. A value is called by the place of its column among all columns."""
    keys = [
        f"{key_text(column, kind)} as _changeover_k{number}"
        for number, (column, kind) in enumerate(zip(action.key, action.key_types, strict=True))
    ]
    values = [
        f"({one.expression}\n) as {value_name(number)}" for number, one in enumerate(action.columns) if one in columns
    ]
    return f"select {', '.join([*keys, *values])} {tail}"


def selection(action: RowTransfer, columns: Sequence[TransferColumn], rows: str) -> str:
    """Return the query of rows: the pieces of a line, the numbers of its misfits, and the key as text."""
    wrong = [
        f"if({misfit.when}, '{number}.{reason} ', '')"
        for number, one in enumerate(action.columns)
        if one.unfit != "null" and one in columns
        for reason, misfit in enumerate(one.misfits)
    ]
    keys = [f"_changeover_k{number}" for number in range(len(action.key))]
    misfits = f"concat({', '.join(wrong)})" if wrong else "''"
    listed = [_piece(together) for together in pieces(columns)]
    return f"select {', '.join([*listed, misfits, *keys])} from ({rows}) as r"


def written_rows(action: RowTransfer, notes: str) -> str:
    """Return the query of keys and values of the rows that some notes tell of, as far as they are to be copied."""
    which, source = of_notes(action, notes)
    return inner(action, which, source)


def of_notes(action: Transfer, notes: str) -> tuple[str, str]:
    """Return the condition, and the FROM item, of the rows that some notes tell of."""
    # Read first, and each once; then its row is looked up. The names of its columns are none of the table.
    keys = [f"{quote(column)} as _changeover_n{number}" for number, column in enumerate(action.key)]
    noted = f"select distinct {', '.join(keys)} from {action.notes} where {notes}"
    same = [f"{quote(action.alias)}.{quote(one)} = _changeover_n{number}" for number, one in enumerate(action.key)]
    rows = f"{action.table} as {quote(action.alias)} force index (primary)"
    return " and ".join(same), f"({noted}) as _changeover_noted straight_join {rows}"


def noted_keys(action: RowTransfer, columns: Sequence[TransferColumn], notes: str) -> str:
    """Return the query of what some notes tell of, as if they were rows: they have the columns of the key."""
    return _values(action, columns, f"from {action.notes} where {notes}")


def policy_of(action: RowTransfer, column: TransferColumn, misfit: Misfit) -> str:
    """Return what becomes of a value; `fail` where its row could be left out, but not noted by such a key."""
    return "fail" if misfit.reason == ZERO and column.name in action.target_key else column.unfit


def pieces(columns: Sequence[TransferColumn]) -> list[tuple[TransferColumn, ...]]:
    """Return what stands in one piece: a column that has to be escaped by itself, the others with their neighbours."""
    found: list[tuple[TransferColumn, ...]] = []
    for one in columns:
        if found and one.form == "plain" and found[-1][0].form == "plain":
            found[-1] = (*found[-1], one)
        else:
            found.append((one,))
    return found


def _piece(columns: tuple[TransferColumn, ...]) -> str:
    if columns[0].form != "plain":
        return _sent(columns[0])
    null = quoted("\\N")
    parts = ", ".join(f"ifnull({_sent(one)}, {null})" for one in columns)
    return f"cast(concat_ws({quoted(chr(9))}, {parts}) as binary)"


def _sent(one: TransferColumn) -> str:
    if one.unfit != "null" or not one.misfits:
        return one.text
    wrong = " or ".join(f"({misfit.when})" for misfit in one.misfits)
    return f"if({wrong}, null, {one.text})"


@dataclass(frozen=True, kw_only=True)
class MariaRows:
    """Rows of MariaDB. Sessions are opened for each use, and closed."""

    connect: Callable[[str], MariaSession]
    run_id: str

    def __repr__(self) -> str:
        return "MariaRows()"

    def reading(self, purpose: str) -> "Reading":
        """Open a session to read with; use it with `with`."""
        conn = self.connect(purpose)
        prepare(conn)
        return Reading(conn)

    def reading_notes(self, action: Transfer, purpose: str, notes: Notes | None) -> "Reading":  # noqa: ARG002
        """Open a session to read with, also notes: they lie where the rows do."""
        return self.reading(purpose)

    def require_unbroken(self, conn: MariaSession) -> None:
        """Raise GateError where the server may have forgotten what was read from it during this run."""
        require_unbroken(conn, self.run_id)

    @contextmanager
    def standstill(self, action: Transfer, budget_ms: int) -> Iterator[Standstill]:
        """Open a session that can hold the table still; it lets go of it at the end."""
        with self.connect("standstill") as conn:
            standstill = Standstill(conn, action.table, budget_ms)
            try:
                yield standstill
            finally:
                standstill.end()


class Reading:
    """A session that reads rows."""

    def __init__(self, conn: MariaSession) -> None:
        self.conn = conn
        self._steady = False

    def __enter__(self) -> "Reading":
        return self

    def __exit__(self, *raised: object) -> None:
        self.conn.close()

    def end_of_batch(self, action: Transfer, low: Key | None, high: Key | None, rows: int) -> Key | None:
        """Return the key of the row `rows` further on; None when fewer are left before `high`."""
        if self._steady:
            refuse_waiting(self.conn, action.table)
        return end_of_batch(self.conn, action, low, high, rows)

    def lines(self, action: RowTransfer, low: Sequence[str] | None, high: Sequence[str] | None) -> Iterator[Line]:
        """Give the rows of a range, of one snapshot, as they come: none is held."""
        return self._stream(action, action.columns, inner(action, condition(action, low, high)))

    def catch_up(self, action: Transfer) -> None:
        """Return at once: what is written is noted in the transaction that writes it."""

    def last_note(self, action: Transfer) -> int:
        """Return the number of the last note; 0 where there is none."""
        row = self.conn.execute(f"select max({NOTE}) from {action.notes}").fetchone()
        return int(row[0] or 0) if row else 0

    def notes(self, action: Transfer, most: int) -> list[int]:
        """Return the numbers of up to `most` notes, the oldest first."""
        rows = self.conn.execute(f"select {NOTE} from {action.notes} order by {NOTE} limit {int(most)}").fetchall()
        return [int(row[0]) for row in rows]

    def noted(self, action: RowTransfer, numbers: Sequence[int] | None) -> Iterator[Line]:
        """Give the keys that notes tell of, as lines of the columns of the key alone; None: of all notes."""
        columns = key_columns(action)
        return self._stream(action, columns, noted_keys(action, columns, _which(numbers)))

    def written(self, action: RowTransfer, numbers: Sequence[int] | None) -> Iterator[Line]:
        """Give the rows that notes tell of, as far as they are there, and to be copied; None: of all notes."""
        return self._stream(action, action.columns, written_rows(action, _which(numbers)))

    def forget(self, action: Transfer, numbers: Sequence[int], ledger: Session) -> None:
        """Delete notes that were dealt with, within a transaction of the ledger."""
        for deletion in deletions(action.notes, numbers):
            ledger.execute(deletion)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let everything that is read be of one moment. Holds the metadata of the table: its DDL waits.

        Where it has waited for longer than the lock budget, the next range raises StateError.
        """
        self.conn.execute("set session transaction isolation level repeatable read")
        self.conn.execute("start transaction with consistent snapshot, read only")
        self._steady = True
        try:
            yield
        finally:
            self._steady = False
            if not self.conn.closed:
                self.conn.execute("rollback")
                self.conn.execute("set session transaction isolation level read committed")

    def _stream(self, action: RowTransfer, columns: Sequence[TransferColumn], rows: str) -> Iterator[Line]:
        made = [_FORMS[together[0].form] for together in pieces(columns)]
        width = len(made)
        for row in self.conn.stream(selection(action, columns, rows)):
            line = b"\t".join([form(piece) for form, piece in zip(made, row, strict=False)])
            misfits, key = row[width], tuple(map(str, row[width + 1 :]))
            yield Line(line=line, key=key, touched=_touched(action, misfits) if misfits else ())

    def next_number(self, action: RowTransfer) -> int:
        """Return the number that the source would give to its next row; 0 where it numbers none."""
        row = self.conn.execute(action.into.next_number).fetchone() if action.into.next_number else None
        return int(row[0] or 0) if row else 0


def _which(numbers: Sequence[int] | None) -> str:
    return "true" if numbers is None else among(numbers)


def _plain(piece: bytes | None) -> bytes:
    if piece is None:
        # NULLs are written out: this is more than max_allowed_packet, and the server will warn of it, too.
        raise StepError(
            "a row is longer than max_allowed_packet",
            hint="Raise max_allowed_packet on the server, or leave the long column out.",
            changed=DataChanged.PARTIALLY,
        )
    return piece


def _text(piece: bytes | None) -> bytes:
    # REPLACE of MariaDB moves all that follows for each that it finds: for a text of megabytes that is minutes.
    return NULL if piece is None else escaped(piece)


def _bytes(piece: bytes | None) -> bytes:
    return NULL if piece is None else b"\\\\x" + piece.hex().encode()


_FORMS: Final[dict[str, Callable[[bytes | None], bytes]]] = {"plain": _plain, "text": _text, "bytes": _bytes}


def _touched(action: RowTransfer, misfits: str | bytes) -> tuple[Touched, ...]:
    found: dict[str, Touched] = {}
    text = misfits.decode() if isinstance(misfits, bytes) else misfits
    for pair in text.split():
        number, _, reason = pair.partition(".")
        column = action.columns[int(number)]
        # The first reason of a column is the one that is told.
        misfit = column.misfits[int(reason)]
        found.setdefault(
            column.name,
            Touched(field=column.name, policy=policy_of(action, column, misfit), reason=misfit.reason),
        )
    return tuple(found.values())
