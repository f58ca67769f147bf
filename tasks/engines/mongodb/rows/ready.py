"""Let MongoDB make the lines itself, as texts: a document that is not plain comes as it is, and is left to `Lines`.

A gate compares every row with what `Lines` makes of its document: two codes say the same, or the run does not go on.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import is_missing
from tasks.engines.mongodb.rows.asked import asked_by
from tasks.engines.mongodb.rows.columns import types_of
from tasks.engines.mongodb.rows.held import ANY, HeldType
from tasks.engines.mongodb.rows.shape import CONSTANT, REST
from tasks.engines.receiving.lines import NULL
from tasks.engines.records import Line
from tasks.model.names import OWN_PREFIX
from tasks.model.transfer import ID
from tasks.model.transfer_steps import RowTransfer, TransferColumn

Expression = Any
LINE: Final = f"{OWN_PREFIX}line"
_HEAD: Final = b"\x02" + LINE.encode() + b"\0"
_BEGIN: Final = 4 + len(_HEAD) + 4
"""Where the text begins, after its length."""
_LENGTH: Final = struct.Struct("<i")
_TOGETHER: Final = 100
"""Documents that are asked for once more by one query."""
_LARGEST: Final = 1 << 20
"""Bytes of a document that is made a line of: with all that is escaped it is far from what a document may have."""
_ESCAPES: Final = (("\\", "\\\\"), ("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r"))
_FROM, _UNTIL = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
"""Between these the year has four digits."""
_TEXTS: Final = ("text", "varchar", "longtext")
_GREATEST: Final = 2**63 - 1
_OBJECT_ID: Final = 24
"""Digits."""
_DAY: Final = 86_400_000
"""Milliseconds."""
_NUMBER: Final = "^(?:-(?=.*[1-9]))?[0-9]+(?:\\.[0-9]+)?$"
"""A decimal that is finite, no minus zero, and written without an exponent."""
_DIGITS: Final = (1e-9, 1e15)
"""Of doubles between these the server says fifteen digits, as a decimal: most are the same double again."""
_MOMENTS: Final = {
    "timestamptz": "%Y-%m-%d %H:%M:%S.%L+00",
    "timestamp": "%Y-%m-%d %H:%M:%S.%L",
    "datetime": "%Y-%m-%d %H:%M:%S.%L",
    "date": "%Y-%m-%d",
}


@dataclass(kw_only=True)
class _Node:
    """A field with a column, or one with fields in it."""

    inner: dict[str, "_Node"] = field(default_factory=dict)
    plain: Expression = None
    """True where the value can be made a text of, or is the nothing that NULL stands for."""


def stage(action: RowTransfer) -> dict[str, Any] | None:
    """Return the stage that makes lines of documents; None where some column has to be made here."""
    if action.unnest:
        return None
    types, root = types_of(action), _Node()
    texts: list[Expression] = []
    for one in action.columns:
        of = types.type_of(one.type)
        path = (one.text or one.expression).split(".")
        if of is None or not one.expression or one.source_type in (CONSTANT, REST) or not all(map(_is_name, path)):
            return None
        if path[0] == ID and len(path) > 1:
            return None
        value = "$" + ".".join(path)
        found = _made(one, of, types.range_of(of), value)
        if found is None:
            return None
        plain, text = found
        node = root
        for name in path:
            node = node.inner.setdefault(name, _Node())
        node.plain = {
            "$or": [
                _is_nothing(one, action, value),
                {"$and": [*plain, *_bounds(one, of, action, types.longest_key, value)]},
            ]
        }
        texts += ["\t", {"$ifNull": [text, NULL.decode()]}]
    is_plain = {"$and": [{"$lte": [{"$bsonSize": "$$ROOT"}, _LARGEST]}, *_plain(root, "$$ROOT", "$")]}
    made = {LINE: {"$concat": texts[1:]}, ID: f"${ID}"}
    return {"$replaceWith": {"$cond": [is_plain, made, "$$ROOT"]}}


def _is_name(name: str) -> bool:
    """Tell whether a path of an expression may have this in it."""
    return bool(name) and not name.startswith("$")


def _plain(node: _Node, document: Expression, prefix: str) -> Iterator[Expression]:
    """Yield what holds of a document that has no other fields than these, each once, with plain values."""
    counted: list[Expression] = []
    for name, child in node.inner.items():
        value = f"{prefix}{name}"
        counted.append({"$cond": [is_missing(value), 0, 1]})
        if child.inner:
            filled = {"$gt": [{"$size": {"$objectToArray": value}}, 0]}
            *fields, size = _plain(child, value, f"{value}.")
            # What is within a field that is missing is missing, too: NULL need not stand for that.
            yield from fields
            yield {"$or": [is_missing(value), {"$and": [{"$eq": [{"$type": value}, "object"]}, filled, size]}]}
        else:
            yield child.plain
    yield {"$eq": [{"$size": {"$objectToArray": document}}, {"$add": counted}]}


def _is_nothing(one: TransferColumn, action: RowTransfer, value: Expression) -> Expression:
    """Tell whether there is no value, and NULL stands for that."""
    kinds = {"null": ["null"], "missing": ["missing"], "both": ["null", "missing"]}[one.nulls]
    return {"$in": [{"$type": value}, [] if one.name in action.target_key else kinds]}


def _bounds(
    one: TransferColumn, of: HeldType, action: RowTransfer, longest: int, value: Expression
) -> Iterator[Expression]:
    """Yield how long a text may be."""
    if of.name not in _TEXTS or one.source_type == "objectId":
        return
    if of.arguments:
        yield {"$lte": [{"$strLenCP": value}, of.arguments[0]]}
    if one.name in action.target_key and longest:
        yield {"$lte": [{"$strLenBytes": value}, longest // len(action.target_key) - 8]}


def _made(
    one: TransferColumn, of: HeldType, within: tuple[int, int] | None, value: Expression
) -> tuple[list[Expression], Expression] | None:
    """Return what holds of a value that a text is made of, and that text; None for columns without such values."""
    kind, text = one.source_type, {"$toString": value}
    of_type = {"$type": value}
    if within and kind == "number":
        # A type without a sign holds more than a long.
        low, high = within[0], min(within[1], _GREATEST)
        return [{"$in": [of_type, ["int", "long"]]}, {"$gte": [value, low]}, {"$lte": [value, high]}], text
    if of.name in _FRACTIONS and not of.arguments and kind == "number":
        return _FRACTIONS[of.name](value)
    if of.name in _TEXTS and kind in ("string", ANY):
        return [{"$eq": [of_type, "string"]}], _escaped(value)
    whole = of.name in _TEXTS and (not of.arguments or of.arguments[0] >= _OBJECT_ID)
    if kind == "bool" or (kind == "objectId" and whole):
        plain = {"$eq": [of_type, kind]}
        # MariaDB has no words for them; of nothing there is no text.
        digit = {"$cond": [plain, {"$cond": [value, "1", "0"]}, None]}
        return [plain], digit if of.name == "tinyint" else text
    if of.name in _MOMENTS and kind == "date":
        known = [{"$eq": [of_type, "date"]}, {"$gte": [value, _FROM]}, {"$lt": [value, _UNTIL]}]
        midnight = [{"$eq": [{"$mod": [{"$toLong": value}, _DAY]}, 0]}] if of.name == "date" else []
        return [*known, *midnight], {"$dateToString": {"date": value, "format": _MOMENTS[of.name]}}
    return None


def _numeric(value: Expression) -> tuple[list[Expression], Expression]:
    text, of_type = {"$toString": value}, {"$type": value}
    plain = {"$and": [{"$eq": [of_type, "decimal"]}, {"$regexMatch": {"input": text, "regex": _NUMBER}}]}
    return [{"$or": [{"$in": [of_type, ["int", "long"]]}, plain]}], text


def _double(value: Expression) -> tuple[list[Expression], Expression]:
    # What `$toString` makes of a double has six digits.
    text, of_type = {"$toString": {"$toDecimal": value}}, {"$type": value}
    size = {"$abs": value}
    usual = {"$or": [{"$eq": [value, 0]}, {"$and": [{"$gte": [size, _DIGITS[0]]}, {"$lte": [size, _DIGITS[1]]}]}]}
    same = {"$eq": [{"$toDouble": text}, value]}
    plain = {"$and": [{"$eq": [of_type, "double"]}, usual, same]}
    return [{"$or": [{"$eq": [of_type, "int"]}, plain]}], text


def _without_minus_zero(value: Expression) -> tuple[list[Expression], Expression]:
    plain, text = _double(value)
    return [*plain, {"$ne": [text, "-0"]}], text


_FRACTIONS: Final = {"numeric": _numeric, "double precision": _double, "double": _without_minus_zero}


def _escaped(value: Expression) -> Expression:
    for what, by in _ESCAPES:
        value = {"$replaceAll": {"input": value, "find": what, "replacement": by}}
    return value


def read(
    database: Documents, action: RowTransfer, within: Mapping[str, Any], session: ClientSession | None = None
) -> Iterator[Line | list[bytes]]:
    """Give what a condition finds: documents, or lines that MongoDB has made, joined."""
    asked, made = asked_by(action), stage(action)
    odd: list[RawBSONDocument] = []

    def again() -> Iterator[list[bytes]]:
        for first in range(0, len(odd), _TOGETHER):
            which = {"$or": odd[first : first + _TOGETHER]}
            yield from asked.documents(database, which, session=session)
        odd.clear()

    for some in asked.documents(database, within, session=session, last=made):
        for is_made, these in groupby(some, _is_line) if made else [(False, iter(some))]:
            listed = list(these)
            if is_made:
                lines = [_text(one) for one in listed]
                fit = lines if _all_fit(lines) else [one for one in lines if _all_fit([one])]
                if fit:
                    yield Line(line=b"\n".join(fit), rows=len(fit))
                if len(fit) < len(listed):
                    odd += [_identity(one) for one, line in zip(listed, lines, strict=True) if not _all_fit([line])]
            else:
                yield listed
        if session is None:
            yield from again()
    # Not before: a session is for one who reads.
    yield from again()


def _text(one: bytes) -> bytes:
    return one[_BEGIN : _end(one) - 1]


def _end(one: bytes) -> int:
    length: int = _LENGTH.unpack_from(one, _BEGIN - 4)[0]
    return _BEGIN + length


def _all_fit(lines: Sequence[bytes]) -> bool:
    """Tell whether they have no text that is not taken everywhere: then each document says what becomes of it."""
    joined = b"\n".join(lines)
    if b"\0" in joined:
        return False
    try:
        # MongoDB does not look whether a text is UTF-8.
        joined.decode()
    except UnicodeDecodeError:
        return False
    return True


def _identity(one: bytes) -> RawBSONDocument:
    """Return the condition for the document that a line was made of, to the byte: an `_id` may be no UTF-8 either."""
    element = one[_end(one) :]
    return RawBSONDocument(_LENGTH.pack(len(element) + 4) + element)


def _is_line(one: bytes) -> bool:
    return one.startswith(_HEAD, 4)
