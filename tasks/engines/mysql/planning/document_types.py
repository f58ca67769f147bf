"""What a document holds of a value of MariaDB, by its type, and whether there are values that it does not hold."""

import re
from typing import Final

from tasks.engines.mysql.planning.target_types import BITS, BYTES, TEXTS, Source, source_of
from tasks.model.base import Record

_TEXT: Final = ("char", "varchar", *TEXTS, "json")
_MOMENTS: Final = ("date", "datetime", "timestamp")
_NO_TEXT: Final = (
    *BYTES, "bit", "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
    "geometrycollection",
)  # fmt: skip
_NUMBERS: Final = (*BITS, "bit", "year")
_ALWAYS: Final = {
    **dict.fromkeys(("float", "double"), "double"),
    **dict.fromkeys((*_TEXT, "inet4", "inet6"), "string"),
    **dict.fromkeys(BYTES, "binary"),
    "enum": "enum", "set": "set", "uuid": "uuid",
}  # fmt: skip
_ASKED_FOR: Final = {
    "date": _MOMENTS,
    "boolean": _NUMBERS,
    "decimal": (*_NUMBERS, "decimal"),
    "json": _TEXT,
    "extended_json": _TEXT,
    "objectId": (*_TEXT, *BYTES),
}
_DIGITS: Final = 34
_MEMBER: Final = re.compile("'((?:[^']|'')*)'")
IDS: Final = ("int32", "int64", "string", "binary", "uuid", "objectId")
"""What tells documents apart: equal in MongoDB only where it is equal in MariaDB."""


class Held(Record):
    """What a document holds, and whether of some values it cannot."""

    holds: str
    doubtful: bool = False


def held(source_type: str, asked: str | None) -> Held | None:
    """Return what holds a value; None where nothing does, or not what is asked for."""
    source = source_of(source_type)
    if asked == "string" and source.name == "enum":
        return Held(holds="enum", doubtful=True)
    if asked == "string":
        return None if source.name in _NO_TEXT else Held(holds="string")
    if asked is None:
        # The server shows a set of nothing as one of the empty text, and leaves the comma out that would follow it.
        blank = source.name == "set" and "" in _MEMBER.findall(source_type)
        return None if blank else _natural(source)
    if source.name not in _ASKED_FOR[asked]:
        return None
    if asked == "decimal":
        return Held(holds=asked, doubtful=source.first > _DIGITS)
    return Held(holds=asked, doubtful=source_type.lower() != "bit(1)")


def tells_apart(source_type: str, holds: str) -> bool:
    """Tell whether values of a type are told apart by what is held of them."""
    # The text of a FLOAT is shorter than its value.
    return holds in IDS and source_of(source_type).name not in ("float", "double")


def _natural(source: Source) -> Held | None:
    if source.name in _NUMBERS:
        return _integer(source)
    if source.name == "decimal":
        return Held(holds="decimal", doubtful=source.first > _DIGITS)
    if source.name == "timestamp":
        # Of its microseconds, and of zero.
        return Held(holds="date", doubtful=True)
    always = _ALWAYS.get(source.name)
    return None if always is None else Held(holds=always, doubtful=always == "enum")


def _integer(source: Source) -> Held:
    bits = BITS.get(source.name, (source.first or 1) if source.name == "bit" else 12)
    if source.unsigned or source.name in ("bit", "year"):
        bits += 1
    return Held(holds="int32" if bits <= 32 else "int64", doubtful=bits > 64)
