"""Let PostgreSQL make the documents itself, as bytes of BSON: what it cannot make exactly is left to `document`.

A gate compares every document with what `document` makes of its row, to the byte: two codes say the same, or the run
does not go on.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Final

import bson
import psycopg

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.key_ranges import condition
from tasks.engines.records import Key
from tasks.engines.session import Session
from tasks.model.names import quote
from tasks.model.transfer_steps import DocumentTransfer, TransferField

_SINCE: Final = 180_000
"""The first version that can turn bytes round."""
_KEY, _VALUE, _TEXT, _INNER, _MADE = (f"_changeover_{one}" for one in ("k", "v", "t", "n", "d"))
_LENGTH: Final = struct.Struct("<i")
_DIGITS: Final = 18
"""So many, with sign and point, are an integer of 64 bits."""
_BIAS: Final = 6176
"""Of the exponent of a decimal."""
_KINDS: Final = {
    "int32": b"\x10",
    "int64": b"\x12",
    "double": b"\x01",
    "boolean": b"\x08",
    "string": b"\x02",
    "binary": b"\x05",
    "uuid": b"\x05",
    "date": b"\x09",
    "decimal": b"\x13",
    "objectId": b"\x07",
}
_EMPTY, _ZERO = (f"'{one}'::pg_catalog.bytea" for one in ("", "\\x00"))
_NULL, _DOCUMENT = b"\x0a", b"\x03"
_MOMENT: Final = (
    "pg_catalog.isfinite({value})%s"
    " then {head} || pg_catalog.reverse(pg_catalog.int8send((extract(epoch from {value}) * 1000)::pg_catalog.int8))"
)
_DAY: Final = f"when {_MOMENT % ''}"
_NUMBER: Final = "pg_catalog.replace({text}, '.', '')::pg_catalog.int8"
"""Digits without a point are the coefficient of a decimal."""
_MADE_OF: Final = {
    "int32": "else {head} || pg_catalog.reverse(pg_catalog.int4send({value}))",
    "int64": "else {head} || pg_catalog.reverse(pg_catalog.int8send({value}))",
    # Of those that are not a number, PostgreSQL may hold others than it shows.
    "double": "when {value} <> 'NaN' then {head} || pg_catalog.reverse(pg_catalog.float8send({value}))",
    "boolean": "else {head} || case when {value} then '\\x01'::pg_catalog.bytea else '\\x00'::pg_catalog.bytea end",
    "string": "else {head} || pg_catalog.reverse(pg_catalog.int4send(pg_catalog.octet_length({value}) + 1))"
    " || pg_catalog.{send}({value}) || '\\x00'::pg_catalog.bytea",
    "binary": "else {head} || pg_catalog.reverse(pg_catalog.int4send(pg_catalog.octet_length({value})))"
    " || '\\x00'::pg_catalog.bytea || {value}",
    "uuid": "else {head} || '\\x1000000004'::pg_catalog.bytea || pg_catalog.uuid_send({value})",
    "date": "when " + _MOMENT % " and pg_catalog.date_trunc('milliseconds', {value}) = {value}",
    # Of what is no number there is no scale.
    "decimal": f"when pg_catalog.scale({{value}}) is not null and pg_catalog.length({{text}}) <= {_DIGITS}"
    f" then {{head}} || pg_catalog.reverse(pg_catalog.int8send(pg_catalog.abs({_NUMBER})))"
    f" || pg_catalog.reverse(pg_catalog.int8send((({_BIAS} - pg_catalog.scale({{value}}))::pg_catalog.int8 << 49)"
    f" | case when {{value}} < 0 then '{-(2**63)}'::pg_catalog.int8 else 0 end))",
    "objectId": "when pg_catalog.length({value}) = 24"
    " and pg_catalog.length(pg_catalog.translate({value}, '0123456789abcdef', '')) = 0"
    " then {head} || pg_catalog.decode({value}, 'hex')",
}
"""The rest of a CASE that makes the bytes of a value that is there. PostgreSQL sends the greatest byte first."""
_OF_BYTES: Final = "when pg_catalog.octet_length({value}) = 12 then {head} || {value}"
_CASTS: Final = {"int32": "int4", "int64": "int8", "double": "float8", "boolean": "bool", "string": "text"}


def can_make(conn: Session, action: DocumentTransfer) -> bool:
    """Tell whether this server can make such documents: PostgreSQL 18 or newer, with texts in UTF-8."""
    if not isinstance(conn, psycopg.Connection):
        return False
    encoding = conn.info.parameter_status("server_encoding")
    return conn.info.server_version >= _SINCE and encoding == "UTF8" and _in_sql(action)


def ready(
    conn: Connection, action: DocumentTransfer, low: Sequence[str] | None, high: Sequence[str] | None
) -> tuple[list[bytes], list[Key]]:
    """Return the documents of a range that the server has made, and the keys of all other rows that are to be copied.

    All of one snapshot.
    """
    made: list[bytes] = []
    others: list[Key] = []
    with conn.cursor(binary=True) as cursor:
        for row in cursor.execute(query(action, condition(action, low, high)).encode()):
            if row[0] is None:
                others.append(tuple(row[1:]))
            else:
                made.append(_LENGTH.pack(len(row[0]) + 5) + row[0] + b"\0")
    return made, others


def query(action: DocumentTransfer, which: str) -> str:
    """Return the query of rows: what is in the document, or NULL; and where it is NULL the key, as text."""
    # Told apart by their bytes, whatever a collation calls equal.
    texts = [f'{_KEY}{n}::pg_catalog.text collate pg_catalog."C"' for n in range(len(action.key))]
    keys = ", ".join(f"case when {_MADE} is null then {text} end" for text in texts)
    inner, body = _nested(action)
    names = [f"{_KEY}{n}" for n in range(len(action.key))]
    kept = f" and ({action.where}\n)" if action.where else ""
    values = [f"{quote(column)} as {name}" for column, name in zip(action.key, names, strict=True)]
    values += [one for number, field in enumerate(action.fields) for one in _values(number, field)]
    # What is computed is not computed once more for each place that it stands in: OFFSET keeps them apart.
    rows = (
        f"(select {', '.join(values)} from {action.table} as {quote(action.alias)} where {which}{kept} offset 0) as r"
    )
    made = f"(select {', '.join(names)}, {body} as {_MADE} from {rows}{inner} offset 0) as m"
    return f"select {_MADE}, {keys} from {made}"


def _in_sql(action: DocumentTransfer) -> bool:
    """Tell whether every field is one that SQL can make, and fields of a nested document stand together."""
    if any(one.holds != "constant" and one.holds not in _KINDS for one in action.fields):
        return False
    if any(one.holds == "objectId" and one.source_type == "character" for one in action.fields):
        return False
    begun: set[tuple[str, ...]] = set()
    before: set[tuple[str, ...]] = set()
    for field in action.fields:
        outer = {field.path[:depth] for depth in range(1, len(field.path))}
        # One that was left cannot be gone on with: it stands where its first field came.
        if outer & begun - before:
            return False
        begun, before = begun | outer, outer
    return True


def _values(number: int, field: TransferField) -> Iterator[str]:
    if field.holds == "constant":
        return
    value = f"({field.expression}\n)"
    if field.holds in _CASTS and field.source_type != "character":
        value = f"{value}::pg_catalog.{_CASTS[field.holds]}"
    yield f"{value} as {_VALUE}{number}"
    if field.holds == "decimal":
        yield f"{value}::pg_catalog.text as {_TEXT}{number}"


def _nested(action: DocumentTransfer) -> tuple[str, str]:
    """Return what is joined to the rows for nested documents, those within others first; and what is in the outer."""
    joined: list[str] = []

    def body(fields: list[tuple[int, TransferField]], depth: int) -> str:
        parts: list[str] = []
        at = 0
        while at < len(fields):
            number, field = fields[at]
            if len(field.path) == depth + 1:
                parts.append(_element(number, field))
                at += 1
                continue
            name, end = field.path[depth], at
            while end < len(fields) and fields[end][1].path[depth] == name:
                end += 1
            inside = body(fields[at:end], depth + 1)
            made = f"{_INNER}{len(joined)}"
            joined.append(f" cross join lateral (select {inside} as {made} offset 0) as l{len(joined)}")
            parts.append(_whole(name, made))
            at = end
        return _together(parts)

    whole = body(list(enumerate(action.fields)), 0)
    return "".join(joined), whole


def _together(parts: Sequence[str]) -> str:
    """Join bytes in pairs: from left to right each part would be copied once for every one that comes after it."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({_together(parts[:half])} || {_together(parts[half:])})"


