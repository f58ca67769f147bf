"""Old values that could not become new ones: kept in a collection of their own before they go."""

from typing import Any, Final

import pymongo
from pymongo import ReplaceOne, UpdateOne
from pymongo.errors import PyMongoError

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import EXACT, Expression, from_text, is_missing, read_all, same
from tasks.engines.mongodb.documents.lease import Lease, leased
from tasks.engines.mongodb.documents.pipelines import contracted, known
from tasks.engines.mongodb.documents.walk import Fenced, condition, key_of
from tasks.engines.records import Key
from tasks.model.document_steps import FieldPair, Reshape
from tasks.model.errors import DataChanged, StepError

_AT_A_TIME: Final = 200
_PATIENCE: Final = 20


def left_over(action: Reshape) -> Expression:
    """Tell whether a document has an old value that has no new one, and would be gone."""
    return {"$or": [_left(pair) for pair in _lettered(action)] or [False]}


def keep(database: Documents, action: Reshape, fenced: Fenced, most: int = _AT_A_TIME) -> None:
    """Write such values into the collection of dead letters, then take them out of their documents.

    The documents are gone over in the order of `_id`, until nothing is found any more: a value that is written in
    between is not the one that was kept, and its document stays for the next time. Raises StepError when that goes on
    for ever.
    """
    into = database.get_collection(action.collection, codec_options=EXACT)
    pairs, idle = _lettered(action), 0
    shown = {pair.name: {"left": _left(pair), "value": read_all(pair.olds)} for pair in pairs}
    sure = {"$and": [left_over(action), known(action)]}
    low: Key | None = None
    size = most
    while pairs:
        # Behind those that are done: from the beginning each round would read all that has been read before.
        asked: list[dict[str, Any]] = [
            {"$match": {"$and": [condition(low, None), {"$expr": sure}]}},
            {"$sort": {"_id": 1}}, {"$limit": size}, {"$project": shown},
        ]  # fmt: skip
        with pymongo.timeout(0):
            found = list(into.aggregate(asked, hint={"_id": 1}))
        if not found and low is None:
            break
        if not found:
            low = None
            continue
        try:
            gone = _moved(database, action, pairs, found, fenced)
        except PyMongoError as error:
            # What was kept is kept under the same name again.
            if size == 1 or not error.timeout:
                raise
            size = max(1, size // 8)
            continue
        low, size = key_of(found[-1]["_id"]), min(2 * size, most)
        idle = 0 if gone else idle + 1
        if idle == _PATIENCE:
            raise StepError(
                "the old application still writes: values that were kept are others again",
                where=action.table,
                hint="Stop it, then run the command again: it goes on.",
                changed=DataChanged.PARTIALLY,
            )


def _moved(
    database: Documents, action: Reshape, pairs: list[FieldPair], found: list[dict[str, Any]], fenced: Fenced
) -> int:
    """Keep the values of documents that were found, take them out, and return of how many documents."""
    into = database.get_collection(action.collection, codec_options=EXACT)
    kept = database.get_collection(action.dead_letters, codec_options=EXACT)
    letters = [one for document in found for one in _letters(pairs, document)]
    with leased(database) as lease, fenced():
        kept.bulk_write([ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in letters])
        updates = [_update(action, pairs, document, lease) for document in found]
        gone = into.bulk_write(updates, bypass_document_validation=True).modified_count
        lease.require()
    return gone


def _update(action: Reshape, pairs: list[FieldPair], document: dict[str, Any], lease: Lease) -> UpdateOne:
    kept = [pair.name for pair in pairs if document[pair.name]["left"]]
    unchanged = {"$and": [lease.condition, known(action), *_unchanged(pairs, document)]}
    return UpdateOne({"_id": document["_id"], "$expr": unchanged}, contracted(action, kept))


def _lettered(action: Reshape) -> list[FieldPair]:
    return [pair for pair in action.pairs if pair.unfit and pair.policy == "dead_letter"]


def _left(pair: FieldPair) -> Expression:
    return {"$and": [from_text(pair.unfit), is_missing(read_all(pair.news))]}


def _letters(pairs: list[FieldPair], document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "_id": {"document": document["_id"], "field": pair.old},
            "value": document[pair.name]["value"],
            "reason": f"it cannot become {pair.new} exactly",
        }
        for pair in pairs
        if document[pair.name]["left"]
    ]


def _unchanged(pairs: list[FieldPair], document: dict[str, Any]) -> list[Expression]:
    kept = [pair for pair in pairs if document[pair.name]["left"]]
    return [same(read_all(pair.olds), {"$literal": document[pair.name]["value"]}) for pair in kept]
