"""Ask the documents, before anything is done, whether they can be made anew and come back as they were."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pymongo.errors import OperationFailure

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.checks import Broken, broken
from tasks.engines.mongodb.documents.examine import GATE
from tasks.engines.mongodb.documents.expressions import from_text
from tasks.engines.mongodb.errors import code_of, is_transient
from tasks.engines.mongodb.shadow.compare import compared, lossy
from tasks.engines.mongodb.shadow.place import Side, look, require, stages_of
from tasks.model.document_steps import Rebuild
from tasks.model.plan import Plan
from tasks.model.status import CheckResult, GateResult
from tasks.model.steps import Phase

COMES_BACK: Final = "down gives every document as it was"


def examine_rebuild(database: Documents, plan: Plan) -> GateResult:
    """Return a result for each condition; counts, never values. Reads every document where there are stages."""
    (step,) = (one for one in plan.phase(Phase.SWAP))
    assert isinstance(step.action, Rebuild)
    started = time.monotonic()
    checks = [*_comes_back(database, step.action), *_duplicates(database, step.action)]
    took = (time.monotonic() - started) / max(len(checks), 1)
    return GateResult(gate=GATE, checks=tuple(one.model_copy(update={"seconds": took}) for one in checks))


def examined(database: Documents, query: str) -> Broken:
    """Return how many documents break a condition of a plan, whatever it is about."""
    asked = from_text(query)
    if "rebuilt" not in asked:
        return broken(database, query)
    action = Rebuild.model_validate_json(asked["rebuilt"])
    if asked["side"] == "back":
        return lossy(database, action.collection, stages_of(action.down), stages_of(action.up))
    if asked["side"] == "forth":
        return _changed(database, action)
    place = require(look(database, action), action, "before", "swapped")
    name = place.new if asked["side"] == "new" else place.kept
    side = next(one for one in place.sides(action) if one.name == name)
    return compared(database, Side(name=action.collection, stages=side.stages), Side(name=name, stages=()))


def _comes_back(database: Documents, action: Rebuild) -> Iterator[CheckResult]:
    if not stages_of(action.up):
        return
    name = COMES_BACK
    try:
        found = _changed(database, action)
    except OperationFailure as error:
        if is_transient(error):
            raise
        why = f"a stage fails on a document that exists: {code_of(error)} {type(error).__name__}"
        yield CheckResult(name=name, passed=False, evaluated=True, message=why)
        return
    told = f"{found.documents:,} documents, or more, would be others: a rollback would change them"
    yield CheckResult(
        name=name, passed=not found.documents, evaluated=True, unexpected=found.documents,
        message=told if found.documents else "all documents",
    )  # fmt: skip


def _changed(database: Documents, action: Rebuild) -> Broken:
    whole = Side(name=action.collection, stages=())
    there_and_back = Side(name=action.collection, stages=(*stages_of(action.up), *stages_of(action.down)))
    # Nobody follows: a document has only to be read once more, if it was written between the two.
    return compared(database, whole, there_and_back, patience=1.0)


def _can_be_asked(index: Mapping[str, Any]) -> bool:
    """Tell whether values that are equal are those that the index takes for equal: else its build tells."""
    return not any(part.isdecimal() for key in index["key"] for part in key.split("."))


def _duplicates(database: Documents, action: Rebuild) -> Iterator[CheckResult]:
    """Ask whether the unique indexes of the new collection can be built."""
    known = from_text(action.kept_indexes)["indexes"]
    for index in from_text(action.indexes)["indexes"]:
        if not index.get("unique") or (index in known and not stages_of(action.up)):
            continue
        if not _can_be_asked(index):
            continue
        keys = {f"k{number}": {"$ifNull": [f"${key}", None]} for number, key in enumerate(index["key"])}
        wanted = index.get("partialFilterExpression", {})
        if index.get("sparse"):
            # A document that has none of the fields is not in it.
            wanted = {"$and": [wanted, {"$or": [{key: {"$exists": True}} for key in index["key"]]}]}
        groups = [
            *stages_of(action.up), {"$match": wanted}, {"$group": {"_id": keys, "n": {"$sum": 1}}},
            {"$match": {"n": {"$gt": 1}}}, {"$count": "n"},
        ]  # fmt: skip
        compared_by = {"collation": index["collation"]} if "collation" in index else {}
        row = next(database[action.collection].aggregate(groups, allowDiskUse=True, **compared_by), {"n": 0})
        yield CheckResult(
            name=f"index {index['name']} is unique", passed=not row["n"], evaluated=True, unexpected=row["n"],
            message=f"{row['n']:,} values are there more than once" if row["n"] else "no duplicates",
        )  # fmt: skip
