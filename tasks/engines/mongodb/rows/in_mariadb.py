"""Which type of MariaDB holds the values of a field, and what is sent for each: the same value, or a reason."""

import re
from collections.abc import Callable, Mapping, Set
from functools import partial
from typing import Any, ClassVar, Final, Literal

from tasks.engines.mongodb.rows import texts
from tasks.engines.mongodb.rows.held import HeldType, Made, Types
from tasks.engines.mongodb.rows.json_text import HopelessError, json_text
from tasks.engines.mongodb.rows.moments import day_text, moment_text
from tasks.engines.mongodb.values import UnfitError
from tasks.model.names import OWN_PREFIX

_INTEGERS: Final = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_SHORT: Final = {
    "integer": "int", "numeric": "decimal", "dec": "decimal", "double precision": "double",
    "character varying": "varchar",
}  # fmt: skip
_BOOLEAN: Final = HeldType(name="tinyint", arguments=(1,))
_MOST_DIGITS, _MOST_SCALE = 65, 38
_LONGEST_TEXT, _LONGEST_BYTES, _LONGEST_NAME = 16_383, 65_532, 64
_KEY: Final = 255
"""Characters, or bytes, of what has no length, in a key."""
_FIRST, _END = -62_135_596_800_000, 253_402_300_800_000
"""Milliseconds of the years 1 to 9999."""
_DEPTH: Final = 30
"""Levels of JSON that every MariaDB reads: it refuses more than 31."""
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_BYTES_OF: Final = ("binary", "uuid", "objectId", "string")
_KINDS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys((*_INTEGERS, "decimal"), ("number", "string")),
    "double": ("number",),
    "float": ("number",),
    "varchar": ("string", "objectId"),
    "longtext": ("string", "objectId"),
    "datetime": ("date",),
    "date": ("date", "string"),
    "uuid": ("uuid", "string"),
    "varbinary": _BYTES_OF,
    "longblob": _BYTES_OF,
}


class MariaTypes(Types):
    """Those of MariaDB."""

    database = "MariaDB"
    json = ("json",)
    rest = "json"
    texts = ("longtext", "varchar")
    constants: ClassVar[Mapping[type, str]] = {str: "longtext", bool: "boolean", int: "bigint"}
    listed = (
        "Write tinyint, smallint, mediumint, int, bigint, decimal(p,s), float, double, boolean, longtext, varchar(n),"
        " datetime(n) with milliseconds, date, uuid, longblob, varbinary(n) or json."
    )

    def type_of(self, wanted: str) -> HeldType | None:
        """Take a type to pieces; None for one that is not known here."""
        found = re.fullmatch(
            r"([a-z][a-z ]*?)\s*(?:\(\s*([0-9]+)(?:\s*,\s*([0-9]+))?\s*\))?(\s+unsigned)?", wanted.strip().lower()
        )
        if found is None:
            return None
        name = re.sub(r"\s+", " ", found[1])
        arguments = tuple(int(one) for one in found.groups()[1:3] if one is not None)
        if name in ("bool", "boolean"):
            return _BOOLEAN if not arguments and not found[4] else None
        name = _SHORT.get(name, name)
        if name == "decimal":
            arguments = (*(arguments or (10,)), 0)[:2]
        made = HeldType(name=name, arguments=arguments, unsigned=bool(found[4]))
        return made if _is_known(made) else None

    def chosen(self, kinds: Set[str], whole: int, *, key: bool) -> str:
        """Return the type for values of kinds that were seen."""
        if kinds == {"number"}:
            return {32: "int", 64: "bigint", 1: "double"}.get(whole, f"decimal({_MOST_DIGITS}, 30)")
        always = {
            "string": f"varchar({_KEY})" if key else "longtext",
            "objectId": "varchar(24)",
            "bool": "boolean",
            "date": "datetime(3)",
            "binary": f"varbinary({_KEY})" if key else "longblob",
            "uuid": "uuid",
        }
        return always.get(next(iter(kinds)), "json") if len(kinds) == 1 else "json"

    def taken(self, of: HeldType) -> tuple[str, ...]:
        """Return the kinds that a type takes."""
        return ("bool",) if of == _BOOLEAN else _KINDS_OF[of.name]

    def plain_maker(self, kind: str, of: HeldType) -> Made:
        """Return what makes the text of a value that is known to be of the kind."""
        if (within := self.range_of(of)) is not None:
            return partial(texts.integer, within=within, whole=texts.whole if kind == "number" else texts.spelt_whole)
        if of.name == "decimal":
            return texts.finite(partial(texts.numeric if kind == "number" else texts.spelt_numeric, of=of))
        if of.name in ("varbinary", "longblob"):
            # Two digits for each byte.
            digits = HeldType(name=of.name, arguments=tuple(2 * one for one in of.arguments))
            return texts.bounded(digits, _HEX[kind])
        if of.name in self.texts:
            return texts.bounded(of, str)
        return _MADE[kind, of.name]

    def json_text(self, value: Any, *, tagged: bool) -> str:
        """Return JSON, as deep as MariaDB reads it."""
        text = json_text(value, tagged=tagged)
        if text.count("{") + text.count("[") > _DEPTH and _levels(text) > _DEPTH:
            raise HopelessError(f"deeper than {_DEPTH} levels")
        return text

    def any_maker(self, of: HeldType) -> Made:
        """Return what makes the text of a value of any kind."""
        return texts.bounded(of, texts.any_text)

    def range_of(self, of: HeldType) -> tuple[int, int] | None:
        """Return the first and the last number of a type of integers."""
        bits = _INTEGERS.get(of.name)
        if bits is None or of == _BOOLEAN:
            return None
        return (0, 2**bits - 1) if of.unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)

    def form_of(self, of: HeldType) -> Literal["plain", "text", "bytes"]:
        """Tell what is sent: bytes are, as digits; texts are compared by their bytes."""
        if of.name in ("varbinary", "longblob"):
            return "bytes"
        return "text" if of.name in (*self.texts, *self.json) else "plain"

    def takes_name(self, name: str) -> bool:
        """Tell whether a column can be called so."""
        return len(name) <= _LONGEST_NAME and not name.startswith(OWN_PREFIX)


