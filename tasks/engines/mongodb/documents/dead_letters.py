"""Old values that could not become new ones: kept in a collection of their own before they go."""

from typing import Any, Final

import pymongo
from pymongo import ReplaceOne, UpdateOne

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import EXACT, Expression, from_text, is_missing, read_all, same
from tasks.engines.mongodb.documents.lease import Lease, leased
from tasks.engines.mongodb.documents.pipelines import contracted, known
from tasks.engines.mongodb.documents.walk import Fenced
from tasks.model.document_steps import FieldPair, Reshape
from tasks.model.errors import DataChanged, StepError

_AT_A_TIME: Final = 200
_PATIENCE: Final = 20


def left_over(action: Reshape) -> Expression:
    """Tell whether a document has an old value that has no new one, and would be gone."""
    return {"$or": [_left(pair) for pair in _lettered(action)] or [False]}


def keep(database: Documents, action: Reshape, fenced: Fenced) -> None:
    """Write such values into the collection of dead letters, then take them out of their documents.

    A value that is written in between is not the one that was kept: its document stays for the next round. Raises
    StepError when that goes on for ever.
    """
    into = database.get_collection(action.collection, codec_options=EXACT)
    pairs, idle = _lettered(action), 0
    shown = {pair.name: {"left": _left(pair), "value": read_all(pair.olds)} for pair in pairs}
    sure = {"$and": [left_over(action), known(action)]}
    while pairs:
        asked: list[dict[str, Any]] = [
            {"$match": {"$expr": sure}}, {"$limit": _AT_A_TIME}, {"$project": shown},
        ]  # fmt: skip
        with pymongo.timeout(0):
            found = list(into.aggregate(asked))
        if not found:
            break
        with leased(database) as lease, fenced():
            letters = [one for document in found for one in _letters(pairs, document)]
            kept = database.get_collection(action.dead_letters, codec_options=EXACT)
            kept.bulk_write([ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in letters])
            updates = [_update(action, pairs, document, lease) for document in found]
            gone = into.bulk_write(updates, bypass_document_validation=True).modified_count
            lease.require()
        idle = 0 if gone else idle + 1
        if idle == _PATIENCE:
            raise StepError(
                "the old application still writes: values that were kept are others again",
                where=action.table,
                hint="Stop it, then run the command again: it goes on.",
                changed=DataChanged.PARTIALLY,
            )


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
