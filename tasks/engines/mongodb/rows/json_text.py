"""Values of BSON as JSON that PostgreSQL holds: exactly, as declared, or refused with the reason."""

import math
import struct
from collections.abc import Callable, Mapping
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, Final

from bson import Decimal128, Int64
from bson.dbref import DBRef

from tasks.engines.mongodb.documents.expressions import to_text
from tasks.engines.mongodb.values import UnfitError
from tasks.model.transfer_steps import ZERO

_COEFFICIENT: Final = 2**113 - 1
_BIAS: Final = 6176
_GREATEST: Final = 10**34 - 1
"""What a decimal holds: 113 bits of digits, at most so many, after 14 of an exponent; in another form, a zero."""


class HopelessError(UnfitError):
    """No policy makes it fit: the row can only be left out, or corrected."""


def json_text(value: Any, *, tagged: bool) -> str:
    """Return JSON. What has no counterpart in it becomes extended JSON where `tagged`; raises UnfitError otherwise.

    Numbers become numbers, whatever their type: 5 and 5.0 stay apart, a double and a decimal do not.
    """
    try:
        return _text(value, tagged)
    except RecursionError:
        raise HopelessError("nested too deeply") from None


def plain_decimal(value: Decimal128) -> str:
    """Return the digits of a decimal, without an exponent. Raises UnfitError where numeric would have others."""
    # Read from the bits: the driver takes ten times as long to make a number of them.
    bits = int.from_bytes(value.bid, "little")
    coefficient, exponent = bits & _COEFFICIENT, (bits >> 113 & 0x3FFF) - _BIAS
    if bits >> 125 & 3 == 3 or coefficient > _GREATEST or exponent > 0 or not coefficient:
        number = value.to_decimal()
        if not number.is_finite():
            refuse_strange_nan(value)
            raise UnfitError("infinity, or not a number")
        return digits(number)
    text, sign = str(coefficient), "-" if bits >> 127 else ""
    if not exponent:
        return sign + text
    text = text.rjust(1 - exponent, "0")
    return f"{sign}{text[:exponent]}.{text[exponent:]}"


def refuse_strange_nan(value: float | Decimal128) -> None:
    """Raise HopelessError for what is not a number, and not the usual one: its bits are held nowhere else."""
    strange: bool
    if isinstance(value, Decimal128):
        strange = value.to_decimal().is_nan() and value.bid != Decimal128("NaN").bid
    else:
        strange = math.isnan(value) and struct.pack("<d", value) != struct.pack("<d", math.nan)
    if strange:
        raise HopelessError("not a number, with a payload")


def digits(number: Decimal) -> str:
    """Return the digits of a finite number. Raises UnfitError where numeric would have others."""
    sign, _, exponent = number.as_tuple()
    if sign and not number:
        raise UnfitError("a minus zero")
    assert isinstance(exponent, int)
    if exponent > 0:
        raise UnfitError("an exponent that numeric writes out as zeros")
    return format(number, "f")


def string(value: str) -> str:
    """Return a text in quotes. Raises HopelessError for one with U+0000."""
    if "\x00" in value:
        raise HopelessError(ZERO)
    return encode_basestring(value)


def _text(value: Any, tagged: bool) -> str:
    make = _MADE.get(type(value))
    if make is not None:
        try:
            return make(value)
        except HopelessError:
            raise
        except UnfitError:
            if not tagged:
                raise
            return to_text(value)
    if isinstance(value, DBRef):
        value = value.as_doc()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_key(key)}:{_text(inner, tagged)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_text(inner, tagged) for inner in value]) + "]"
    if not tagged:
        raise UnfitError(f"{_named(value)}, which JSON has not")
    made = to_text(value)
    if "\\u0000" in made:
        raise HopelessError(ZERO)
    return made


def _key(key: str) -> str:
    if key.startswith("$"):
        # It could not be told from what a tag is made of.
        raise HopelessError("a field within, whose name starts with $")
    return string(key)


def _double(value: float) -> str:
    if not math.isfinite(value):
        refuse_strange_nan(value)
        raise UnfitError("infinity, or not a number")
    if value == 0 and math.copysign(1, value) < 0:
        raise UnfitError("a minus zero")
    return repr(value)


def _named(value: Any) -> str:
    name = type(value).__name__
    return {"DatetimeMS": "a date", "bytes": "binary data", "Binary": "binary data"}.get(name, f"an {name}")


_MADE: Final[Mapping[type, Callable[[Any], str]]] = {
    str: string,
    int: str,
    Int64: str,
    bool: lambda value: "true" if value else "false",
    float: _double,
    Decimal128: plain_decimal,
    type(None): lambda _: "null",
}
