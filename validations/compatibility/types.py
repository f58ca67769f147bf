"""Whether a type can hold everything that another one can."""

import re
from typing import Literal

Fit = Literal["same", "wider", "narrower", "other"]

_BYTES = {"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "integer": 4, "bigint": 8}
_FLOATS = ("real", "double precision")
_TEXTS = ("tinytext", "character varying", "text", "mediumtext", "longtext")
_MARIADB = {
    "varchar": "character varying", "char": "character", "decimal": "numeric", "float": "real",
    "double": "double precision",
}  # fmt: skip
_TYPE = re.compile(
    r"(?P<name>[^(]+?)(?: ?\((?P<numbers>[\d, -]+)\))?(?P<rest> (?:with|without) time zone| unsigned(?: zerofill)?)?"
    r"(?P<array>(?:\[\])*)"
)
_LISTED = re.compile(r"(enum|set)\((.*)\)")
_MOST_PRECISE = 6


def fit(old: str, new: str) -> Fit:
    """Compare types as `format_type` or MariaDB prints them; `other`: neither holds the other without a conversion."""
    if old == new:
        return "same"
    listed, relisted = _LISTED.fullmatch(old), _LISTED.fullmatch(new)
    if listed and relisted and listed[1] == relisted[1]:
        return "wider" if set(listed[2].split(",")) <= set(relisted[2].split(",")) else "narrower"
    before, after = _TYPE.fullmatch(old), _TYPE.fullmatch(new)
    if before is None or after is None or before["array"] != after["array"]:
        return "other"
    return _of_kinds(_name(before), _name(after), _numbers(before), _numbers(after))


def _of_kinds(first: str, second: str, a: tuple[int, ...], b: tuple[int, ...]) -> Fit:
    whole, also = _range(first), _range(second)
    if whole and also:
        return "same" if whole == also else "wider" if also[0] <= whole[0] and whole[1] <= also[1] else "narrower"
    if first == second:
        return _of_one_kind(first, a, b)
    if whole and second == "numeric":
        return "wider" if not b or b[0] - b[1] >= len(str(whole[1])) else "narrower"
    if first in _FLOATS and second in _FLOATS:
        return "wider" if second == "double precision" else "narrower"
    if first in _TEXTS and second in _TEXTS:
        unlimited = second == "character varying" and not b
        return "wider" if unlimited or _TEXTS.index(first) < _TEXTS.index(second) else "narrower"
    return "narrower" if also and first == "numeric" else "other"


def _name(match: re.Match[str]) -> str:
    return _MARIADB.get(match["name"], match["name"]) + (match["rest"] or "")


def _range(name: str) -> tuple[int, int] | None:
    """Return the least and the greatest number of a type of whole numbers, whose width for display says nothing."""
    kind, _, unsigned = name.partition(" ")
    if kind not in _BYTES:
        return None
    bits = 8 * _BYTES[kind]
    return (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _numbers(match: re.Match[str]) -> tuple[int, ...]:
    found = tuple(int(number) for number in (match["numbers"] or "").split(",") if number.strip())
    return (found[0], 0) if _name(match) == "numeric" and len(found) == 1 else found


def _of_one_kind(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> Fit:
    if name == "numeric":
        if not b:
            return "wider"
        return "wider" if a and b[0] - b[1] >= a[0] - a[1] and b[1] >= a[1] else "narrower"
    if name in ("datetime", "timestamp", "time"):
        # MariaDB's, which keep whole seconds unless told otherwise; PostgreSQL's say more.
        unlimited = 0
    else:
        unlimited = _MOST_PRECISE if name.startswith(("time", "interval")) else 1 << 30
    most, now = (a or (unlimited,))[0], (b or (unlimited,))[0]
    if name == "bit":
        return "other"
    return "same" if most == now else "wider" if now > most else "narrower"
