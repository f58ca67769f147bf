"""Ask the documents, before anything is done, whether they can take the new shape: one pass over the collection."""

import time
from collections.abc import Iterator
from typing import Any, Final

from pymongo.errors import PyMongoError

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import (
    Expression,
    from_text,
    is_missing,
    read,
    read_all,
    stands_in_the_way,
)
from tasks.engines.mongodb.errors import code_of, is_transient
from tasks.model.base import Record
from tasks.model.document_steps import CollectionCommand, FieldPair, Reshape
from tasks.model.plan import Plan
from tasks.model.status import CheckResult, GateResult

GATE: Final = "before_run"
_LARGEST: Final = 16 * 1024 * 1024 - 64 * 1024
_SAID: Final = {
    "fail": "no swap as long as they are there: correct them, or say in the spec what becomes of them",
    "null": "they become null",
    "dead_letter": "they get no new field, and the contract keeps the old value apart",
}


class Asked(Record):
    """A condition that no document may meet, or that only has to be known."""

    name: str
    expression: Any
    message: str
    error: bool = True


def examine(database: Documents, plan: Plan) -> GateResult:
    """Return a result for each condition; counts, never values. Reads every document once."""
    action = plan.reshape
    started = time.monotonic()
    asked = list(_asked(action))
    checks: list[CheckResult] = []
    try:
        counts = _counted(database, action.collection, asked)
        checks += [_result(one, counts[f"c{number}"], counts["all"]) for number, one in enumerate(asked)]
        checks += _duplicates(database, plan)
    except PyMongoError as error:
        if is_transient(error):
            raise
        why = f"an expression fails on a document that exists: {code_of(error)} {type(error).__name__}"
        checks.append(CheckResult(name="every document can be read", passed=False, evaluated=True, message=why))
    took = (time.monotonic() - started) / max(len(checks), 1)
    return GateResult(gate=GATE, checks=tuple(one.model_copy(update={"seconds": took}) for one in checks))


def _asked(action: Reshape) -> Iterator[Asked]:
    for pair in action.pairs:
        yield from _of_pair(pair)
    for path in action.paths:
        if len(path) > 1:
            arrays: list[Expression] = [{"$isArray": [read(path[:end])]} for end in range(1, len(path))]
            name = f"no array stands on the way to {'.'.join(path)}"
            yield Asked(name=name, expression={"$or": arrays}, message="fields of documents in arrays are not changed")
    if action.pairs:
        held = {"$not": [is_missing(read((action.marker,)))]}
        yield Asked(name=f"{action.marker} is not there", expression=held, message="another ledger changes them, too")
        sizes: list[Expression] = [{"$bsonSize": "$$ROOT"}]
        for pair in action.pairs:
            for value in (from_text(pair.watched), from_text(pair.up), from_text(pair.up)):
                sizes.append({"$bsonSize": {"$mergeObjects": [{"value": value}]}})
        yield Asked(
            name="every document can grow", expression={"$gt": [{"$add": sizes}, _LARGEST]},
            message="with both shapes they are larger than 16 MiB",
        )  # fmt: skip


def _of_pair(pair: FieldPair) -> Iterator[Asked]:
    there = {"$not": [is_missing(read_all(pair.news))]}
    yield Asked(name=f"{pair.new} is not there yet", expression=there, message="have it already: choose another name")
    if any(len(path) > 1 for path in pair.news):
        blocked = {"$and": [stands_in_the_way(pair.news[0]), {"$not": [is_missing(from_text(pair.up))]}]}
        message = "have another value there, which would be lost"
        yield Asked(name=f"{pair.new} has room", expression=blocked, message=message)
    if pair.unfit:
        yield Asked(
            name=f"values of {pair.old} become {pair.new}", expression=from_text(pair.unfit),
            message=_SAID[pair.policy], error=pair.policy == "fail",
        )  # fmt: skip


def _counted(database: Documents, collection: str, asked: list[Asked]) -> dict[str, int]:
    sums = {f"c{number}": {"$sum": {"$cond": [one.expression, 1, 0]}} for number, one in enumerate(asked)}
    found = next(database[collection].aggregate([{"$group": {"_id": None, "all": {"$sum": 1}, **sums}}]), None)
    return found or dict.fromkeys([*sums, "all"], 0)


def _result(one: Asked, count: int, documents: int) -> CheckResult:
    return CheckResult(
        name=one.name,
        passed=count == 0,
        evaluated=True,
        unexpected=count,
        message=f"{count:,} documents: {one.message}" if count else f"all of {documents:,} documents",
        severity="error" if one.error else "warning",
    )


def _duplicates(database: Documents, plan: Plan) -> Iterator[CheckResult]:
    """Ask whether a unique index can be built."""
    for step in plan.steps:
        if not (isinstance(step.action, CollectionCommand) and step.action.forward):
            continue
        for index in from_text(step.action.forward).get("indexes", []):
            if not index.get("unique"):
                continue
            keys = {f"k{number}": {"$ifNull": [f"${key}", None]} for number, key in enumerate(index["key"])}
            wanted = index.get("partialFilterExpression", {})
            groups = [
                {"$match": wanted}, {"$group": {"_id": keys, "n": {"$sum": 1}}}, {"$match": {"n": {"$gt": 1}}},
                {"$count": "n"},
            ]  # fmt: skip
            row = next(database[step.action.collection].aggregate(groups, allowDiskUse=True), {"n": 0})
            yield CheckResult(
                name=f"index {index['name']} is unique", passed=not row["n"], evaluated=True, unexpected=row["n"],
                message=f"{row['n']:,} values are there more than once" if row["n"] else "no duplicates",
            )  # fmt: skip
