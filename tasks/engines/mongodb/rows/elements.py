"""Elements of an array as documents of their own: what MongoDB gives where rows are made of them.

Such a document has the `_id` of the one that it is of, the element where that has the array, and its place in it; of
other fields only those that columns name. So whatever makes rows of documents makes rows of elements.
"""

from collections.abc import Iterable
from typing import Any, Final

import pymongo
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from tasks.model.names import OWN_PREFIX
from tasks.model.transfer import ID
from tasks.model.transfer_steps import POSITION

_ELEMENT: Final = f"{OWN_PREFIX}element"
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
    """Return the stage that leaves of such a document what is its own, and other paths."""
    kept = {(ID,), path, (POSITION,), *others}
    # One within another would be refused.
    outer = [one for one in kept if not any(one[:length] in kept for length in range(1, len(one)))]
    return [{"$project": {".".join(one): 1 for one in sorted(outer)}}]


def counted(path: Path) -> dict[str, Any]:
    """Return the expression of how many rows a document becomes."""
    whole = f"${'.'.join(path)}"
    return {"$cond": [{"$isArray": [whole]}, {"$size": whole}, 0]}


def usual(into: Collection[Any], path: Path, session: ClientSession | None) -> float:
    """Return how many elements some documents have on average; 1 where that is less."""
    average = {"$group": {ID: None, "n": {"$avg": counted(path)}}}
    with pymongo.timeout(0):
        found = list(into.aggregate([{"$sample": {"size": _SAMPLE}}, average], session=session))
    return max([1.0, *(float(one["n"]) for one in found)])


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
