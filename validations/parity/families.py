"""What columns of different engines have in common: families of types, and one text for each of their values."""

import json
from collections.abc import Callable, Sequence
from typing import Final

from tasks.model.errors import PreflightError
from validations.parity.pairing import Pair

_POSTGRESQL: Final = {
    "int2": "integer", "int4": "integer", "int8": "integer", "bool": "boolean", "numeric": "decimal",
    "float4": "double", "float8": "double", "text": "text", "varchar": "text", "bpchar": "padded", "bytea": "bytes",
    "date": "date", "timestamp": "instant", "timestamptz": "instant", "time": "time", "json": "json", "jsonb": "json",
    "uuid": "uuid",
}  # fmt: skip
MARIADB: Final = {
    "tinyint": "integer", "smallint": "integer", "mediumint": "integer", "int": "integer", "bigint": "integer",
    "year": "integer", "bit": "integer", "decimal": "decimal", "float": "double", "double": "double",
    "varchar": "text", "tinytext": "text", "text": "text", "mediumtext": "text", "longtext": "text", "enum": "text",
    "set": "text", "json": "json", "char": "padded", "binary": "bytes", "varbinary": "bytes", "tinyblob": "bytes",
    "blob": "bytes", "mediumblob": "bytes", "longblob": "bytes", "date": "date", "datetime": "instant",
    "timestamp": "instant", "time": "time", "uuid": "uuid",
}  # fmt: skip
_MIXED: Final = {
    frozenset({"boolean", "integer"}): "boolean",
    frozenset({"integer", "decimal"}): "decimal",
    frozenset({"text", "padded"}): "padded",
    frozenset({"uuid", "text"}): "uuid",
    frozenset({"uuid", "padded"}): "uuid",
    frozenset({"json", "text"}): "json",
}
CLIENT: Final = ("double", "json")
"""Families whose texts differ from engine to engine for the same value: the client reads them as values."""


def family_of(pair: Pair, engines: tuple[str, str]) -> str:
    """Return the family in which a column is compared; raises PreflightError when the types have none in common."""
    found = []
    for column, engine in ((pair.a, engines[0]), (pair.b, engines[1])):
        known = _POSTGRESQL if engine == "postgresql" else MARIADB
        # Enumerations and other types of PostgreSQL are compared as the text that they have.
        found.append(known.get(column.kind, "text" if engine == "postgresql" else ""))
    both = found[0] if found[0] == found[1] else _MIXED.get(frozenset(found))
    if not both:
        raise PreflightError(
            f"{pair.name} is {pair.a.type} in A and {pair.b.type} in B, which have no values in common",
            where=pair.name,
            hint=f"Say what stands in A for it (--map {pair.name}=SQL), or leave it out (--ignore {pair.name}).",
        )
    return both


def read(values: Sequence[str | None], families: Sequence[str]) -> tuple[str | None, ...]:
    """Return values as they are compared: one text for all that mean the same."""
    if not any(family in CLIENT for family in families):
        return tuple(values)
    changes = [_CANONICAL.get(family) for family in families]
    return tuple(
        value if value is None or change is None else change(value)
        for value, change in zip(values, changes, strict=True)
    )


def _double(text: str) -> str:
    return repr(float(text))


def _json(text: str) -> str:
    # Numbers as they are written: a fraction of 20 digits is no double, and 1.0 is not 1.00.
    parsed = json.loads(text, parse_float=_Number, parse_int=_Number, object_pairs_hook=_Pairs)
    return _dumped(parsed)


class _Number(str):
    """A number, as it is written."""

    __slots__ = ()


class _Pairs(list[tuple[str, object]]):
    """An object with all its keys, those that occur twice as well."""


def _dumped(value: object) -> str:
    if isinstance(value, _Pairs):
        inside = sorted((json.dumps(key), _dumped(one)) for key, one in value)
        return "{" + ",".join(f"{key}:{one}" for key, one in inside) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_dumped, value)) + "]"
    return str(value) if isinstance(value, _Number) else json.dumps(value)


_CANONICAL: Final[dict[str, Callable[[str], str]]] = {"double": _double, "json": _json}
