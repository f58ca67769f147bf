"""Values of a source as values of BSON: exactly the same, or refused with the reason. Never nearly the same."""

import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import bson
from bson import Binary, Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError, InvalidId

from tasks.engines.mongodb.documents.expressions import from_text, to_text

_EPOCH: Final = datetime(1970, 1, 1)
_GREATEST: Final = 2**63 - 1
_DIGITS: Final = 34
_BIAS: Final = 6176
"""Of a decimal: how many it has, and what its exponent is counted from."""
DEEPEST: Final = 90
"""Levels of a document of JSON; the server allows 100 in all."""

_TAGS: Final = (
    *({f"${name}"} for name in ("oid", "date", "binary", "numberInt", "numberLong", "numberDouble", "numberDecimal")),
    *({f"${name}"} for name in ("timestamp", "regularExpression", "code", "minKey", "maxKey")),
    {"$code", "$scope"},
)
"""Names of extended JSON that say a value; of types that are out of use there is none."""


class UnfitError(Exception):
    """A value that BSON cannot hold exactly; the message is the reason, without the value."""


def maker(holds: str, doubtful: bool | None = None) -> Callable[[Any], Any]:
    """Return what makes a value of BSON of what the source sent, which is not None. It raises UnfitError.

    `doubtful`: the type of the source has values that this does not hold, which is not so of PostgreSQL's.
    """
    return _DOUBTFUL[holds] if doubtful and holds in _DOUBTFUL else _OF[holds]


def maker_of_text(holds: str, doubtful: bool | None = None) -> Callable[[Any], Any]:  # noqa: ARG001
    """Return the same for a source that sends text alone: digits, true and false, and bytes as hexadecimal digits."""
    return _OF_TEXT.get(holds) or _OF[holds]


