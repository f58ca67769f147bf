"""Compare rows of a source that is written meanwhile, and that nobody can look at in one moment.

Here the table stands still: nobody carries notes. So whatever differs from what it had when it was last carried was
written since, and is noted: all notes are asked for when all rows were read. What differs and has no note is a
difference; what has one comes later. The keys that were read are kept until then, in a temporary table.
"""

import time
from typing import Final

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.receiving.compare import ROWS, compared_rows, prepare
from tasks.engines.postgresql.receiving.load import send
from tasks.engines.postgresql.receiving.pending import SENT, copy_texts
from tasks.engines.postgresql.rejections import key_text
from tasks.engines.receiving.differences import EXAMPLES, Differences, Sorted, sort
from tasks.engines.receiving.source import MovingReading
from tasks.engines.records import Key
from tasks.model.names import quote
from tasks.model.transfer_steps import RowTransfer, key_columns

_READ, _SUSPECTS, _NOTED = (f"pg_temp._changeover_{name}" for name in ("read", "suspects", "noted"))
_LEFT_OUT, _UNDECIDED, _TEXTS = (f"pg_temp._changeover_{name}" for name in ("left_out", "undecided", "texts"))
_EVERY: Final = 2.0
"""Seconds after which what was written is noted again: no stream is left alone for long."""


def compare_moving(conn: Connection, reading: MovingReading, action: RowTransfer, table: str) -> Differences:
    """Compare all rows of the source with those of a table, quoted and qualified. Locks: ACCESS SHARE.

    Makes notes, and carries none.
    """
    prepare(conn, action, table)
    key = [quote(name) for name in action.target_key]
    for name in (_READ, _SUSPECTS, _NOTED):
        made = f"create temporary table {_bare(name)} as select {', '.join(key)} from {table} with no data"
        conn.execute(made.encode())
    for name in (_LEFT_OUT, _UNDECIDED, _TEXTS):
        conn.execute(f"create temporary table {_bare(name)} (key text)")
    rows = _read(conn, reading, action, table)
    reading.catch_up(action)
    for page in reading.pages(action):
        send(conn, _NOTED, key_columns(action), (one for one in page if not one.touched))
        copy_texts(conn, _TEXTS, (key_text(key) for one in page for key in one.keys))
    conn.execute("reset enable_hashjoin; reset enable_mergejoin")
    for name in (_READ, _SUSPECTS, _NOTED, _LEFT_OUT, _UNDECIDED, _TEXTS):
        conn.execute(f"analyze {name}")
    return _differences(conn, action, table, rows)


def _read(conn: Connection, reading: MovingReading, action: RowTransfer, table: str) -> int:
    """Read all rows; keep the keys of all, and of those that differ, or are not to be copied."""
    key = ", ".join(quote(name) for name in action.target_key)
    listed = ", ".join(f"s.{quote(name)}" for name in action.target_key)
    position: Key | None = None
    rows, looked = 0, time.monotonic()
    while True:
        end = reading.end_of_batch(action, position, None, ROWS)
        found = Sorted()
        conn.execute(f"truncate {SENT}")
        send(conn, SENT, action.columns, sort(reading.lines(action, position, end), found))
        conn.execute(f"insert into {_READ} select {key} from {SENT}".encode())
        conn.execute(f"insert into {_SUSPECTS} select {listed} {compared_rows(action, table)}".encode())
        copy_texts(conn, _LEFT_OUT, found.left_out)
        copy_texts(conn, _UNDECIDED, found.undecided)
        rows += found.read
        if end is None:
            return rows
        position = end
        if time.monotonic() - looked > _EVERY:
            reading.catch_up(action)
            looked = time.monotonic()


def _differences(conn: Connection, action: RowTransfer, table: str, rows: int) -> Differences:
    key = [quote(name) for name in action.target_key]

    def there(name: str, row: str) -> str:
        return f"exists (select from {name} x where {' and '.join(f'x.{one} = {row}.{one}' for one in key)})"

    def named(name: str, row: str) -> str:
        return f"exists (select from {name} x where x.key = {row}.key)"

    def counted(what: str, noted: str) -> tuple[int, int]:
        """Return how many have no note, and how many have one."""
        query = f"select count(*) filter (where not noted), count(*) filter (where noted) from (select {noted} as noted"
        row = conn.execute(f"{query} from {what}) as found".encode()).fetchone()
        assert row is not None
        return row[0], row[1]

    differing, later = counted(f"{_SUSPECTS} s", there(_NOTED, "s"))
    undecided, undecided_later = counted(f"{_UNDECIDED} u", named(_TEXTS, "u"))
    superfluous, going = counted(f"{table} t where not {there(_READ, 't')}", there(_NOTED, "t"))
    not_noted, _ = counted(f"{_LEFT_OUT} l where not {named(action.rejected, 'l')}", named(_TEXTS, "l"))
    rejections = f"(select distinct key from {action.rejected}) r"
    not_rejected, _ = counted(f"{rejections} where not {named(_LEFT_OUT, 'r')}", named(_TEXTS, "r"))
    texts = ", ".join(f"s.{one}::text" for one in key)
    shown = f"select {texts} from {_SUSPECTS} s where not {there(_NOTED, 's')} order by {texts} limit {EXAMPLES}"
    examples = [key_text(tuple(row)) for row in conn.execute(shown.encode())]
    present, rejected = (
        conn.execute(f"select count(*) from {name}".encode()).fetchone() for name in (table, _LEFT_OUT)
    )
    assert present is not None
    assert rejected is not None
    return Differences(
        rows=rows,
        rejected=rejected[0],
        differing=differing + undecided,
        present=present[0],
        expected=present[0] - superfluous,
        not_noted=not_noted + not_rejected,
        unsettled=later + undecided_later + going,
        examples=tuple(examples),
    )


def _bare(name: str) -> str:
    return name.removeprefix("pg_temp.")
