"""PostgreSQL values that can be compared: exact text, exact bytes, digests without a blind spot.

`sum(hash_record_extended(t, 0))`, which many use, is blind: it gives 5 and -5 (numeric), and -1 and 4294967295
(bigint), the same hash; and because it adds up the hashes of columns, two rows that have exchanged a value leave
the sum modulo 2**64, and often the sum, as it was. So types whose hash is not exact go in by their binary form,
and the key of a row is the seed of all its hashes: a value counts differently in another row.
"""

from collections.abc import Sequence

from validations.parity.pairing import Pair, Pairing
from validations.parity.relation import Column
from validations.parity.terms import BUCKETS, Terms

INTEGERS = frozenset({"int2", "int4", "int8"})
_FLOATS = frozenset({"float4", "float8"})
_STRINGS = frozenset({"text", "varchar"})
# Their hash functions see every bit, and see nothing that depends on the database.
_AS_THEY_ARE = frozenset({"bool", "int2", "int4", "oid", "date", "uuid", "bytea", "char"})
# Their binary form holds more than their value: a bitmap of nulls where no null is left, bounds as floats.
_BY_TEXT = ("_", "reg")
FIRST_OF_OTHERS = 10_000
"""Types from this OID on have another OID in another database."""


def binary_of(sql: str, kind: str, oid: int, send: str | None, *, ordinary: bool, exact_collation: bool) -> str | None:
    """Return SQL for the exact bytes of a value of a base type, alike in every database; None without such.

    `ordinary`: neither range nor composite; `exact_collation`: what compares as equal has the same bytes.
    """
    if kind in _STRINGS:
        return sql if exact_collation else f'{sql} collate "C"'
    if kind in _AS_THEY_ARE:
        return sql
    if kind in _FLOATS:
        # There are many NaN; the text of all of them is the same.
        return f"pg_catalog.{kind}send(case when {sql} = 'NaN' then 'NaN' else {sql} end)"
    if send is None or oid >= FIRST_OF_OTHERS or not ordinary or kind.startswith(_BY_TEXT):
        return None
    return f"{send}({sql})"


def by_value(column: Column) -> str:
    """Return SQL for a text that is the same for all values that PostgreSQL calls equal."""
    sql = column.sql
    if column.kind in ("numeric", *INTEGERS):
        return f"pg_catalog.trim_scale({sql}::numeric)::text"
    if column.kind in _FLOATS:
        return f"({sql}::float8 + 0)::text"
    if column.kind == "interval":
        return f"pg_catalog.justify_interval({sql})::text"
    if column.kind == "bpchar":
        return f"{sql}::text"
    if column.kind == "json":
        return f"{sql}::jsonb::text"
    return column.text


def text_of(pair: Pair, side: str, *, values_equal: bool) -> str:
    """Return SQL for the text by which a column of one side is compared with the other's."""
    own: Column = getattr(pair, side)
    if values_equal:
        return by_value(own)
    if pair.a.kind != pair.b.kind and {pair.a.kind, pair.b.kind} <= _FLOATS:
        # The shortest text of 0.1 is the same in both types, and the values are not.
        return f"({own.sql}::float8)::text"
    return own.text


def element_of(pair: Pair, side: str, *, values_equal: bool, recode: bool) -> str:
    """Return SQL for what goes into a digest."""
    own: Column = getattr(pair, side)
    text = text_of(pair, side, values_equal=values_equal)
    if recode:
        return f"pg_catalog.convert_to({text}, 'UTF8')"
    if values_equal or pair.a.kind != pair.b.kind or pair.a.binary is None or pair.b.binary is None:
        return text
    assert own.binary is not None
    return own.binary


def terms(pairing: Pairing, side: str, *, shift: int | None, values_equal: bool, recode: bool) -> Terms:
    """Return the expressions of one side; `recode`: the databases have different encodings."""
    key = [getattr(pair, side) for pair in pairing.key]
    texts = [text_of(pair, side, values_equal=values_equal) for pair in pairing.key]
    elements = [element_of(pair, side, values_equal=values_equal, recode=recode) for pair in pairing.values]
    if not key:
        digest = _whole(elements)
        bucket = f"({digest}) & {BUCKETS - 1}"
    else:
        seed = _seed(pairing.key, side, texts, recode=recode)
        # The constant brings the key in where all else is null.
        digest = f"pg_catalog.hash_record_extended(row({', '.join(['true', *elements])}), {seed})"
        bucket = f"{seed} & {BUCKETS - 1}" if shift is None else f"{key[0].sql}::bigint >> {shift}"
    return Terms(
        key=tuple(texts),
        casts=tuple(column.type for column in key),
        columns=tuple(column.sql for column in key),
        values=tuple(text_of(pair, side, values_equal=values_equal) for pair in pairing.values),
        digest=digest,
        bucket=bucket,
        shift=shift,
    )


def _whole(elements: Sequence[str]) -> str:
    # As one value, so that its 64 bits depend on all columns together; nulls and lengths are part of the form.
    return f"pg_catalog.hash_record_extended(row(pg_catalog.record_send(row({', '.join(elements)}))), 0)"


def _seed(key: Sequence[Pair], side: str, texts: Sequence[str], *, recode: bool) -> str:
    """Return SQL for 64 bits of the key, which none of its columns can be null in."""
    if len(key) == 1 and {key[0].a.kind, key[0].b.kind} <= INTEGERS:
        return f"{getattr(key[0], side).sql}::bigint"
    seed = "0"
    for pair, text in zip(key, texts, strict=True):
        own = getattr(pair, side)
        if pair.a.kind == pair.b.kind == "uuid":
            seed = f"pg_catalog.uuid_hash_extended({own.sql}, {seed})"
        elif recode:
            seed = f"pg_catalog.hash_record_extended(row(pg_catalog.convert_to({text}, 'UTF8')), {seed})"
        else:
            seed = f'pg_catalog.hashtextextended({text} collate "C", {seed})'
    return seed