def _is_known(one: HeldType) -> bool:
    count = len(one.arguments)
    first = one.arguments[0] if one.arguments else 0
    if one.name in _INTEGERS:
        # A width changes nothing, and says boolean.
        return not count or one == _BOOLEAN
    if one.unsigned:
        return False
    if one.name == "decimal":
        return count == 2 and 0 < first <= _MOST_DIGITS and one.scale <= min(first, _MOST_SCALE)
    if one.name in ("varchar", "varbinary"):
        return count == 1 and 0 < first <= (_LONGEST_TEXT if one.name == "varchar" else _LONGEST_BYTES)
    if one.name == "datetime":
        return count == 1 and 3 <= first <= 6
    return not count and one.name in (*_KINDS_OF, "json")


def _levels(text: str) -> int:
    """Return how many documents and arrays are in each other, at most."""
    deepest = level = 0
    for one in re.sub(r"[^\[\]{}]", "", _QUOTED.sub("", text)):
        level += 1 if one in "{[" else -1
        deepest = max(deepest, level)
    return deepest


def _moment(value: Any, *, make: Callable[[int], str]) -> str:
    if not _FIRST <= int(value) < _END:
        raise UnfitError("a moment outside of the years 1 to 9999")
    return make(int(value))


_HEX: Final[Mapping[str, Made]] = {
    "binary": lambda value: str(value.hex()),
    "uuid": lambda value: str(value.hex()),
    "objectId": lambda value: str(value.binary.hex()),
    "string": lambda value: str(value.encode().hex()),
}
_MADE: Final[Mapping[tuple[str, str], Made]] = {
    ("number", "double"): texts.finite(texts.double),
    ("number", "float"): texts.finite(texts.real),
    ("date", "datetime"): partial(_moment, make=moment_text),
    ("date", "date"): partial(_moment, make=day_text),
    ("bool", "tinyint"): lambda value: "1" if value else "0",
    ("uuid", "uuid"): texts.uuid_text,
    ("string", "uuid"): texts.uuid_of_text,
    ("string", "date"): texts.day_of_text,
}
