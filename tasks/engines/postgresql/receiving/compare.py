"""Compare every row of the source with its row here: to the byte, through what made it.

A range is sent once more, into a temporary table with the same columns, and held against the rows of its keys. As many
rows as differ in none belong here: so what is too many shows in their number.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.receiving.load import send
from tasks.engines.postgresql.receiving.source import Reading
from tasks.engines.postgresql.rejections import key_text
from tasks.engines.records import Key, Line
from tasks.model.base import Record
from tasks.model.errors import StateError
from tasks.model.names import quote
from tasks.model.plan import differing
from tasks.model.transfer_steps import RowTransfer

ROWS: Final = 20_000
"""Rows at a time."""
EXAMPLES: Final = 10
_SENT: Final = "pg_temp._changeover_sent"


class Differences(Record):
    """What came of a comparison."""

    rows: int
    """Of the source, as far as they are to be copied."""
    rejected: int
    differing: int
    """Rows of the source without a row here, or with another one."""
    present: int
    """Rows here."""
    not_noted: int
    """Rejected rows without a note, and notes without a rejected row."""
    examples: tuple[str, ...]
    """Keys of rows that differ."""

    @property
    def superfluous(self) -> int:
        """How many rows there are too many or, where it is negative, too few."""
        return self.present - (self.rows - self.rejected)

    @property
    def equal(self) -> bool:
        """Every row is there, exactly, and nothing else is."""
        return not (self.differing or self.superfluous or self.not_noted)


@dataclass
class _Found:
    read: int = 0
    rejected: int = 0
    noted: int = 0
    differing: int = 0
    examples: list[str] = field(default_factory=list)


def compare(conn: Connection, reading: Reading, action: RowTransfer, table: str) -> Differences:
    """Compare all rows of the source with those of a table, quoted and qualified. Locks: ACCESS SHARE."""
    conn.execute("set row_security = off; set jit = off; set statement_timeout = 0")
    # A range has few rows and no statistics: each is looked up by its key.
    conn.execute("set enable_hashjoin = off; set enable_mergejoin = off")
    # Without the demands of the table: a column that somebody has added gets nothing here.
    columns = ", ".join(quote(one.name) for one in action.columns)
    sent = f"create temporary table {_SENT.removeprefix('pg_temp.')} as select {columns} from {table} with no data"
    conn.execute(sent.encode())
    found = _Found()
    position: Key | None = None
    while True:
        end = reading.end_of_batch(action, position, None, ROWS)
        _range(conn, reading.lines(action, position, end), action, table, found)
        if end is None:
            break
        position = end
    total = conn.execute(f"select count(*) from {table}").fetchone()
    notes = conn.execute(f"select count(distinct key) from {action.rejected}").fetchone()
    assert total is not None
    assert notes is not None
    return Differences(
        rows=found.read,
        rejected=found.rejected,
        differing=found.differing,
        present=total[0],
        not_noted=(found.rejected - found.noted) + (notes[0] - found.noted),
        examples=tuple(found.examples),
    )


def refuse_other_columns(conn: Connection, action: RowTransfer, table: str) -> None:
    """Refuse a table, quoted and qualified, whose columns are not those of the copy: raises StateError with them.

    What somebody has written into others, the source knows nothing of: it cannot be counted.
    """
    rows = conn.execute(
        "select attname from pg_catalog.pg_attribute where attrelid = pg_catalog.to_regclass(%s) and attnum > 0"
        " and not attisdropped order by attnum",
        (table,),
    ).fetchall()
    found, ours = [row[0] for row in rows], [one.name for one in action.columns]
    added, gone = ([name for name in one if name not in other] for one, other in ((found, ours), (ours, found)))
    if added or gone:
        told = [f"{what}: {', '.join(names)}" for what, names in (("added", added), ("gone", gone)) if names]
        raise StateError(
            f"the columns are no longer those of the copy, and what was written into them would be lost:"
            f" {'; '.join(told)}",
            where=action.into.full_name,
            hint="Copy what you want to keep; then accept what is lost with --accept-loss.",
        )


def _range(conn: Connection, lines: Iterator[Line], action: RowTransfer, table: str, found: _Found) -> None:
    left_out: list[str] = []

    def kept() -> Iterator[Line]:
        for one in lines:
            found.read += 1
            if not one.touched:
                yield one
            elif any(touched.policy == "fail" for touched in one.touched):
                _differs(found, key_text(one.key))
            else:
                left_out.append(key_text(one.key))

    conn.execute(f"truncate {_SENT}")
    send(conn, _SENT, action, kept())
    columns = [quote(one.name) for one in action.columns]
    key = [quote(name) for name in action.target_key]
    same = " and ".join(f"t.{name} = s.{name}" for name in key)
    there, sent = (", ".join(f"{side}.{name}" for name in columns) for side in "ts")
    for row in conn.execute(
        f"select {', '.join(f's.{name}::text' for name in key)} from {_SENT} s left join {table} t on {same}"
        f" where t.{key[0]} is null or {differing(there, sent, exact=True)}"
    ):
        _differs(found, key_text(tuple(row)))
    found.rejected += len(left_out)
    noted = conn.execute(
        f"select count(distinct key) from {action.rejected} where key = any(%s)", (left_out,)
    ).fetchone()
    found.noted += noted[0] if noted else 0


def _differs(found: _Found, key: str) -> None:
    found.differing += 1
    if len(found.examples) < EXAMPLES:
        found.examples.append(key)
