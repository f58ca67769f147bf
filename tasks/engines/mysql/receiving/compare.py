"""Compare every row of the source with its row here: to the byte, through what made it.

A range is sent once more, into a temporary table with the same columns, and held against the rows of its keys. As many
rows as differ in none belong here: so what is too many shows in their number.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from tasks.engines.mysql.names import quote
from tasks.engines.mysql.receiving.follow import digests, make_empty, same, temporary
from tasks.engines.mysql.receiving.load import digest, send
from tasks.engines.mysql.receiving.pending import SENT, Later, Pending
from tasks.engines.mysql.session import MariaSession
from tasks.engines.postgresql.rejections import key_text
from tasks.engines.receiving.differences import Differences, Found, Sorted, refuse_columns, sort
from tasks.engines.receiving.source import Reading, SteadyReading
from tasks.engines.records import Key, Line
from tasks.model.transfer_steps import RowTransfer, TransferColumn, key_columns

ROWS: Final = 20_000
"""Rows at a time."""


def compare(conn: MariaSession, reading: Reading, action: RowTransfer, table: str) -> Differences:
    """Compare all rows of the source with those of a table, quoted. Locks: none.

    Where writes are noted, the source is read in one snapshot, and nobody carries notes meanwhile: so the table stands
    still, and has every write but those whose notes are in the snapshot. A row without a note must be there exactly;
    one with a note comes later.
    """
    temporary(conn, action, SENT, ", ".join(quote(one.name) for one in action.columns), table)
    with ExitStack() as reads:
        pending: Pending | None = None
        if action.notes:
            assert isinstance(reading, SteadyReading), "others are compared while they move"
            reads.enter_context(reading.snapshot())
            pending = Pending(conn, reading, action, table)
        found = Found()
        position: Key | None = None
        while True:
            end = reading.end_of_batch(action, position, None, ROWS)
            _range(conn, reading.lines(action, position, end), action, table, found, pending)
            if end is None:
                break
            position = end
        later = pending.later() if pending else Later()
    total = conn.execute(f"select count(*) from {table}").fetchone()[0]
    notes = conn.execute(f"select count(distinct key_hash) from {action.rejected}").fetchone()[0]
    return Differences(
        rows=found.read,
        rejected=found.rejected,
        differing=found.differing,
        present=int(total),
        expected=found.matched + later.rows if pending else found.read - found.rejected,
        not_noted=found.not_noted + (int(notes) - found.noted - later.rejections),
        unsettled=found.unsettled + later.rows,
        emptied=pending is not None and pending.emptied,
        examples=tuple(found.examples),
    )


def _range(
    conn: MariaSession,
    lines: Iterator[Line],
    action: RowTransfer,
    table: str,
    found: Found,
    pending: Pending | None,
) -> None:
    kinds = Sorted()
    make_empty(conn, SENT)
    with conn.transaction():
        send(conn, SENT, action.columns, sort(lines, kinds))
    found.read += kinds.read
    key = ", ".join(key_texts(action, "s"))
    comes = pending.noted("s") if pending else "0"
    for *texts, later in conn.execute(f"select {key}, {comes} {compared_rows(action, table)}").fetchall():
        found.differs(key_text(tuple(map(str, texts))), comes=bool(later))
    if pending:
        both = f"select count(*) from {SENT} s join {table} t on {same(action, 't', 's')}"
        found.matched += int(conn.execute(both).fetchone()[0])
    noted_keys = pending.keys([*kinds.undecided, *kinds.left_out]) if pending else set()
    for text in kinds.undecided:
        found.differs(text, comes=text in noted_keys)
    # A row that was rejected and is not noted, and one that is noted and was not rejected.
    found.rejected += len(kinds.left_out)
    there = noted(conn, action, kinds.left_out)
    found.noted += len(there)
    found.not_noted += sum(text not in there and text not in noted_keys for text in kinds.left_out)


def noted(conn: MariaSession, action: RowTransfer, texts: list[str]) -> set[str]:
    """Return which of these keys are those of rejected rows."""
    asked = {digest(text): text for text in texts}
    found: set[str] = set()
    for listed in digests(texts):
        rows = conn.execute(f"select distinct key_hash from {action.rejected} where key_hash in ({listed})").fetchall()
        found.update(asked[bytes(row[0])] for row in rows)
    return found


def compared_rows(action: RowTransfer, table: str) -> str:
    """Return the query, from its FROM on, of rows that were sent, and have no such row in the table."""
    equal = " and ".join(f"{_exact(one, 't')} <=> {_exact(one, 's')}" for one in action.columns)
    missing = f"t.{quote(action.target_key[0])} is null"
    # Each is looked up by its key: nobody knows how many were sent.
    return f"from {SENT} s left join {table} t on {same(action, 't', 's')} where {missing} or not ({equal})"


def key_texts(action: RowTransfer, row: str) -> list[str]:
    """Return SQL that makes texts of the key of a row, by its alias: bytes become digits, for they may be no text."""
    named = {one.name: one for one in key_columns(action)}
    return [
        f"lower(hex({row}.{quote(name)}))" if named[name].form == "bytes" else f"cast({row}.{quote(name)} as char)"
        for name in action.target_key
    ]


def _exact(one: TransferColumn, row: str) -> str:
    """Return SQL that is equal where values are the same: to the byte, whatever a collation says; -0 is not 0."""
    value = f"{row}.{quote(one.name)}"
    if one.type in ("float", "double"):
        return f"cast(cast({value} as double) as char)"
    return f"cast({value} as binary)" if one.form == "text" else value


def refuse_other_columns(conn: MariaSession, action: RowTransfer, table: str) -> None:
    """Refuse a table, by its bare name, whose columns are not those of the copy: raises StateError with them.

    What somebody has written into others, the source knows nothing of: it cannot be counted.
    """
    rows = conn.execute(
        "select column_name from information_schema.columns where table_schema = database() and table_name = %s"
        " order by ordinal_position",
        (table,),
    ).fetchall()
    refuse_columns(action, [str(row[0]) for row in rows])
