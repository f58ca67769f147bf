"""A document as values of Python that say all of it; refused where they would not."""

from collections.abc import Mapping
from typing import Any, Final

import bson
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.errors import BSONError

from tasks.engines.mongodb.values import UnfitError

OPTIONS: Final = CodecOptions[Any](
    datetime_conversion=DatetimeConversion.DATETIME_MS, uuid_representation=UuidRepresentation.UNSPECIFIED
)
MISSING: Final = object()
"""Stands for a field that is not there."""
NUMBERS: Final = (int, Int64, float, Decimal128)
_KINDS: Final[Mapping[type, str]] = {
    **dict.fromkeys(NUMBERS, "number"),
    str: "string",
    bool: "bool",
    ObjectId: "objectId",
    DatetimeMS: "date",
    bytes: "binary",
    dict: "document",
    list: "array",
    DBRef: "document",
    **dict.fromkeys((Code, Regex, Timestamp, MinKey, MaxKey), "other"),
}


def decode(raw: bytes) -> dict[str, Any]:
    """Return the values of a document. Raises UnfitError where they would not make the same bytes again.

    So it is with a field that is there twice, a text that is no UTF-8, and types that the driver turns into others:
    undefined, symbols, pointers.
    """
    try:
        found: dict[str, Any] = bson.decode(raw, OPTIONS)
        if bson.encode(found, codec_options=OPTIONS) == raw:
            return found
    except (BSONError, ValueError, OverflowError, RecursionError):
        pass
    raise UnfitError(
        "a field that is there twice, a text that is no UTF-8, a type that is out of use, or bytes no driver writes"
    )


def kind_of(value: Any) -> str:
    """Name the kind of a value that is there and not null."""
    kind = _KINDS.get(type(value))
    if kind is None:
        return "uuid" if isinstance(value, Binary) and value.subtype == 4 and len(value) == 16 else "other"
    return kind
