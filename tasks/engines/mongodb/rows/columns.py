"""Which type of PostgreSQL holds the values of a field, and what is sent for each: the same value, or a reason.

What is sent is text, as PostgreSQL reads it, not yet escaped. PostgreSQL rounds numbers and moments to the type without
a word: so whatever it would change does not fit.
"""

import math
import re
import struct
import uuid
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any, Final

from bson import Decimal128, Int64

from tasks.engines.mongodb.documents.expressions import to_text
from tasks.engines.mongodb.rows.decode import kind_of
from tasks.engines.mongodb.rows.json_text import (
    HopelessError,
    digits,
    json_text,
    plain_decimal,
    refuse_strange_nan,
)
from tasks.engines.mongodb.rows.moments import day_text, moment_text
from tasks.engines.mongodb.values import UnfitError
from tasks.model.transfer_steps import ZERO

Made = Callable[[Any], str]
ANY: Final = "any"
"""The kind of a column that takes values of every kind."""
JSON: Final = ("json", "jsonb")
TEXTS: Final = ("text", "varchar")
INTEGERS: Final = {"smallint": 16, "integer": 32, "bigint": 64}
_SHORT: Final = {
    "int": "integer", "int2": "smallint", "int4": "integer", "int8": "bigint", "bool": "boolean", "decimal": "numeric",
    "character varying": "varchar", "float8": "double precision", "float4": "real",
    "timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz",
}  # fmt: skip
_ALWAYS: Final = {
    "string": "text", "objectId": "text", "bool": "boolean", "date": "timestamptz", "binary": "bytea", "uuid": "uuid",
}  # fmt: skip
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_LONGEST: Final = 1000
"""Characters of a number in a text."""
_KINDS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(INTEGERS, ("number", "string")),
    "numeric": ("number", "string"),
    "double precision": ("number",),
    "real": ("number",),
    **dict.fromkeys(TEXTS, ("string", "objectId")),
    "boolean": ("bool",),
    "timestamptz": ("date",),
    "timestamp": ("date",),
    "date": ("date", "string"),
    "uuid": ("uuid", "string"),
    "bytea": ("binary", "uuid", "objectId", "string"),
}
"""Kinds that a type takes; the first one unless the documents have another."""


@dataclass(frozen=True, kw_only=True)
class PgType:
    """A type of PostgreSQL, taken to pieces."""

    name: str
    arguments: tuple[int, ...]

    @property
    def written(self) -> str:
        """As it stands in a statement."""
        return f"{self.name}({', '.join(map(str, self.arguments))})" if self.arguments else self.name

    @property
    def scale(self) -> int:
        """The digits after the point of a numeric with arguments."""
        return self.arguments[1] if len(self.arguments) == 2 else 0


def type_of(wanted: str) -> PgType | None:
    """Take a type to pieces; None for one that is not known here."""
    found = re.fullmatch(r"([a-z][a-z0-9 ]*?)\s*(?:\(([0-9, ]+)\))?( with(?:out)? time zone)?", wanted.strip().lower())
    if found is None:
        return None
    name = re.sub(r"\s+", " ", found[1] + (found[3] or ""))
    arguments = tuple(int(part) for part in (found[2] or "").split(",") if part.strip())
    made = PgType(name=_SHORT.get(name, name), arguments=arguments)
    return made if _is_known(made) else None


def _is_known(one: PgType) -> bool:
    count = len(one.arguments)
    if one.name == "numeric":
        # More digits after the point than in all are something else.
        return not count or (count < 3 and 0 < one.arguments[0] <= 1000 and one.arguments[-1] <= one.arguments[0])
    if one.name == "varchar":
        return not count or (count == 1 and 0 < one.arguments[0] <= 10_485_760)
    if one.name in ("timestamptz", "timestamp"):
        return not count or (count == 1 and 3 <= one.arguments[0] <= 6)
    return not count and one.name in (*_KINDS_OF, *JSON)


def chosen(kinds: Set[str], whole: int) -> str:
    """Return the type for values of kinds that were seen.

    `whole` is what is known of numbers: at most 32 or 64 bits, 1 where some are doubles, 0 where some are decimals.
    """
    if kinds == {"number"}:
        return {32: "integer", 64: "bigint", 1: "double precision"}.get(whole, "numeric")
    return _ALWAYS.get(next(iter(kinds)), "jsonb") if len(kinds) == 1 else "jsonb"


def kind_for(of: PgType, seen: Mapping[str, int], unfit: str) -> str | None:
    """Return the kind of the values that a column holds; None where it holds none of those that were seen."""
    if of.name in JSON or (of.name in TEXTS and unfit == "string"):
        return ANY
    taken = _KINDS_OF[of.name]
    found = [kind for kind in taken if kind in seen]
    if not found:
        return None if seen else taken[0]
    return max(found, key=lambda kind: seen[kind])


def maker(kind: str, of: PgType, unfit: str) -> Made:
    """Return what makes the text of a value that is there. It raises UnfitError with the reason."""
    if of.name in JSON:
        return partial(json_text, tagged=unfit == "tag")
    if kind == ANY:
        return _bounded(of, _any_text)
    make = plain_maker(kind, of)

    def made(value: Any) -> str:
        is_ = kind_of(value)
        if is_ != kind:
            raise UnfitError(f"a value of the kind {is_}, where {kind} is held")
        return make(value)

    return made


