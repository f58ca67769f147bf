"""A value as one of another type, where that is the same value; the server itself would round, cut and guess."""

from typing import Any, Final

from bson.datetime_ms import DatetimeMS

from tasks.engines.mongodb.documents.expressions import REMOVE, Expression, is_missing

_NUMBERS: Final = ("int", "long", "double", "decimal")
_NUMBER: Final = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?$"
_DIGITS: Final = 34
"""As many a decimal has; of longer strings it would take the first."""
_DATE: Final = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:(\.[0-9]{1,3})0*)?(?:Z|[+-]00:?00)?)?$"
)
_FIRST: Final = DatetimeMS(-62_135_596_800_000)
_LAST: Final = DatetimeMS(253_402_300_799_999)
"""The years 1 to 9999: of another date no string can be made, and the server would fail instead of saying so."""


def convert(value: Expression, to: str, instead: Expression) -> Expression:
    """Return the converted value; of null null, of nothing nothing, and `instead` of what would lose something."""
    # Of a missing value $convert would make a null.
    missing = {"case": is_missing("$$given"), "then": REMOVE}
    lost = {"case": fails("$$given", to), "then": instead}
    chosen = {"$switch": {"branches": [missing, lost], "default": _made(to)}}
    return {"$let": {"vars": {"given": value}, "in": chosen}}


def fails(value: Expression, to: str) -> Expression:
    """Tell whether a value cannot be converted, or would be another one: 1.7 is no int, and 5 no bool."""
    there = {"$not": [{"$in": [{"$type": "$$given"}, ["missing", "null"]]}]}
    made: Expression = {"$cond": [{"$eq": [{"$type": "$$made"}, to]}, _lost(to), True]}
    found = {"$let": {"vars": {"made": _made(to)}, "in": made}}
    return {"$let": {"vars": {"given": value}, "in": {"$cond": [there, found, False]}}}


def _made(to: str) -> Expression:
    made = {"$convert": {"input": "$$given", "to": to, "onError": None, "onNull": None}}
    if to != "string":
        return made
    strange = {"$or": [{"$lt": ["$$given", _FIRST]}, {"$gt": ["$$given", _LAST]}]}
    return {"$cond": [{"$and": [_is("date"), strange]}, None, made]}


def _is(*types: str) -> Expression:
    return {"$in": [{"$type": "$$given"}, list(types)]}


def _lost(to: str) -> Expression:
    """Tell whether what was made says less than what was given; true of all that is not known to be exact."""
    cases: list[tuple[Expression, Expression]] = [(_is(to), False)]
    if to == "bool":
        cases.append((_is(*_NUMBERS), {"$not": [{"$in": ["$$given", [0, 1]]}]}))
    elif to == "string":
        # Of a double it has six digits.
        back = {"$convert": {"input": "$$made", "to": {"$type": "$$given"}, "onError": None}}
        cases += [(_is(*_NUMBERS, "date", "objectId"), {"$ne": [back, "$$given"]}), (_is("bool"), False)]
    elif to == "date":
        cases += [(_is(*_NUMBERS), {"$ne": [{"$toLong": "$$made"}, "$$given"]}), (_is("string"), _is_another_date())]
    elif to in _NUMBERS:
        cases += [
            (_is(*_NUMBERS), {"$ne": ["$$made", "$$given"]}),
            (_is("date"), {"$ne": [{"$convert": {"input": "$$made", "to": "date", "onError": None}}, "$$given"]}),
            (_is("string"), _is_another_number()),
            (_is("bool"), False),
        ]
    elif to == "objectId":
        cases.append((_is("string"), False))
    branches = [{"case": case, "then": lost} for case, lost in cases]
    return {"$switch": {"branches": branches, "default": True}}


def _is_another_number() -> Expression:
    plain = {"$and": [
        {"$regexMatch": {"input": "$$given", "regex": _NUMBER}}, {"$lte": [{"$strLenBytes": "$$given"}, _DIGITS]},
    ]}  # fmt: skip
    exact = {"$toDecimal": "$$given"}
    # A double is as good as a string of 15 digits, and so many a decimal is given of it.
    same: list[Any] = [{"$eq": ["$$made", exact]}, {"$eq": [{"$toDecimal": "$$made"}, exact]}]
    return {"$cond": [plain, {"$not": [{"$or": same}]}, True]}


def _is_another_date() -> Expression:
    """Tell whether a string says more than the date does, or something else: microseconds, an offset, a word."""
    day, time, fraction = ({"$ifNull": [{"$arrayElemAt": ["$$parts.captures", n]}, ""]} for n in range(3))
    given = {"$concat": [day, " ", time, fraction]}
    made = {"$dateToString": {"date": "$$made", "format": "%Y-%m-%d %H:%M:%S.%L"}}
    parts = {"$regexFind": {"input": "$$given", "regex": _DATE}}
    found = {"$and": [{"$ne": ["$$parts", None]}, {"$eq": [{"$indexOfBytes": [made, given]}, 0]}]}
    return {"$let": {"vars": {"parts": parts}, "in": {"$not": [found]}}}
