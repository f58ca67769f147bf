"""Read rows as PostgreSQL takes them: lines of COPY, all but made by the server, and what does not fit in each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tasks.engines.mysql.key_ranges import condition, end_of_batch, key_text
from tasks.engines.mysql.names import quote, quoted
from tasks.engines.mysql.session import MariaSession
from tasks.engines.postgresql.receiving.lines import NULL, escaped
from tasks.engines.records import Key, Line, Touched
from tasks.model.errors import DataChanged, StepError
from tasks.model.transfer_steps import ZERO, Misfit, RowTransfer, TransferColumn


def value_name(number: int) -> str:
    """Name the value of a column, in the order of the new table, as its SQL knows it."""
    return f"_changeover_v{number}"


def prepare(conn: MariaSession) -> None:
    """Let the server wait for whoever takes its rows."""
    conn.execute("set session net_write_timeout = 3600, net_read_timeout = 3600")


def inner(action: RowTransfer, which: str) -> str:
    """Return the query of keys and values of those rows that are to be copied."""
    keys = [
        f"{key_text(column, kind)} as _changeover_k{number}"
        for number, (column, kind) in enumerate(zip(action.key, action.key_types, strict=True))
    ]
    values = [f"({one.expression}\n) as {value_name(number)}" for number, one in enumerate(action.columns)]
    kept = f" and ({action.where}\n)" if action.where else ""
    # Without being told, the server may read the whole table for each range.
    source = f"{action.table} as {quote(action.alias)} force index (primary)"
    return f"select {', '.join([*keys, *values])} from {source} where ({which}){kept}"


def selection(action: RowTransfer, which: str) -> str:
    """Return the query of rows: the pieces of a line, the numbers of its misfits, and the key as text."""
    wrong = [
        f"if({misfit.when}, '{number}.{reason} ', '')"
        for number, one in enumerate(action.columns)
        if one.unfit != "null"
        for reason, misfit in enumerate(one.misfits)
    ]
    keys = [f"_changeover_k{number}" for number in range(len(action.key))]
    misfits = f"concat({', '.join(wrong)})" if wrong else "''"
    listed = [_piece(columns) for columns in pieces(action)]
    return f"select {', '.join([*listed, misfits, *keys])} from ({inner(action, which)}) as r"


def policy_of(action: RowTransfer, column: TransferColumn, misfit: Misfit) -> str:
    """Return what becomes of a value; `fail` where its row could be left out, but not noted by such a key."""
    return "fail" if misfit.reason == ZERO and column.name in action.target_key else column.unfit


def pieces(action: RowTransfer) -> list[tuple[TransferColumn, ...]]:
    """Return what stands in one piece: a column that has to be escaped by itself, the others with their neighbours."""
    found: list[tuple[TransferColumn, ...]] = []
    for one in action.columns:
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

    def __repr__(self) -> str:
        return "MariaRows()"

    def reading(self, purpose: str) -> "Reading":
        """Open a session to read with; use it with `with`."""
        conn = self.connect(purpose)
        prepare(conn)
        return Reading(conn)


class Reading:
    """A session that reads rows."""

    def __init__(self, conn: MariaSession) -> None:
        self.conn = conn

    def __enter__(self) -> "Reading":
        return self

    def __exit__(self, *raised: object) -> None:
        self.conn.close()

    def end_of_batch(self, action: RowTransfer, low: Key | None, high: Key | None, rows: int) -> Key | None:
        """Return the key of the row `rows` further on; None when fewer are left before `high`."""
        return end_of_batch(self.conn, action, low, high, rows)

    def lines(self, action: RowTransfer, low: Sequence[str] | None, high: Sequence[str] | None) -> Iterator[Line]:
        """Give the rows of a range, of one snapshot, as they come: none is held."""
        made = [_FORMS[columns[0].form] for columns in pieces(action)]
        width = len(made)
        for row in self.conn.stream(selection(action, condition(action, low, high))):
            line = b"\t".join([form(piece) for form, piece in zip(made, row, strict=False)])
            misfits, key = row[width], tuple(map(str, row[width + 1 :]))
            yield Line(line=line, key=key, touched=_touched(action, misfits) if misfits else ())

    def next_number(self, action: RowTransfer) -> int:
        """Return the number that the source would give to its next row; 0 where it numbers none."""
        row = self.conn.execute(action.into.next_number).fetchone() if action.into.next_number else None
        return int(row[0] or 0) if row else 0


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