def _date(wire: str) -> DatetimeMS:
    """Take microseconds since 1970, as text; or what MariaDB shows of a moment in UTC, or of a day."""
    if wire[4:5] == "-" and wire[7:8] == "-":
        return _of_calendar(wire)
    if wire in ("Infinity", "-Infinity"):
        raise UnfitError("infinity is no date")
    whole, _, fraction = wire.partition(".")
    microseconds = int(Decimal(wire)) if fraction.strip("0") else int(whole)
    if microseconds % 1000:
        raise UnfitError("microseconds, where a date has milliseconds")
    return DatetimeMS(microseconds // 1000)


def _of_calendar(wire: str) -> DatetimeMS:
    try:
        since = datetime.fromisoformat(wire) - _EPOCH
    except ValueError:
        raise UnfitError("no day of the calendar") from None
    if since.microseconds % 1000:
        raise UnfitError("microseconds, where a date has milliseconds")
    return DatetimeMS((since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000)


def _int64(wire: int) -> Int64:
    if wire > _GREATEST:
        raise UnfitError("more than 64 bits with a sign hold")
    return Int64(wire)


def _boolean(wire: int) -> bool:
    if wire not in (0, 1):
        raise UnfitError("neither 0 nor 1")
    return bool(wire)


def _enum(wire: str) -> str:
    number, _, text = wire.partition(" ")
    if number == "0":
        raise UnfitError("the empty value that stands for an invalid one")
    return text


def _uuid(wire: uuid.UUID | str) -> Binary:
    return Binary((wire if isinstance(wire, uuid.UUID) else uuid.UUID(wire)).bytes, 4)


def _refuse_constant(name: str) -> Any:
    # NaN, say, which Python takes for JSON.
    raise ValueError(name)


def _decimal(wire: str) -> Decimal128:
    digits = wire.removeprefix("-").replace(".", "", 1)
    if len(digits) <= _DIGITS and digits.isascii() and digits.isdigit():
        # As the driver does it, which takes ten times as long.
        exponent = len(wire) - wire.index(".") - 1 if "." in wire else 0
        bits = int(digits) | (_BIAS - exponent) << 113 | (wire[0] == "-") << 127
        return Decimal128.from_bid(bits.to_bytes(16, "little"))
    try:
        made = Decimal128(wire)
    except (ValueError, ArithmeticError):
        raise UnfitError("more digits than a decimal has") from None
    if made.to_decimal().is_nan() and wire == "NaN":
        return made
    # Equal is not enough: 1.10 is not 1.1 here.
    if made.to_decimal().as_tuple() != Decimal(wire).as_tuple():
        raise UnfitError("more digits than a decimal has")
    return made


def _json(wire: str) -> Any:
    return _read(wire, _object)


def _extended_json(wire: str) -> Any:
    return _read(wire, _once, _said)


def _read(
    wire: str, pairs: Callable[[list[tuple[str, Any]]], Any], then: Callable[[Any], Any] = lambda value: value
) -> Any:
    try:
        read = json.loads(
            wire,
            parse_int=_integer,
            parse_float=_decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=pairs,
        )
        value = then(read)
        _refuse_depth(value, 0)
        # What else it cannot hold, the encoder knows: half a surrogate pair, U+0000 in a key.
        bson.encode({"v": value})
    except UnfitError:
        raise
    except RecursionError:
        raise UnfitError("nested too deeply") from None
    except (BSONError, ValueError, OverflowError, InvalidOperation):
        raise UnfitError("no text of JSON that BSON can hold") from None
    return value


def _integer(text: str) -> Int64 | Decimal128:
    # Not int(): a text of thousands of digits is only too long, and -0 is not 0.
    if len(text) <= 20 and text != "-0" and -(2**63) <= (number := int(text)) < 2**63:
        return Int64(number)
    return _decimal(text)


def _object_id(wire: str | bytes) -> ObjectId:
    try:
        made = ObjectId(bytes(wire) if isinstance(wire, bytes | memoryview) else wire)
    except (InvalidId, TypeError):
        raise UnfitError("no objectId: 24 hexadecimal digits, or 12 bytes") from None
    if isinstance(wire, str) and str(made) != wire:
        raise UnfitError("an objectId in capital letters")
    return made


def _said(value: Any) -> Any:
    """Return a value of JSON with that in it which extended JSON says, in its canonical form and no other."""
    if isinstance(value, list):
        return [_said(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    tags = {key for key in value if key.startswith("$")}
    if not tags:
        return {key: _said(inner) for key, inner in value.items()}
    if tags in _TAGS and len(tags) == len(value):
        with suppress(BSONError, ValueError, TypeError, ArithmeticError):
            said = from_text(json.dumps({"v": value}))["v"]
            # What may be written in several ways would come back in one of them.
            if json.loads(to_text({"v": said}))["v"] == value:
                return said
    raise UnfitError("a key that starts with $, and no canonical extended JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UnfitError("a key that is given twice")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = _once(pairs)
    if any(key.startswith("$") for key in found):
        raise UnfitError("a key that starts with $")
    return found


def _refuse_depth(value: Any, depth: int) -> None:
    if depth > DEEPEST:
        raise UnfitError("nested too deeply")
    if isinstance(value, dict):
        for inner in value.values():
            _refuse_depth(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _refuse_depth(inner, depth + 1)


_OF: Final[Mapping[str, Callable[[Any], Any]]] = {
    "int32": int,
    # Always 64 bits, whatever the size: a field has one type.
    "int64": Int64,
    "double": float,
    "boolean": bool,
    "string": str,
    "binary": lambda wire: Binary(bytes(wire), 0),
    "uuid": _uuid,
    "date": _date,
    "decimal": _decimal,
    "json": _json,
    "extended_json": _extended_json,
    "objectId": _object_id,
    "enum": _enum,
    "set": lambda wire: wire.split(",") if wire else [],
}
_OF_TEXT: Final[Mapping[str, Callable[[Any], Any]]] = {
    "boolean": lambda wire: wire == "true",
    "binary": lambda wire: Binary(bytes.fromhex(wire), 0),
}
_DOUBTFUL: Final[Mapping[str, Callable[[Any], Any]]] = {"int64": _int64, "boolean": _boolean}
FALLIBLE: Final = frozenset({"date", "decimal", "json", "extended_json", "objectId", "rows", "enum"})
"""What may be unable to hold a value of its type."""
