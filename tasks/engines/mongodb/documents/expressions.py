"""Aggregation expressions about one document: read a path, put a value there, compare two values to the type.

Missing is not null, anywhere: a path that is not there gives a missing value, and a missing value removes a field.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from bson.codec_options import CodecOptions, DatetimeConversion
from bson.json_util import CANONICAL_JSON_OPTIONS, dumps, loads

Expression = Any
Path = tuple[str, ...]
ROOT: Final = "$$ROOT"
REMOVE: Final = "$$REMOVE"
EXACT: Final = CodecOptions[Any](datetime_conversion=DatetimeConversion.DATETIME_MS)
"""For reading values that go back as they are: dates beyond those of Python, too."""
NOBODY: Final[Mapping[str, Any]] = {"$match": {"_id": {"$in": []}}}
"""A stage that gives nothing, and reads nothing either: for `{$expr: false}` MongoDB 6 reads the whole collection."""
_JSON: Final = CANONICAL_JSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS)


def to_text(value: Any) -> str:
    """Return extended JSON that turns into the same value again."""
    return dumps(value, json_options=_JSON)


def from_text(text: str) -> Any:
    """Return the value of canonical extended JSON."""
    return loads(text, json_options=_JSON)


def read(path: Path, root: Expression = ROOT) -> Expression:
    """Return the value at a path of documents; missing where there is none, or an array stands in the way."""
    for depth, name in enumerate(path):
        if depth == 0:
            root = _field(name, root)
        else:
            # Of null the server would read a null.
            inner = {"$cond": [is_document("$$outer"), _field(name, "$$outer"), REMOVE]}
            root = {"$let": {"vars": {"outer": root}, "in": inner}}
    return root


def read_all(paths: Sequence[Path], root: Expression = ROOT) -> Expression:
    """Return the value at a path; of several, which have no dots, a document of those that are there, if any is."""
    if len(paths) == 1:
        return read(paths[0], root)
    found = {path[0]: read(path, root) for path in paths}
    nothing = {"$eq": ["$$found", {"$literal": {}}]}
    return {"$let": {"vars": {"found": found}, "in": {"$cond": [nothing, REMOVE, "$$found"]}}}


def _field(name: str, of: Expression) -> Expression:
    return {"$getField": {"field": {"$literal": name}, "input": of}}


def put(path: Path, value: Expression) -> Expression:
    """Return the whole document with a value at a path; documents on the way are made where they are missing.

    Nothing is put where something else than a document stands in the way: that would destroy it.
    """
    return {"$let": {"vars": {"value": value}, "in": _put(ROOT, path)}}


def _put(root: Expression, path: Path) -> Expression:
    name, rest = {"$literal": path[0]}, path[1:]
    if not rest:
        return {"$setField": {"field": name, "input": root, "value": "$$value"}}
    inner = _field(path[0], "$$outer")
    making = {"$and": [is_missing("$$inner"), {"$ne": [{"$type": "$$value"}, "missing"]}]}

    def replaced(by: Expression) -> Expression:
        return {"$setField": {"field": name, "input": "$$outer", "value": by}}

    branches = [
        {"case": is_document("$$inner"), "then": replaced(_put("$$inner", rest))},
        {"case": making, "then": replaced(_put({"$literal": {}}, rest))},
    ]
    chosen = {"$switch": {"branches": branches, "default": "$$outer"}}
    return {"$let": {"vars": {"outer": root}, "in": {"$let": {"vars": {"inner": inner}, "in": chosen}}}}


def put_all(paths: Sequence[Path], value: Expression) -> Expression:
    """Return the whole document with what `read_all` gives at paths; what is missing in it is taken away."""
    if len(paths) == 1:
        return put(paths[0], value)
    made: Expression = ROOT
    for path in paths:
        made = {"$setField": {"field": {"$literal": path[0]}, "input": made, "value": read(path, "$$values")}}
    return {"$let": {"vars": {"values": value}, "in": made}}


def is_missing(value: Expression) -> Expression:
    """Tell whether a value is not there at all."""
    return {"$eq": [{"$type": value}, "missing"]}


def is_document(value: Expression) -> Expression:
    """Tell whether a value is a document."""
    return {"$eq": [{"$type": value}, "object"]}


def same(one: Expression, other: Expression) -> Expression:
    """Tell whether two values are the same: of one type, and with the same digits and sign.

    Within documents and arrays numbers are compared by value: 1 is 1.0 there.
    """
    digits = {"$eq": [{"$toString": "$$one"}, {"$toString": "$$other"}]}
    exact = {"$cond": [{"$in": [{"$type": "$$one"}, ["double", "decimal"]]}, digits, True]}
    equal = [{"$eq": [{"$type": "$$one"}, {"$type": "$$other"}]}, {"$eq": ["$$one", "$$other"]}, exact]
    return {"$let": {"vars": {"one": one, "other": other}, "in": {"$and": equal}}}


def stands_in_the_way(path: Path) -> Expression:
    """Tell whether something that is no document, be it null, stands on the way to a path."""
    on_the_way = [{"$type": read(path[:end])} for end in range(1, len(path))]
    return {"$or": [{"$not": [{"$in": [kind, ["object", "missing"]]}]} for kind in on_the_way] or [False]}


def names(condition: Any, path: Path) -> bool:
    """Tell whether a validator, or a filter, may be about a field: whether it has every name of the path somewhere."""
    words = set(_words(condition, schema=False))
    return all(name in words for name in path)


def _words(condition: Any, *, schema: bool) -> Iterator[str]:
    if isinstance(condition, str):
        yield from condition.lstrip("$").split(".")
    elif isinstance(condition, Mapping):
        for key, value in condition.items():
            if not (schema and key in ("title", "description") and isinstance(value, str)):
                yield from _words(key, schema=schema)
                yield from _words(value, schema=schema or key == "$jsonSchema")
    elif isinstance(condition, list | tuple):
        for one in condition:
            yield from _words(one, schema=schema)


def plain(value: Any) -> Any:
    """Return what a spec holds, which never changes, as the driver takes it."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value
