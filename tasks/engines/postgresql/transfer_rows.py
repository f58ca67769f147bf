"""Read rows in the form from which a value of another database can be made exactly."""

from collections.abc import Sequence
from typing import Any, Final

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.key_ranges import condition, key_literal, tuple_of
from tasks.engines.records import Key
from tasks.model.names import quote
from tasks.model.transfer_steps import DocumentTransfer, TransferField

_KEY, _VALUE = "_changeover_k", "_changeover_v"
ALL: Final = "_changeover_all"
"""Of a table of notes: the whole table was emptied."""


def prepare(conn: Connection) -> None:
    """Make a session one that reads all rows: hidden ones would silently be missing."""
    conn.execute("set row_security = off; set jit = off; set statement_timeout = 0")


def selection(action: DocumentTransfer, which: str) -> str:
    """Return the query of rows: the key as text, then the value of each field that is read, and its text or NULL."""
    read = [field for field in action.fields if field.expression]
    # Told apart by their bytes, whatever a collation calls equal.
    keys = [
        f'{quote(column)}::pg_catalog.text collate pg_catalog."C" as {_KEY}{n}' for n, column in enumerate(action.key)
    ]
    values = [f"({field.expression}\n) as {_VALUE}{n}" for n, field in enumerate(read)]
    outer = [f"{_KEY}{n}" for n in range(len(action.key))]
    for number, field in enumerate(read):
        outer += [_wire(field, f"{_VALUE}{number}"), _text(field, f"{_VALUE}{number}")]
    kept = f" and ({action.where}\n)" if action.where else ""
    return (
        f"select {', '.join(outer)} from (select {', '.join([*keys, *values])}"
        f" from {action.table} as {quote(action.alias)} where {which}{kept}) as r"
    )


def rows(
    conn: Connection, action: DocumentTransfer, low: Sequence[str] | None, high: Sequence[str] | None
) -> list[tuple[Any, ...]]:
    """Return the rows of a range that are to be copied, of one snapshot."""
    return conn.execute(selection(action, condition(action, low, high))).fetchall()


def rows_of(conn: Connection, action: DocumentTransfer, keys: Sequence[Key]) -> list[tuple[Any, ...]]:
    """Return the rows with these keys that are to be copied, of one snapshot."""
    return conn.execute(selection(action, among(action, keys))).fetchall() if keys else []


def among(action: DocumentTransfer, keys: Sequence[Key]) -> str:
    """Return the condition that a row, or a note, has one of these keys."""
    return f"{tuple_of(action)} in (values {', '.join(key_literal(action, key) for key in keys)})"


def noted(conn: Connection, action: DocumentTransfer, which: str) -> list[tuple[Any, ...]]:
    """Return key and `_id` of the rows that some notes tell of."""
    return conn.execute(identities(action, which)).fetchall()


def identities(action: DocumentTransfer, which: str) -> str:
    """Return the query of key and `_id` of the rows that notes tell of, each once, as if the rows were still there."""
    return f"select distinct * from ({selection(as_noted(action), f'not {ALL} and {which}')}) as n"


def as_noted(action: DocumentTransfer) -> DocumentTransfer:
    """Return what reads notes as if they were rows: they have the columns of the key, and so all that `_id` needs."""
    fields = tuple(field for field in action.fields if field.path[0] == action.fields[0].path[0])
    return action.model_copy(update={"table": action.notes, "where": "", "fields": fields})


def _wire(field: TransferField, value: str) -> str:
    match field.holds:
        case "date":
            return f"(extract(epoch from {value}) * 1000000)::pg_catalog.text"
        case "decimal" | "json" | "extended_json":
            return f"{value}::pg_catalog.text"
        case "double":
            # What a real holds is what it is as a double, not what its shortest text says.
            return f"{value}::pg_catalog.float8"
        case "string" | "objectId" if field.source_type == "character":
            # A cast to text would cut the spaces off.
            return value
        case "string":
            return f"{value}::pg_catalog.text"
        case _:
            return value


def _text(field: TransferField, value: str) -> str:
    return f"{value}::pg_catalog.text" if field.unfit in ("string", "tag") else "null"
