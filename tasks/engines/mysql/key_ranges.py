"""Walking along the primary key in ranges: find the end of a range first, then work on `low < key <= high`.

Keys travel as text. MariaDB uses no index for `(a, b) > (1, 2)`, so rows are compared column by column.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from tasks.engines.mysql.names import quote, text_literal
from tasks.engines.mysql.session import MariaSession
from tasks.engines.records import Key, Range
from tasks.model.steps import Copy
from tasks.model.transfer_steps import Transfer

Walk = Copy | Transfer

NUMBER, BINARY, TEXT = "number", "binary", "text"
"""What the type of a key column is, as far as its text is concerned."""
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def kind_of(column_type: str) -> str:
    """Tell how values of a type become text and come back. Raises KeyError for a type that is no good key."""
    word = re.match(r"[a-z]+", column_type.lower())
    name = word[0] if word else ""
    if name in ("tinyint", "smallint", "mediumint", "int", "bigint", "decimal"):
        return NUMBER
    if name in ("binary", "varbinary"):
        return BINARY
    if name in ("char", "varchar", "date", "datetime", "timestamp", "uuid", "inet"):
        return TEXT
    raise KeyError(name)


def value(text: str, kind: str) -> str:
    """Write a value of a key as SQL."""
    if kind == NUMBER:
        assert _NUMBER.fullmatch(text), "not a number"
        return text
    if kind == BINARY:
        return f"0x{text}" if text else "''"
    return text_literal(text)


def key_text(column: str, kind: str) -> str:
    """Return SQL for the text of a key column."""
    return f"hex({quote(column)})" if kind == BINARY else f"cast({quote(column)} as char)"


def condition(action: Walk, low: Sequence[str] | None, high: Sequence[str] | None) -> str:
    """`low < key <= high`, either end open when None."""
    parts = []
    if low is not None:
        parts.append(_beyond(action, low, ">", last=">"))
    if high is not None:
        parts.append(_beyond(action, high, "<", last="<="))
    return " and ".join(parts) or "true"


def _beyond(action: Walk, key: Sequence[str], sign: str, *, last: str) -> str:
    columns = [quote(column) for column in action.key]
    values = [value(text, kind) for text, kind in zip(key, action.key_types, strict=True)]
    cases = []
    for number, column in enumerate(columns):
        same = [f"{columns[i]} = {values[i]}" for i in range(number)]
        here = last if number == len(columns) - 1 else sign
        cases.append(" and ".join([*same, f"{column} {here} {values[number]}"]))
    # The first column alone, once more: what an index can be searched by.
    return f"{columns[0]} {sign}= {values[0]} and ({' or '.join(cases)})"


def equal_to(action: Walk, keys: Sequence[Sequence[str]]) -> str:
    """The rows of these keys, and no other."""
    return " or ".join(
        "(" + " and ".join(
            f"{quote(column)} = {value(text, kind)}"
            for column, text, kind in zip(action.key, key, action.key_types, strict=True)
        ) + ")"
        for key in keys
    )  # fmt: skip


def one_of(action: Walk, keys: Sequence[Sequence[str]]) -> str:
    """The rows of these keys, written so that many cost a row little: the server sorts them, and looks it up."""
    listed = ", ".join(
        "(" + ", ".join(value(text, kind) for text, kind in zip(key, action.key_types, strict=True)) + ")"
        for key in keys
    )
    return f"({', '.join(map(quote, action.key))}) in ({listed})"


def keys_within(
    conn: MariaSession, action: Walk, low: Sequence[str] | None, high: Sequence[str] | None, most: int
) -> tuple[Key, ...]:
    """Return up to `most` keys of a range, in no order."""
    return tuple(_keys(conn, action, f"where {condition(action, low, high)} limit {most}"))


def end_of_batch(
    conn: MariaSession, action: Walk, low: Sequence[str] | None, high: Sequence[str] | None, rows: int
) -> Key | None:
    """Return the key of the row `rows` further on; None when fewer are left before `high`."""
    order = ", ".join(quote(column) for column in action.key)
    return _key(conn, action, f"where {condition(action, low, high)} order by {order} limit 1 offset {rows - 1}")


def count(conn: MariaSession, action: Walk, low: Sequence[str] | None, high: Sequence[str] | None) -> int:
    """Return how many rows a range has."""
    within = f"force index (primary) where {condition(action, low, high)}"
    row = conn.execute(f"select count(*) from {action.table} {within}").fetchone()
    return int(row[0])


def shard(conn: MariaSession, action: Walk, shards: int) -> list[Range]:
    """Return ranges that cover every key up to the present greatest, each once.

    The end is taken once, after dual write is committed: whatever comes after it has met the triggers.
    """
    high = last_key(conn, action)
    if high is None:
        return []
    bounds: list[Key] = []
    rows = int(conn.execute(f"select count(*) from {action.table}").fetchone()[0]) if shards > 1 else 0
    for number in range(1, shards):
        bound = end_of_batch(conn, action, None, high, max(rows * number // shards, 1))
        if bound is not None and bound != high and (not bounds or bound != bounds[-1]):
            bounds.append(bound)
    ends: list[Key | None] = [None, *bounds, high]
    return list(pairwise(ends))


def last_key(conn: MariaSession, action: Walk) -> Key | None:
    """Return the greatest key there is; None for an empty table."""
    order = ", ".join(f"{quote(column)} desc" for column in action.key)
    return _key(conn, action, f"order by {order} limit 1")


def _key(conn: MariaSession, action: Walk, tail: str) -> Key | None:
    return next(iter(_keys(conn, action, tail)), None)


def _keys(conn: MariaSession, action: Walk, tail: str) -> list[Key]:
    listed = ", ".join(key_text(column, kind) for column, kind in zip(action.key, action.key_types, strict=True))
    rows = conn.execute(f"select {listed} from {action.table} force index (primary) {tail}").fetchall()
    return [tuple(map(str, row)) for row in rows]
