"""The same text and the same digest for the same value, said in the words of PostgreSQL and of MariaDB."""

from collections.abc import Mapping, Sequence
from typing import Final

from tasks.model.errors import PreflightError
from validations.parity.families import CLIENT, family_of
from validations.parity.pairing import Pair, Pairing
from validations.parity.relation import Column
from validations.parity.terms import BUCKETS, Terms

_DIGITS: Final = 15
"""Hexadecimal digits of a digest: 60 bits, which neither engine takes for a negative number."""


def terms(pairing: Pairing, side: str, engines: tuple[str, str], *, shift: int | None) -> Terms:
    """Return the expressions of one side. Raises PreflightError for columns that cannot be compared."""
    families = {one.name: family_of(one, engines) for one in pairing.all}
    _refuse_what_has_no_name(pairing, families)
    engine = engines[0] if side == "a" else engines[1]
    speak = _postgresql if engine == "postgresql" else _mariadb
    key: list[Column] = [getattr(one, side) for one in pairing.key]
    texts = {one.name: speak(getattr(one, side), families[one.name]) for one in pairing.all}
    key_texts = [texts[one.name] for one in pairing.key]
    digest = _digest(pairing.all, side, texts, families, engine)
    if not key:
        bucket = f"({digest}) % {BUCKETS}"
    elif shift is None:
        bucket = f"{_digest(pairing.key, side, texts, families, engine)} % {BUCKETS}"
    else:
        bucket = _floor(key[0].sql, shift, engine)
    return Terms(
        key=tuple(key_texts),
        casts=tuple(_cast(column, families[one.name], engine) for one, column in zip(pairing.key, key, strict=True)),
        columns=tuple(column.sql for column in key),
        values=tuple(texts[one.name] for one in pairing.values),
        digest=digest,
        bucket=bucket,
        shift=shift,
        families=tuple(families[one.name] for one in pairing.values),
    )


def _refuse_what_has_no_name(pairing: Pairing, families: dict[str, str]) -> None:
    named = [one.name for one in (pairing.key or pairing.values) if families[one.name] in CLIENT]
    if named:
        raise PreflightError(
            f"rows cannot be told by {', '.join(named)}: engines write the same value in different ways",
            where=", ".join(named),
            hint="Give both tables a unique key of other columns, or leave these out with --ignore.",
        )


def _cast(column: Column, family: str, engine: str) -> str:
    return column.type if engine == "postgresql" else family


def _digest(
    pairs: Sequence[Pair], side: str, texts: Mapping[str, str], families: Mapping[str, str], engine: str
) -> str:
    """Return SQL for 60 bits of values; free text has its length before it, and NULL is no text of any value.

    The texts of numbers, times and bytes hold no bar, so that they end where the next value begins. By SHA-256, which
    servers that must keep to FIPS have, too, and MariaDB makes faster than MD5.
    """
    parts = []
    for one in pairs:
        text, column = texts[one.name], getattr(one, side).sql
        free = families[one.name] in ("text", "padded", "json")
        if engine == "postgresql":
            parts.append(
                f"coalesce(octet_length({text})::text || ':' || {text}, '-')" if free else f"coalesce({text}, '-')"
            )
        else:
            # Beyond max_allowed_packet `concat` gives NULL, and so does all of this: whoever reads it refuses.
            long = f"concat(length({text}), ':', {text})"
            parts.append(f"if({column} is null, '-', {long if free else text})")
    joined = (" || '|' || " if engine == "postgresql" else ", '|', ").join(parts)
    if engine == "postgresql":
        return f"('x0' || left(encode(sha256(convert_to({joined}, 'UTF8')), 'hex'), {_DIGITS}))::bit(64)::bigint"
    # Columns of two collations are put together only where something says in which.
    return f"cast(conv(left(sha2(concat('' collate utf8mb4_bin, {joined}), 256), {_DIGITS}), 16, 10) as signed)"


def _floor(key: str, shift: int, engine: str) -> str:
    if engine == "postgresql":
        return f"{key}::bigint >> {shift}"
    # `div` cuts towards zero, and `/` rounds.
    size = 1 << shift
    return f"({key} - mod(mod({key}, {size}) + {size}, {size})) div {size}"


def _postgresql(column: Column, family: str) -> str:
    sql = column.sql
    return {
        "integer": f"({sql})::text",
        "boolean": f"({sql})::int::text",
        "decimal": f"trim_scale(({sql})::numeric)::text",
        # As near to MariaDB's as can be: what still differs is read as a value.
        "double": f"replace((({sql})::float8)::text, 'e+', 'e')",
        "padded": f"rtrim(({sql})::text, ' ')",
        "instant": f"(({sql}) at time zone 'UTC')::text" if column.kind == "timestamptz" else f"({sql})::text",
        "json": f"({sql})::text",
        "uuid": f"lower(({sql})::text)",
    }.get(family, column.text)


def _mariadb(column: Column, family: str) -> str:
    sql = column.sql
    text = column.text
    # A sum has no ZEROFILL, and a BIT is a number in it.
    number = f"cast({sql} + 0 as char)"
    return {
        "integer": number,
        "boolean": number,
        "decimal": _without_zeros(number) if column.fraction else number,
        # The text of a FLOAT is shorter than its value.
        "double": f"cast(cast({sql} as double) as char)",
        "padded": f"trim(trailing ' ' from {text})",
        "bytes": f"concat('\\x', lower(hex({sql})))",
        "instant": _without_zeros(f"date_format({sql}, '%Y-%m-%d %H:%i:%s.%f')"),
        "time": _without_zeros(f"time_format({sql}, '%H:%i:%s.%f')"),
        "date": f"cast({sql} as char)",
        "uuid": f"lower(cast({sql} as char))",
    }.get(family, text)


def _without_zeros(number: str) -> str:
    return f"trim(trailing '.' from trim(trailing '0' from {number}))"
