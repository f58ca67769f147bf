"""Rows that a policy leaves out of a copy into another database, and the account of all of them."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.records import Key, Touched
from tasks.model.errors import DataChanged, StepError

_LONGEST: Final = 2000
_SHOWN: Final = 500
"""Bytes of a key in an index, and of one that is longer."""


def refuse_undecided(table: str, touched: Sequence[Touched]) -> None:
    """Raise StepError where a value of a row does not fit, and nothing says what becomes of it."""
    undecided = [one for one in touched if one.policy == "fail"]
    if undecided:
        reasons = "; ".join(f"{one.field}: {one.reason}" for one in undecided)
        raise StepError(
            f"a row came that does not fit, and nothing says what becomes of it: {reasons}",
            where=table,
            hint="Correct the row and run again; or roll back, and give `unfit` for that field.",
            changed=DataChanged.PARTIALLY,
        )


def note_rejected(conn: Connection, into: str, rows: Iterable[tuple[Key, Sequence[Touched]]]) -> None:
    """Write down which rows were left out, and why, one note for each of their fields that is to blame."""
    notes = [
        (key_text(key), one.field, one.reason) for key, touched in rows for one in touched if one.policy == "reject"
    ]
    if notes:
        with conn.cursor() as cursor:
            cursor.executemany(
                f"insert into {into} (key, field, reason) values (%s, %s, %s)"
                " on conflict (key, field) do update set reason = excluded.reason",
                notes,
            )


def refuse_lost(table: str, read: int, written: int, rejected: int) -> None:
    """Raise StepError unless the rows read are the rows written and the rows rejected."""
    if read != written + rejected:
        raise StepError(
            f"of {read:,} rows {written:,} were written and {rejected:,} rejected: the rest is lost",
            where=table,
            hint="Somebody else writes to what the rows are copied into. Roll back, then run again.",
            changed=DataChanged.PARTIALLY,
        )


def key_text(key: Key) -> str:
    """Return a key as the table of rejected rows holds it: its columns, as PostgreSQL's text of a row shows them.

    Of a long one its beginning and a digest: no index holds more.
    """
    text = key[0] if len(key) == 1 else "(" + ",".join('"' + one.replace('"', '""') + '"' for one in key) + ")"
    encoded = text.encode()
    if len(encoded) <= _LONGEST:
        return text
    return f"{encoded[:_SHOWN].decode(errors='ignore')}... sha256 {hashlib.sha256(encoded).hexdigest()}"


def can_be_noted(text: str) -> bool:
    """Tell whether a key, as text, can stand in the table of rejected rows: with U+0000 in it, it cannot."""
    return "\x00" not in text
