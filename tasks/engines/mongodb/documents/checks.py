"""Conditions on the documents of a collection, as a plan holds them, and how many documents break them.

A condition that two shapes are in step is broken for a moment by every write: it counts where the very same values
are still there after a while.
"""

import time
from collections.abc import Iterator
from typing import Any, Final

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import EXACT, Expression, from_text, read, read_all, to_text
from tasks.engines.mongodb.documents.pipelines import has_no_old, out_of_step
from tasks.engines.mongodb.documents.walk import condition
from tasks.engines.records import Key
from tasks.model.base import Record
from tasks.model.document_steps import Reshape
from tasks.model.plan import Requirement

MOST: Final = 1000
"""As many documents are looked at again at a time; more are wrong at once, if they stay."""
_ROUNDS: Final = 5
"""So often it is looked for more, where each time that many were being written."""
PATIENCE: Final = 20.0
"""Seconds after which a document that has not changed meanwhile is wrong."""
EXISTS: Final = "the collection is there"


class Broken(Record):
    """What came of a condition."""

    documents: int
    unsettled: int = 0
    """Documents that were written each time that they were looked at, and so never stood still."""
    examples: tuple[str, ...] = ()
    """Identities of documents."""


def requirements(action: Reshape, validator: dict[str, Any] | None) -> Iterator[Requirement]:
    """Yield what has to hold before and after the swap; and before a rollback, once the new side is followed, too."""
    for gate in ("before_swap", "after_swap"):
        yield Requirement(
            name=EXISTS, table=action.table, kind="parity", gate=gate,
            violations=to_text({"collection": action.collection, "exists": True}),
        )  # fmt: skip
        for pair in action.pairs:
            name = f"{pair.new} is what {pair.old or 'its value'} gives"
            watched = [from_text(pair.watched), read_all(pair.news)]
            wrong = out_of_step(pair, action.marker)
            yield _required(action, name, gate, wrong, watched)
            if pair.unfit and pair.policy == "fail":
                name = f"{pair.old} can become {pair.new}"
                yield _required(action, name, gate, from_text(pair.unfit), [from_text(pair.watched)])
        if validator is not None:
            query: dict[str, Any] = {"collection": action.collection, "filter": {"$nor": [validator]}}
            if action.pairs:
                # What an old application has inserted gets its new fields in a moment.
                query["values"] = [read(path) for path in action.news]
            yield Requirement(
                name="every document is valid", table=action.table, kind="check", gate=gate, violations=to_text(query)
            )
    for pair in action.pairs:
        if pair.unfit_down:
            name = f"{pair.new} can become {pair.old} again"
            found = {"collection": action.collection, "filter": {"$expr": has_no_old(pair, action.marker)}}
            yield Requirement(
                name=name,
                table=action.table,
                kind="check",
                gate="before_rollback",
                violations=to_text(found),
                begun=action.follow_key,
            )


def _required(action: Reshape, name: str, gate: Any, wrong: Expression, values: list[Expression]) -> Requirement:
    query = {"collection": action.collection, "filter": {"$expr": wrong}, "values": values}
    return Requirement(name=name, table=action.table, kind="parity", gate=gate, violations=to_text(query))


def broken(database: Documents, query: str, patience: float = PATIENCE) -> Broken:
    """Return how many documents break a condition, and still do when whoever keeps them in step had time."""
    asked = from_text(query)
    name = asked["collection"]
    if asked.get("exists"):
        there = next(iter(database.list_collections(filter={"name": name, "type": "collection"})), None)
        return Broken(documents=int(there is None))
    into = database.get_collection(name, codec_options=EXACT)
    if "values" not in asked:
        return Broken(documents=into.count_documents(asked["filter"]))
    moving: set[str] = set()
    low: Key | None = None
    for _ in range(_ROUNDS):
        seen = _seen(into, asked, condition(low, None))
        all_seen = len(seen) < MOST
        low = (list(seen)[-1],) if seen else low
        # From now on: to look at every document may have taken hours.
        deadline = time.monotonic() + patience
        while seen and time.monotonic() < deadline:
            time.sleep(0.2)
            now = _seen(into, asked, {"_id": {"$in": [from_text(one)["_id"] for one in seen]}})
            # What has changed since it was seen is written right now: it was in step in between, or will be.
            moving |= {key for key, value in now.items() if seen[key] != value}
            seen = {key: value for key, value in now.items() if seen[key] == value}
        if seen:
            many = len(seen) if all_seen else into.count_documents(asked["filter"])
            return Broken(documents=max(many, 1), unsettled=len(moving), examples=tuple(sorted(seen))[:10])
        if all_seen:
            return Broken(documents=0, unsettled=len(moving))
    return Broken(documents=max(into.count_documents(asked["filter"]), 1), unsettled=len(moving))


def _seen(into: Any, asked: dict[str, Any], those: dict[str, Any]) -> dict[str, str]:
    """Return the first documents, by `_id`, that break a condition, with the values that it is about."""
    wanted = {"$and": [those, asked["filter"]]}
    shown = {f"v{number}": value for number, value in enumerate(asked["values"])}
    # Of the values few bytes are sorted; and whoever reads everything reads it as it lies, not by an index.
    stages = [{"$match": wanted}, {"$project": shown}, {"$sort": {"_id": 1}}, {"$limit": MOST}]
    found = into.aggregate(stages, **({} if "_id" in those else {"hint": {"$natural": 1}}))
    return {to_text({"_id": one.pop("_id")}): to_text(one) for one in found}
