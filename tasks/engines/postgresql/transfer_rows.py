"""Read rows in the form from which a value of another database can be made exactly."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.key_ranges import condition, key_literal, tuple_of
from tasks.engines.records import Key
from tasks.model.names import quote
from tasks.model.transfer_steps import NOTE, DocumentTransfer, EmbeddedRows, TransferField

_KEY, _VALUE, _ORDER = "_changeover_k", "_changeover_v", "_changeover_o"
_MADE, _SIZE = "_changeover_j", "_changeover_s"
TOO_MANY: Final = "0"
"""What stands for rows that are not sent, for their document would be too large."""
MOST_TEXT: Final = 64 * 1024 * 1024
"""Bytes of such rows as JSON; the server makes no value of more than 1 GiB, and all of it is held in memory here."""
_MOST_BYTES: Final = 16 * 1024 * 1024
"""Of a document."""
_ELEMENT: Final = 8
"""Bytes of an element of an array that is an empty document: type, number and length, each with its end."""
_HELD: Final = 100
"""Rows that are fetched together."""
_WITH_OTHERS: Final = 10
"""Of those that may have many of another table with them."""
OUTER: Final = "_changeover_p"
"""What columns of the row are called, and where they are, for those who read rows of another table with it."""
ALL: Final = "_changeover_all"
"""Of a table of notes: the whole table was emptied."""
EMBEDDED: Final = "_changeover_embedded"
"""With it: not that table, but one whose rows are embedded. Then the key is how far its rows were read anew since."""

LOOKUP: Final = "_changeover_lookup"
"""With it, where it is not 0: the row of another table was written from which a value is looked up; see `LOOKED_UP`."""
LOOKED_UP: Final = "_changeover_looked_up"
"""The key of that row, as text."""


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


@contextmanager
def one_by_one(conn: Connection, action: DocumentTransfer, which: str) -> Iterator[Iterator[tuple[Any, ...]]]:
    """Read rows of one snapshot as they are asked for: few are held, whatever their size. Within a transaction."""
    with conn.cursor("changeover_rows") as cursor:
        cursor.itersize = _WITH_OTHERS if action.embedded else _HELD
        yield iter(cursor.execute(selection(action, which).encode()))


def among(action: DocumentTransfer, keys: Sequence[Key]) -> str:
    """Return the condition that a row, or a note, has one of these keys."""
    return f"{tuple_of(action)} in (values {', '.join(key_literal(action, key) for key in keys)})"


def noted(conn: Connection, action: DocumentTransfer, which: str) -> list[tuple[Any, ...]]:
    """Return key and `_id` of the rows that some notes tell of."""
    return conn.execute(identities(action, which)).fetchall()


def identities(action: DocumentTransfer, which: str) -> str:
    """Return the query of key and `_id` of the rows that notes tell of, each once, as if the rows were still there."""
    return f"select distinct * from ({selection(action.as_noted, f'not {ALL} and {which}')}) as n"


def pending(conn: Connection, action: DocumentTransfer, keys: Sequence[Key]) -> set[Key]:
    """Return those of these keys of which it is noted that their documents become others.

    They are told apart as they are asked for: a note may have a key that is equal and looks otherwise.
    """
    if not keys:
        return set()
    columns = ", ".join(f"{_KEY}{number}" for number in range(len(action.key)))
    values = ", ".join(f"({n}, {key_literal(action, key)[1:]}" for n, key in enumerate(keys))
    asked = f"(values {values}) as v ({_ORDER}, {columns})"
    noted = ", ".join(f"n.{quote(column)}" for column in action.key)
    # The offset lets each be looked up by the index: nobody has counted the notes, and all of them would be hashed.
    queries = [
        f"select {_ORDER} from {asked} where exists (select from {action.notes} as n where not n.{ALL}"
        f" and n.{LOOKUP} = 0 and ({noted}) = ({columns}) offset 0)"
    ]
    for number in range(1, len(action.lookups) + 1):
        told = f"select {LOOKED_UP} from {action.notes} where {LOOKUP} = {number}"
        source, of = _referring(action, number, told)
        queries.append(f"select {_ORDER} from {asked} join {source} on ({', '.join(of)}) = ({columns})")
    # One by one: each has a plan of its own, by the index of the notes, and of those that refer to a row.
    return {keys[int(row[0])] for query in queries for row in conn.execute(query).fetchall()}


def note_referring(conn: Connection, action: DocumentTransfer) -> int:
    """Note the rows in whose documents a value is of rows that were written, instead of those; return the first number.

    Of all such notes at once, and not the rows that are noted anyhow: however often a row is written that many refer
    to, each of them is noted once. 0: there was no such note.
    """
    first = []
    for number in range(1, len(action.lookups) + 1):
        gone = f"delete from {action.notes} where {LOOKUP} = {number} returning {NOTE}, {LOOKED_UP}"
        source, of = _referring(action, number, f"select {LOOKED_UP} from gone")
        noted = ", ".join(f"p.{quote(column)}" for column in action.key)
        there = (
            f"select from {action.notes} as p where not p.{ALL} and p.{LOOKUP} = 0 and ({noted}) = ({', '.join(of)})"
        )
        names = ", ".join(map(quote, action.key))
        row = conn.execute(
            f"with gone as ({gone}), made as (insert into {action.notes} ({names})"
            f" select distinct {', '.join(of)} from {source} where not exists ({there}))"
            f" select min({NOTE}) from gone"
        ).fetchone()
        first += [row[0]] if row and row[0] else []
    return min(first, default=0)


def _referring(action: DocumentTransfer, number: int, told: str) -> tuple[str, list[str]]:
    """Return the source of rows that refer to what is `told`, keys as texts, and their columns that are our key."""
    lookup, rows = action.lookups[number - 1]
    keys = rows.columns if rows is not None else action.key
    met = [
        f"t.{quote(column)} = l.{LOOKED_UP}[{place}]::{type_}"
        for place, (column, type_) in enumerate(zip(lookup.columns, lookup.types, strict=True), 1)
    ]
    of = [f"t.{quote(column)}" for column in keys]
    # A row that is written all the time is looked for once.
    source = rows.table if rows is not None else action.table
    there = f"pg_catalog.num_nulls({', '.join(of)}) = 0"
    return (
        f"(select distinct {LOOKED_UP} from ({told}) as o) as l join {source} as t on {' and '.join([*met, there])}",
        of,
    )


def outer(alias: str, columns: Sequence[str]) -> str:
    """Return columns of the row as a source of their own: an inner table may be called as the one of the row is."""
    named = [f"{quote(alias)}.{quote(column)} as {OUTER}{number}" for number, column in enumerate(columns)]
    return f"(select {', '.join(named)}) as {OUTER}"


def embedding(rows: EmbeddedRows, alias: str, met: Sequence[tuple[str, str]], order: Sequence[str]) -> str:
    """Return the expression that gives rows of another table as JSON: a list of texts for each, or NULL for none.

    `met`: columns of the row, which is called `alias`, with those of the other table that refer to them. In the texts
    each field that is read has what `_wire` gives, and its text or NULL. Instead of more rows than fit into any
    document, or of too much text, `TOO_MANY`: of these the server keeps, and sends, nothing.
    """
    inner = rows.alias
    read = [field for field in rows.fields if field.expression]
    values = [f"({field.expression}\n) as {_VALUE}{number}" for number, field in enumerate(read)]
    values += [f"{quote(inner)}.{quote(column)} as {_ORDER}{number}" for number, column in enumerate(order)]
    texts = [
        text
        for number, field in enumerate(read)
        for text in (_as_text(field, f"{_VALUE}{number}"), _text(field, f"{_VALUE}{number}"))
    ]
    same = [f"{quote(inner)}.{quote(theirs)} = {OUTER}.{OUTER}{number}" for number, (_, theirs) in enumerate(met)]
    kept = f" and ({rows.where}\n)" if rows.where else ""
    ordered = ", ".join(f"{_ORDER}{number}" for number in range(len(order)))
    most = most_rows(rows)
    each = (
        f"select pg_catalog.to_json(array[{', '.join(texts)}]::pg_catalog.text[]) as {_MADE}, {ordered}"
        f" from (select {', '.join(values)} from {rows.table} as {quote(inner)}"
        f" where {' and '.join(same)}{kept}) as r limit {most}"
    )
    size = f"pg_catalog.sum(pg_catalog.octet_length({_MADE}::pg_catalog.text)) over (rows unbounded preceding)"
    return (
        f"(select case when count(*) = {most} or pg_catalog.max({_SIZE}) > {MOST_TEXT} then '{TOO_MANY}'"
        f" else pg_catalog.json_agg({_MADE} order by {ordered}) filter (where {_SIZE} <= {MOST_TEXT})::pg_catalog.text"
        f" end from {outer(alias, [mine for mine, _ in met])},"
        f" lateral (select {_MADE}, {ordered}, {size} as {_SIZE} from ({each}) as e) as r)"
    )


def most_rows(rows: EmbeddedRows) -> int:
    """Return a number of such rows that fits into no document, whatever is in them."""
    always = [field for field in rows.fields if field.holds == "constant" or field.nulls == "keep"]
    # Each with its type, its name and their end.
    return _MOST_BYTES // (_ELEMENT + sum(len(field.path[-1].encode()) + 2 for field in always)) + 1


def _as_text(field: TransferField, value: str) -> str:
    """Return what a field of such a row is sent as: all of it is text."""
    if field.holds in ("binary", "objectId") and field.source_type == "bytea":
        return f"pg_catalog.encode({value}, 'hex')"
    if field.source_type == "character" and field.holds in ("string", "objectId"):
        # A cast to text would cut the spaces off; this does not, and makes '' of NULL.
        return f"case when {value} is not null then pg_catalog.concat({value}) end"
    return f"({_wire(field, value)})::pg_catalog.text"


def _wire(field: TransferField, value: str) -> str:
    match field.holds:
        case "date":
            return f"(extract(epoch from {value}) * 1000000)::pg_catalog.text"
        case "decimal" | "json" | "extended_json" | "rows":
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
