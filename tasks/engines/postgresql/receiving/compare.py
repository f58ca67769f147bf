"""Compare every row of the source with its row here: to the byte, through what made it.

A range is sent once more, into a temporary table with the same columns, and held against the rows of its keys. As many
rows as differ in none belong here: so what is too many shows in their number.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.receiving.load import send
from tasks.engines.postgresql.receiving.pending import SENT, Later, Pending
from tasks.engines.postgresql.rejections import key_text
from tasks.engines.receiving.differences import Differences, Found, Sorted, refuse_columns, sort
from tasks.engines.receiving.source import Reading, SteadyReading
from tasks.engines.records import Key, Line
from tasks.model.names import quote
from tasks.model.plan import differing
from tasks.model.transfer_steps import RowTransfer

ROWS: Final = 20_000
"""Rows at a time."""


def compare(conn: Connection, reading: Reading, action: RowTransfer, table: str) -> Differences:
    """Compare all rows of the source with those of a table, quoted and qualified. Locks: ACCESS SHARE.

    Where writes are noted, the source is read in one snapshot, and nobody carries notes meanwhile: so the table stands
    still, and has every write but those whose notes are in the snapshot. A row without a note must be there exactly;
    one with a note comes later.
    """
    prepare(conn, action, table)
    with ExitStack() as reads:
        pending: Pending | None = None
        if action.notes:
            assert isinstance(reading, SteadyReading), "others are compared while they move"
            reads.enter_context(reading.snapshot())
            pending = Pending(conn, reading, action, table)
        found = _all(conn, reading, action, table, pending)
        later = pending.later() if pending else Later()
    total = conn.execute(f"select count(*) from {table}").fetchone()
    notes = conn.execute(f"select count(distinct key) from {action.rejected}").fetchone()
    assert total is not None
    assert notes is not None
    return Differences(
        rows=found.read,
        rejected=found.rejected,
        differing=found.differing,
        present=total[0],
        expected=found.matched + later.rows if pending else found.read - found.rejected,
        not_noted=found.not_noted + (notes[0] - found.noted - later.rejections),
        unsettled=found.unsettled + later.rows,
        examples=tuple(found.examples),
    )


def prepare(conn: Connection, action: RowTransfer, table: str) -> None:
    """Make a session one that can compare: it gets a table of its own, for the rows of a range."""
    conn.execute("set row_security = off; set jit = off; set statement_timeout = 0")
    # A range has few rows and no statistics: each is looked up by its key.
    conn.execute("set enable_hashjoin = off; set enable_mergejoin = off")
    # Without the demands of the table: a column that somebody has added gets nothing here.
    columns = ", ".join(quote(one.name) for one in action.columns)
    sent = f"create temporary table {SENT.removeprefix('pg_temp.')} as select {columns} from {table} with no data"
    conn.execute(sent.encode())


def same_key(action: RowTransfer) -> str:
    """Return the condition that a row that was sent, `s`, and one of the table, `t`, have one key."""
    return " and ".join(f"t.{name} = s.{name}" for name in map(quote, action.target_key))


def compared_rows(action: RowTransfer, table: str) -> str:
    """Return the query, from its FROM on, of rows that were sent, and have no such row in the table."""
    there, sent = (", ".join(f"{side}.{quote(one.name)}" for one in action.columns) for side in "ts")
    missing = f"t.{quote(action.target_key[0])} is null"
    wrong = f"{missing} or {differing(there, sent, exact=True)}"
    return f"from {SENT} s left join {table} t on {same_key(action)} where {wrong}"


def _all(conn: Connection, reading: Reading, action: RowTransfer, table: str, pending: Pending | None) -> Found:
    found = Found()
    position: Key | None = None
    while True:
        end = reading.end_of_batch(action, position, None, ROWS)
        _range(conn, reading.lines(action, position, end), action, table, found, pending)
        if end is None:
            return found
        position = end


def refuse_other_columns(conn: Connection, action: RowTransfer, table: str) -> None:
    """Refuse a table, quoted and qualified, whose columns are not those of the copy: raises StateError with them.

    What somebody has written into others, the source knows nothing of: it cannot be counted.
    """
    rows = conn.execute(
        "select attname from pg_catalog.pg_attribute where attrelid = pg_catalog.to_regclass(%s) and attnum > 0"
        " and not attisdropped order by attnum",
        (table,),
    ).fetchall()
    refuse_columns(action, [row[0] for row in rows])


def _range(
    conn: Connection, lines: Iterator[Line], action: RowTransfer, table: str, found: Found, pending: Pending | None
) -> None:
    kinds = Sorted()
    conn.execute(f"truncate {SENT}")
    send(conn, SENT, action.columns, sort(lines, kinds))
    found.read += kinds.read
    key = ", ".join(f"s.{quote(name)}::text" for name in action.target_key)
    noted = pending.noted("s") if pending else "false"
    for *texts, comes in conn.execute(f"select {key}, {noted} {compared_rows(action, table)}".encode()):
        found.differs(key_text(tuple(texts)), comes=comes)
    if pending:
        both = f"select count(*) from {SENT} s join {table} t on {same_key(action)}"
        matched = conn.execute(both.encode()).fetchone()
        found.matched += matched[0] if matched else 0
    left_out = kinds.left_out
    later = pending.keys([*kinds.undecided, *left_out]) if pending else set()
    for text in kinds.undecided:
        found.differs(text, comes=text in later)
    # A row that was rejected and is not noted, and one that is noted and was not rejected.
    found.rejected += len(left_out)
    query = f"select distinct key from {action.rejected} where key = any(%s)"
    noted_keys = {row[0] for row in conn.execute(query, (left_out,))}
    found.noted += len(noted_keys)
    found.not_noted += sum(text not in noted_keys and text not in later for text in left_out)
