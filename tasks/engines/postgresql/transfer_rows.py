"""Read rows in the form from which a value of another database can be made exactly."""

from collections.abc import Sequence
from typing import Any

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.key_ranges import condition
from tasks.model.names import quote
from tasks.model.plan import Transfer, TransferField

_KEY, _VALUE = "_changeover_k", "_changeover_v"


def prepare(conn: Connection) -> None:
    """Make a session one that reads all rows: hidden ones would silently be missing."""
    conn.execute("set row_security = off; set jit = off; set statement_timeout = 0")


def selection(action: Transfer, low: Sequence[str] | None, high: Sequence[str] | None) -> str:
    """Return the query of a range: the key as text, then the value of each field that is read, and its text or NULL."""
    read = [field for field in action.fields if field.expression]
    keys = [f"{quote(column)}::pg_catalog.text as {_KEY}{n}" for n, column in enumerate(action.key)]
    values = [f"({field.expression}\n) as {_VALUE}{n}" for n, field in enumerate(read)]
    outer = [f"{_KEY}{n}" for n in range(len(action.key))]
    for number, field in enumerate(read):
        outer += [_wire(field, f"{_VALUE}{number}"), _text(field, f"{_VALUE}{number}")]
    kept = f" and ({action.where}\n)" if action.where else ""
    return (
        f"select {', '.join(outer)} from (select {', '.join([*keys, *values])}"
        f" from {action.table} as {quote(action.alias)} where {condition(action, low, high)}{kept}) as r"
    )


def rows(
    conn: Connection, action: Transfer, low: Sequence[str] | None, high: Sequence[str] | None
) -> list[tuple[Any, ...]]:
    """Return the rows of a range that are to be copied, of one snapshot."""
    return conn.execute(selection(action, low, high)).fetchall()


def _wire(field: TransferField, value: str) -> str:
    match field.holds:
        case "date":
            return f"(extract(epoch from {value}) * 1000000)::pg_catalog.text"
        case "decimal" | "json":
            return f"{value}::pg_catalog.text"
        case "double":
            # What a real holds is what it is as a double, not what its shortest text says.
            return f"{value}::pg_catalog.float8"
        case "string" if field.source_type == "character":
            # A cast to text would cut the spaces off.
            return value
        case "string":
            return f"{value}::pg_catalog.text"
        case _:
            return value


def _text(field: TransferField, value: str) -> str:
    return f"{value}::pg_catalog.text" if field.unfit in ("string", "tag") else "null"
