"""Elements of an array as documents of their own: what MongoDB gives where rows are made of them.

Such a document has the `_id` of the one that it is of, the element where that has the array, and its place in it; of
other fields only those that columns name. So whatever makes rows of documents makes rows of elements.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pymongo
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from tasks.engines.mongodb.errors import code_of
from tasks.model.names import OWN_PREFIX
from tasks.model.transfer import ID
from tasks.model.transfer_steps import POSITION

_ELEMENT: Final = f"{OWN_PREFIX}element"
_WHOLE: Final = f"{OWN_PREFIX}whole"
_NOT_RANDOM: Final = 28799
"""The server has met the same documents again and again: after many were deleted."""
_SAMPLE: Final = 100
"""Documents."""
Path = tuple[str, ...]


def apart(path: Path) -> list[dict[str, Any]]:
    """Return the stages that make a document of each element of the array at a path.

    None of one that is empty, null or missing. Of what is no array, is within one, or is there twice, comes a document
    whose place is null, and which has no element: nobody could say which row that would be.
    """
    return [
        {"$set": {_ELEMENT: _elements(path)}},
        {"$unwind": {"path": f"${_ELEMENT}", "includeArrayIndex": POSITION}},
        {
            "$set": {
                ".".join(path): {"$cond": [{"$eq": [{"$type": f"${POSITION}"}, "null"]}, "$$REMOVE", f"${_ELEMENT}"]}
            }
        },
    ]


def alone(path: Path, others: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the stages that leave of such a document what is its own, and other paths.

    What is no document where a path goes on is left as it is: whoever makes rows then says what becomes of it.
    """
    kept = {(ID,), path, (POSITION,), *others}
    # One within another would be refused.
    outer = sorted(one for one in kept if not any(one[:length] in kept for length in range(1, len(one))))
    # A path into something else leaves nothing of that, as if it were missing.
    names = sorted({one[0] for one in outer if len(one) > 1 and one != path})
    whole = {
        f"{_WHOLE}{number}": _unlike([one for one in outer if one[0] == name]) for number, name in enumerate(names)
    }
    back = {
        name: {"$cond": [{"$eq": [{"$type": f"${held}"}, "missing"]}, f"${name}", f"${held}"]}
        for name, held in zip(names, whole, strict=True)
    }
    stages: list[dict[str, Any]] = [{"$project": {**{".".join(one): 1 for one in outer}, **whole}}]
    return [*stages, {"$set": back}, {"$unset": list(whole)}] if whole else stages


def counted(path: Path) -> dict[str, Any]:
    """Return the expression of how many rows a document becomes."""
    whole = f"${'.'.join(path)}"
    return {"$cond": [{"$isArray": [whole]}, {"$size": whole}, 0]}


def usual(
    into: Collection[Any], path: Path, session: ClientSession | None = None, where: Mapping[str, Any] | None = None
) -> float:
    """Return how many elements some documents have on average, of those that meet a condition; 1 where there are none.

    What has to be counted in documents is so counted in elements, more or less.
    """
    # After the sample: before it, the server would read all documents.
    average = [{"$match": dict(where or {})}, {"$group": {ID: None, "n": {"$avg": counted(path)}}}]
    with pymongo.timeout(0):
        try:
            found = list(into.aggregate([{"$sample": {"size": _SAMPLE}}, *average], session=session))
        except OperationFailure as error:
            if code_of(error) != _NOT_RANDOM:
                raise
            found = list(into.aggregate([{"$sort": {ID: 1}}, {"$limit": _SAMPLE}, *average], session=session))
    return float(found[0]["n"]) if found else 1.0


def _unlike(paths: list[Path]) -> dict[str, Any]:
    """Return the expression of what a field holds, of these paths, where on their way is what is no document."""
    way = sorted({one[:length] for one in paths for length in range(1, len(one))})
    usual = [{"$in": [{"$type": f"${'.'.join(one)}"}, ["object", "missing"]]} for one in way]
    return {"$cond": [{"$and": usual}, "$$REMOVE", _held(way[0], paths)]}


def _held(at: Path, paths: list[Path]) -> Any:
    value = f"${'.'.join(at)}"
    if at in paths:
        return value
    names = sorted({one[len(at)] for one in paths if one[: len(at)] == at})
    inner = {name: _held((*at, name), paths) for name in names}
    return {"$cond": [{"$eq": [{"$type": value}, "object"]}, inner, value]}


def _elements(path: Path) -> dict[str, Any]:
    whole = f"${'.'.join(path)}"
    way = [f"${'.'.join(path[:length])}" for length in range(1, len(path))]
    filled = [{"$isArray": [whole]}, {"$ne": [whole, []]}, *({"$eq": [{"$type": one}, "object"]} for one in way)]
    nothing = [
        {"$or": [{"$in": [{"$type": whole}, ["missing", "null"]]}, {"$eq": [whole, []]}]},
        *({"$not": [{"$isArray": [one]}]} for one in way),
        # Where there are elements, whoever reads the document finds that a field is there twice; else nobody would.
        *(_once(within, name) for within, name in zip(["$$ROOT", *way], path, strict=True)),
    ]
    branches = [{"case": {"$and": filled}, "then": whole}, {"case": {"$and": nothing}, "then": []}]
    return {"$switch": {"branches": branches, "default": True}}


def _once(within: str, name: str) -> dict[str, Any]:
    """Tell whether a document has no two fields of a name; true of what is no document."""
    fields = {"$objectToArray": {"$cond": [{"$eq": [{"$type": within}, "object"]}, within, {"$literal": {}}]}}
    named = {"$filter": {"input": fields, "cond": {"$eq": ["$$this.k", name]}}}
    return {"$lte": [{"$size": named}, 1]}
