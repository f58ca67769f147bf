"""Values of PostgreSQL as values of BSON: exactly the same, or refused with the reason. Never nearly the same."""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import bson
from bson import Binary, Decimal128, Int64
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError

_DIGITS: Final = 34
_BIAS: Final = 6176
"""Of a decimal: how many it has, and what its exponent is counted from."""
DEEPEST: Final = 90
"""Levels of a document of JSON; the server allows 100 in all."""


class UnfitError(Exception):
    """A value that BSON cannot hold exactly; the message is the reason, without the value."""


def maker(holds: str) -> Callable[[Any], Any]:
    """Return what makes a value of BSON of what the source sent, which is not None. It raises UnfitError."""
    return _OF[holds]


def _date(wire: str) -> DatetimeMS:
    """Take microseconds since 1970, as text."""
    if wire in ("Infinity", "-Infinity"):
        raise UnfitError("infinity is no date")
    whole, _, fraction = wire.partition(".")
    microseconds = int(Decimal(wire)) if fraction.strip("0") else int(whole)
    if microseconds % 1000:
        raise UnfitError("microseconds, where a date has milliseconds")
    return DatetimeMS(microseconds // 1000)


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
    try:
        value = json.loads(wire, parse_int=_integer, parse_float=_decimal, object_pairs_hook=_object)
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


def _object(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UnfitError("a key that is given twice")
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
    "uuid": lambda wire: Binary(wire.bytes, 4),
    "date": _date,
    "decimal": _decimal,
    "json": _json,
}
FALLIBLE: Final = frozenset({"date", "decimal", "json"})
"""What may be unable to hold a value of its type."""