def plain_maker(kind: str, of: PgType) -> Made:
    """Return the same for values that are known to be of the kind."""
    if of.name in INTEGERS:
        return partial(_integer, bits=INTEGERS[of.name], whole=_whole if kind == "number" else _spelt_whole)
    if of.name == "numeric":
        if kind == "number" and not of.arguments:
            return _number
        return partial(_numeric, of=of) if kind == "number" else partial(_spelt_numeric, of=of)
    if of.name == "bytea":
        return _BYTES[kind]
    if of.name in TEXTS:
        return _bounded(of, str if kind == "objectId" else _plain_text)
    return _MADE[kind, of.name]


def _moment(value: Any, *, zone: str) -> str:
    text = moment_text(int(value))
    return text.replace(" BC", f"{zone} BC") if text.endswith(" BC") else text + zone


def _integer(value: Any, *, bits: int, whole: Callable[[Any], int]) -> str:
    number = whole(value)
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise UnfitError("out of the range of the type")
    return str(number)


def _whole(value: Any) -> int:
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


def _spelt_whole(value: str) -> int:
    text = _spelt(value)
    if "." in text or len(text) > 20:
        raise UnfitError("a text that is no such number, written plainly")
    return int(text)


def _spelt(value: str) -> str:
    if len(value) > _LONGEST or not _NUMBER.fullmatch(value) or (value[0] == "-" and not value.strip("-0.")):
        raise UnfitError("a text that is no such number, written plainly")
    return value


def _number(value: Any) -> str:
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


def _spelt_numeric(value: str, *, of: PgType) -> str:
    text = _fitting(_spelt(value), of)
    # A number stays the same with more zeros or fewer, a text does not.
    if of.arguments and len(text.partition(".")[2]) != of.scale:
        raise UnfitError("a text with other digits after the point than PostgreSQL would write")
    return text


def _numeric(value: Any, *, of: PgType) -> str:
    return _fitting(_number(value), of)


def _fitting(text: str, of: PgType) -> str:
    if not of.arguments or text == "NaN":
        return text
    if text.endswith("Infinity"):
        raise UnfitError("infinity")
    precision, scale = of.arguments[0], of.scale
    whole, _, fraction = text.lstrip("-").partition(".")
    if len(fraction.rstrip("0")) > scale:
        raise UnfitError("more digits after the point than the type has")
    if len(whole.lstrip("0")) > precision - scale:
        raise UnfitError("out of the range of the type")
    return text


def _double(value: Any) -> str:
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


def _real(value: Any) -> str:
    text = _double(value)
    number = float(value)
    try:
        same = math.isnan(number) or struct.unpack("<f", struct.pack("<f", number))[0] == number
    except OverflowError:
        same = False
    if not same:
        raise UnfitError("more digits than a real has")
    return text


def _plain_text(value: str) -> str:
    if "\x00" in value:
        raise HopelessError(ZERO)
    return value


def _bounded(of: PgType, make: Made) -> Made:
    if not of.arguments:
        return make
    (most,) = of.arguments

    def made(value: Any) -> str:
        text = make(value)
        if len(text) > most:
            raise HopelessError("longer than the type")
        return text

    return made


def _any_text(value: Any) -> str:
    """Return the text of a value of any kind; extended JSON of what has none of its own."""
    if isinstance(value, str) and kind_of(value) == "string":
        return _plain_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    kind = kind_of(value)
    if kind == "number":
        refuse_strange_nan(value)
        return str(value)
    if kind == "objectId":
        return str(value)
    text = to_text(value)
    if "\\u0000" in text:
        raise HopelessError(ZERO)
    return text


def _uuid_of_text(value: str) -> str:
    try:
        same = str(uuid.UUID(value)) == value
    except ValueError:
        same = False
    if not same:
        raise UnfitError("a text that is no uuid in small letters")
    return value


def _day_of_text(value: str) -> str:
    try:
        same = date.fromisoformat(value).isoformat() == value
    except ValueError:
        same = False
    if not same:
        raise UnfitError("a text that is no day as YYYY-MM-DD")
    return value


def _hex(value: bytes) -> str:
    return "\\x" + value.hex()


_BYTES: Final[Mapping[str, Made]] = {
    "binary": _hex,
    "uuid": _hex,
    "objectId": lambda value: _hex(value.binary),
    "string": lambda value: _hex(value.encode()),
}
_MADE: Final[Mapping[tuple[str, str], Made]] = {
    ("number", "double precision"): _double,
    ("number", "real"): _real,
    ("date", "timestamptz"): partial(_moment, zone="+00"),
    ("date", "timestamp"): partial(_moment, zone=""),
    ("date", "date"): lambda value: day_text(int(value)),
    ("bool", "boolean"): lambda value: "t" if value else "f",
    ("uuid", "uuid"): lambda value: str(uuid.UUID(bytes=bytes(value))),
    ("string", "uuid"): _uuid_of_text,
    ("string", "date"): _day_of_text,
}


def bits_of(value: Any) -> int:
    """Return what a number says about the type that holds it; see `chosen`."""
    if isinstance(value, Decimal128):
        return 0
    if isinstance(value, float):
        return 1
    return 64 if isinstance(value, Int64) else 32
