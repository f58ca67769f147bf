"""Values of BSON as text that databases read: exactly the same value, or UnfitError with the reason."""

import math
import re
import struct
import uuid
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any, Final

from bson import Decimal128

from tasks.engines.mongodb.documents.expressions import to_text
from tasks.engines.mongodb.rows.decode import kind_of
from tasks.engines.mongodb.rows.held import HeldType, Made
from tasks.engines.mongodb.rows.json_text import HopelessError, digits, plain_decimal, refuse_strange_nan
from tasks.engines.mongodb.values import UnfitError
from tasks.model.transfer_steps import ZERO

_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_LONGEST: Final = 1000
"""Characters of a number in a text."""


def integer(value: Any, *, within: tuple[int, int], whole: Callable[[Any], int]) -> str:
    """Return a number without digits after the point, of a range."""
    number = whole(value)
    if not within[0] <= number <= within[1]:
        raise UnfitError("out of the range of the type")
    return str(number)


def whole(value: Any) -> int:
    """Return a number that has no digits after the point."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UnfitError("infinity, or not a number")
        if not value.is_integer():
            raise UnfitError("digits after the point")
        if value == 0 and math.copysign(1, value) < 0:
            raise UnfitError("a minus zero")
        return int(value)
    text = plain_decimal(value)
    if "." in text:
        raise UnfitError("digits after the point")
    return int(text)


def spelt_whole(value: str) -> int:
    """Return the number that a text is, where it is the only one for it."""
    text = _spelt(value)
    if "." in text or len(text) > 20:
        raise UnfitError("a text that is no such number, written plainly")
    return int(text)


def _spelt(value: str) -> str:
    if len(value) > _LONGEST or not _NUMBER.fullmatch(value) or (value[0] == "-" and not value.strip("-0.")):
        raise UnfitError("a text that is no such number, written plainly")
    return value


def number(value: Any) -> str:
    """Return the digits of a number, or what it is instead of one."""
    if type(value) is Decimal128 and value.bid[-1] & 0x78 != 0x78:
        return plain_decimal(value)
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        if not math.isfinite(value):
            refuse_strange_nan(value)
            return _infinite(value)
        # The shortest decimal that is this double again; an exponent is there by the way it is written only.
        return digits(Decimal(format(Decimal(repr(value)), "f")))
    refuse_strange_nan(value)
    return _infinite(float(value.to_decimal()))


def _infinite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def spelt_numeric(value: str, *, of: HeldType) -> str:
    """Return the digits that a text has, where the database would write the same ones."""
    text = _fitting(_spelt(value), of)
    # A number stays the same with more zeros or fewer, a text does not.
    if of.arguments and len(text.partition(".")[2]) != of.scale:
        raise UnfitError("a text with other digits after the point than the database would write")
    return text


def numeric(value: Any, *, of: HeldType) -> str:
    """Return the digits of a number, as far as a type has room for them."""
    return _fitting(number(value), of)


def _fitting(text: str, of: HeldType) -> str:
    if not of.arguments or text == "NaN":
        return text
    if text.endswith("Infinity"):
        raise UnfitError("infinity")
    precision, scale = of.arguments[0], of.scale
    before, _, fraction = text.lstrip("-").partition(".")
    if len(fraction.rstrip("0")) > scale:
        raise UnfitError("more digits after the point than the type has")
    if len(before.lstrip("0")) > precision - scale:
        raise UnfitError("out of the range of the type")
    return text


def double(value: Any) -> str:
    """Return a double, or a number that is one, too."""
    if isinstance(value, float):
        if math.isfinite(value):
            return repr(value)
        refuse_strange_nan(value)
        return _infinite(value)
    if isinstance(value, Decimal128):
        raise UnfitError("a decimal, of which a double need not be the same")
    if int(float(value)) != value:
        raise UnfitError("more digits than a double has")
    return str(int(value))


def real(value: Any) -> str:
    """Return a number that is a float of 32 bits, too."""
    text = double(value)
    made = float(value)
    try:
        same = math.isnan(made) or struct.unpack("<f", struct.pack("<f", made))[0] == made
    except OverflowError:
        same = False
    if not same:
        raise UnfitError("more digits than a real has")
    return text


def finite(make: Made) -> Made:
    """Return the same for a database that has neither infinity nor a zero with a sign."""

    def made(value: Any) -> str:
        text = make(value)
        if text in ("NaN", "Infinity", "-Infinity"):
            raise UnfitError("infinity, or not a number")
        if text == "-0.0":
            raise UnfitError("a minus zero")
        return text

    return made


def without_zero(value: str) -> str:
    """Return a text without U+0000."""
    if "\x00" in value:
        raise HopelessError(ZERO)
    return value


def bounded(of: HeldType, make: Made) -> Made:
    """Return the same, of a type with at most so many characters."""
    if not of.arguments:
        return make
    (most,) = of.arguments

    def made(value: Any) -> str:
        text = make(value)
        if len(text) > most:
            raise HopelessError("longer than the type")
        return text

    return made


def any_text(value: Any) -> str:
    """Return the text of a value of any kind; extended JSON of what has none of its own."""
    if isinstance(value, str) and kind_of(value) == "string":
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    kind = kind_of(value)
    if kind == "number":
        refuse_strange_nan(value)
        return str(value)
    return str(value) if kind == "objectId" else to_text(value)


def uuid_of_text(value: str) -> str:
    """Return a text that is a uuid, written as databases write one."""
    try:
        same = str(uuid.UUID(value)) == value
    except ValueError:
        same = False
    if not same:
        raise UnfitError("a text that is no uuid in small letters")
    return value


def uuid_text(value: Any) -> str:
    """Return a uuid."""
    return str(uuid.UUID(bytes=bytes(value)))


def day_of_text(value: str) -> str:
    """Return a text that is a day."""
    try:
        same = date.fromisoformat(value).isoformat() == value
    except ValueError:
        same = False
    if not same:
        raise UnfitError("a text that is no day as YYYY-MM-DD")
    return value
