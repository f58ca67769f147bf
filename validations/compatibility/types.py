"""Whether a type can hold everything that another one can."""

import re
from typing import Literal

Fit = Literal["same", "wider", "narrower", "other"]

_WIDTHS = ("smallint", "integer", "bigint")
_FLOATS = ("real", "double precision")
_TEXTS = ("character varying", "text")
_TYPE = re.compile(
    r"(?P<name>[^(]+?)(?: ?\((?P<numbers>[\d, -]+)\))?(?P<rest> (?:with|without) time zone)?(?P<array>(?:\[\])*)"
)
_MOST_PRECISE = 6


def fit(old: str, new: str) -> Fit:
    """Compare types as `format_type` prints them; `other`: neither holds the other without a conversion."""
    if old == new:
        return "same"
    before, after = _TYPE.fullmatch(old), _TYPE.fullmatch(new)
    if before is None or after is None or before["array"] != after["array"]:
        return "other"
    a, b = _numbers(before), _numbers(after)
    first, second = before["name"] + (before["rest"] or ""), after["name"] + (after["rest"] or "")
    if first == second:
        return _of_one_kind(first, a, b)
    for order in (_WIDTHS, _FLOATS):
        if first in order and second in order:
            return "wider" if order.index(first) < order.index(second) else "narrower"
    if first in _TEXTS and second in _TEXTS:
        return "wider" if second == "text" or not b else "narrower"
    return _to_numeric(first, second, b)


def _to_numeric(first: str, second: str, b: tuple[int, ...]) -> Fit:
    if first in _WIDTHS and second == "numeric":
        digits = (5, 10, 19)[_WIDTHS.index(first)]
        return "wider" if not b or b[0] - b[1] >= digits else "narrower"
    return "narrower" if second in _WIDTHS and first == "numeric" else "other"


def _numbers(match: re.Match[str]) -> tuple[int, ...]:
    found = tuple(int(number) for number in (match["numbers"] or "").split(",") if number.strip())
    return (found[0], 0) if match["name"] == "numeric" and len(found) == 1 else found


def _of_one_kind(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> Fit:
    if name == "numeric":
        if not b:
            return "wider"
        return "wider" if a and b[0] - b[1] >= a[0] - a[1] and b[1] >= a[1] else "narrower"
    unlimited = _MOST_PRECISE if name.startswith(("time", "interval")) else 1 << 30
    most, now = (a or (unlimited,))[0], (b or (unlimited,))[0]
    if name == "bit":
        return "other"
    return "same" if most == now else "wider" if now > most else "narrower"
