"""Which type of PostgreSQL holds the values of a field, and what is sent for each: the same value, or a reason."""

import re
from collections.abc import Callable, Mapping, Set
from functools import partial
from typing import Any, ClassVar, Final, Literal

from tasks.engines.mongodb.rows import texts
from tasks.engines.mongodb.rows.held import HeldType, Made, Types
from tasks.engines.mongodb.rows.json_text import HopelessError, json_text
from tasks.engines.mongodb.rows.moments import day_text, moment_text
from tasks.model.names import MAX_BYTES, OWN_PREFIX
from tasks.model.transfer_steps import ZERO

_INTEGERS: Final = {"smallint": 16, "integer": 32, "bigint": 64}
_SHORT: Final = {
    "int": "integer", "int2": "smallint", "int4": "integer", "int8": "bigint", "bool": "boolean", "decimal": "numeric",
    "character varying": "varchar", "float8": "double precision", "float4": "real",
    "timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz",
}  # fmt: skip
_ALWAYS: Final = {
    "string": "text", "objectId": "text", "bool": "boolean", "date": "timestamptz", "binary": "bytea", "uuid": "uuid",
}  # fmt: skip
_SYSTEM: Final = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
_TEXTS: Final = ("text", "varchar")
_JSON: Final = ("json", "jsonb")
_KINDS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(_INTEGERS, ("number", "string")),
    "numeric": ("number", "string"),
    "double precision": ("number",),
    "real": ("number",),
    **dict.fromkeys(_TEXTS, ("string", "objectId")),
    "boolean": ("bool",),
    "timestamptz": ("date",),
    "timestamp": ("date",),
    "date": ("date", "string"),
    "uuid": ("uuid", "string"),
    "bytea": ("binary", "uuid", "objectId", "string"),
}


class PostgresTypes(Types):
    """Those of PostgreSQL."""

    database = "PostgreSQL"
    json = _JSON
    rest = "jsonb"
    texts = _TEXTS
    constants: ClassVar[Mapping[type, str]] = {str: "text", bool: "boolean", int: "bigint"}
    listed = (
        "Write smallint, integer, bigint, numeric, real, double precision, boolean, text, varchar, timestamptz"
        " or timestamp with milliseconds, date, uuid, bytea, json or jsonb."
    )
    longest_key = 2600
    """An index holds 2,704, with what it needs itself."""

    def type_of(self, wanted: str) -> HeldType | None:
        """Take a type to pieces; None for one that is not known here."""
        found = re.fullmatch(
            r"([a-z][a-z0-9 ]*?)\s*(?:\(([0-9, ]+)\))?( with(?:out)? time zone)?", wanted.strip().lower()
        )
        if found is None:
            return None
        name = re.sub(r"\s+", " ", found[1] + (found[3] or ""))
        arguments = tuple(int(part) for part in (found[2] or "").split(",") if part.strip())
        made = HeldType(name=_SHORT.get(name, name), arguments=arguments)
        return made if _is_known(made) else None

    def chosen(self, kinds: Set[str], whole: int, *, key: bool) -> str:  # noqa: ARG002 - there are no others in a key
        """Return the type for values of kinds that were seen."""
        if kinds == {"number"}:
            return {32: "integer", 64: "bigint", 1: "double precision"}.get(whole, "numeric")
        return _ALWAYS.get(next(iter(kinds)), "jsonb") if len(kinds) == 1 else "jsonb"

    def taken(self, of: HeldType) -> tuple[str, ...]:
        """Return the kinds that a type takes."""
        return _KINDS_OF[of.name]

    def plain_maker(self, kind: str, of: HeldType) -> Made:
        """Return what makes the text of a value that is known to be of the kind."""
        if (within := self.range_of(of)) is not None:
            return partial(texts.integer, within=within, whole=texts.whole if kind == "number" else texts.spelt_whole)
        if of.name == "numeric":
            if kind == "number" and not of.arguments:
                return texts.number
            return partial(texts.numeric if kind == "number" else texts.spelt_numeric, of=of)
        if of.name == "bytea":
            return _BYTES[kind]
        if of.name in _TEXTS:
            return texts.bounded(of, str if kind == "objectId" else texts.without_zero)
        return _MADE[kind, of.name]

    def json_text(self, value: Any, *, tagged: bool) -> str:
        """Return JSON."""
        return json_text(value, tagged=tagged)

    def any_maker(self, of: HeldType) -> Made:
        """Return what makes the text of a value of any kind."""
        return texts.bounded(of, _any_text)

    def range_of(self, of: HeldType) -> tuple[int, int] | None:
        """Return the first and the last number of a type of integers."""
        bits = _INTEGERS.get(of.name)
        return None if bits is None else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)

    def form_of(self, of: HeldType) -> Literal["plain", "text", "bytes"]:  # noqa: ARG002
        """Return `plain`: COPY has one form."""
        return "plain"

    def takes_name(self, name: str) -> bool:
        """Tell whether a column can be called so."""
        return name not in _SYSTEM and len(name.encode()) <= MAX_BYTES and not name.startswith(OWN_PREFIX)


def _is_known(one: HeldType) -> bool:
    count = len(one.arguments)
    if one.name == "numeric":
        # More digits after the point than in all are something else.
        return not count or (count < 3 and 0 < one.arguments[0] <= 1000 and one.arguments[-1] <= one.arguments[0])
    if one.name == "varchar":
        return not count or (count == 1 and 0 < one.arguments[0] <= 10_485_760)
    if one.name in ("timestamptz", "timestamp"):
        return not count or (count == 1 and 3 <= one.arguments[0] <= 6)
    return not count and one.name in (*_KINDS_OF, *_JSON)


def _moment(value: Any, *, zone: str) -> str:
    text = moment_text(int(value))
    return text.replace(" BC", f"{zone} BC") if text.endswith(" BC") else text + zone


def _any_text(value: Any) -> str:
    text = texts.without_zero(texts.any_text(value))
    if type(value) is not str and "\\u0000" in text:
        raise HopelessError(ZERO)
    return text


def _hex(value: bytes) -> str:
    return "\\x" + value.hex()


_BYTES: Final[Mapping[str, Made]] = {
    "binary": _hex,
    "uuid": _hex,
    "objectId": lambda value: _hex(value.binary),
    "string": lambda value: _hex(value.encode()),
}
_MADE: Final[Mapping[tuple[str, str], Callable[[Any], str]]] = {
    ("number", "double precision"): texts.double,
    ("number", "real"): texts.real,
    ("date", "timestamptz"): partial(_moment, zone="+00"),
    ("date", "timestamp"): partial(_moment, zone=""),
    ("date", "date"): lambda value: day_text(int(value)),
    ("bool", "boolean"): lambda value: "t" if value else "f",
    ("uuid", "uuid"): texts.uuid_text,
    ("string", "uuid"): texts.uuid_of_text,
    ("string", "date"): texts.day_of_text,
}