def _whole(name: str, made: str) -> str:
    """Return a nested document; nothing where no field of it is there."""
    length = f"pg_catalog.reverse(pg_catalog.int4send(pg_catalog.octet_length({made}) + 5))"
    made_up = f"{_bytes(_DOCUMENT + _named(name))} || {length} || {made} || {_ZERO}"
    return f"case when {made} = {_EMPTY} then {made} else {made_up} end"


def _element(number: int, field: TransferField) -> str:
    """Return the bytes of a field; NULL where SQL does not make them."""
    name = field.path[-1]
    if field.holds == "constant":
        return _bytes(bson.encode({name: field.constant})[4:-1])
    value, head = f"{_VALUE}{number}", _bytes(_KINDS[field.holds] + _named(name))
    nothing = _bytes(b"" if field.nulls == "missing" else _NULL + _named(name))
    send = "bpcharsend" if field.source_type == "character" else "textsend"
    rest = _OF_BYTES if field.holds == "objectId" and field.source_type == "bytea" else _MADE_OF[field.holds]
    made = (_DAY if field.source_type == "date" and field.holds == "date" else rest).format(
        head=head, value=value, text=f"{_TEXT}{number}", send=send
    )
    return f"case when {value} is null then {nothing} {made} end"


def _named(name: str) -> bytes:
    return name.encode() + b"\0"


def _bytes(some: bytes) -> str:
    return f"'\\x{some.hex()}'::pg_catalog.bytea"
