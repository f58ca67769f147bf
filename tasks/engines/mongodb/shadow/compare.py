"""Compare a collection with one that is kept in step with it, to the byte, while applications write.

What differs for a moment is being written: it counts where the very same documents still differ after a while.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import bson
from pymongo.collection import Collection

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.checks import MOST, PATIENCE, Broken
from tasks.engines.mongodb.documents.expressions import EXACT, to_text
from tasks.engines.mongodb.documents.walk import condition, end_of_batch
from tasks.engines.mongodb.shadow.place import Side, raw
from tasks.engines.records import Key

SIZE: Final = 500
"""Documents that are compared at a time, and fewer where they are large."""
BYTES: Final = 16 * 1024 * 1024
Pair = tuple[bytes | None, bytes | None]
"""What a document should be, and what it is; None where there is none."""


def differing(database: Documents, source: Side, side: Side) -> Iterator[dict[bytes, tuple[Any, Pair]]]:
    """Yield what differs of each range of `_id`, by the bytes of the identity: the identity, and both documents."""
    left, right = raw(database, source.name), raw(database, side.name)
    size = at_a_time(database, source.name, side.name)
    low: Key | None = None
    while True:
        end, rows = end_of_batch(left, low, None, size)
        end = end if rows == size else None
        # Where the other one has more of them, no more than twice as many at a time.
        nearer, others = end_of_batch(right, low, end, 2 * size)
        end = nearer if others == 2 * size else end
        yield _both(database, source, side, condition(low, end))
        if end is None:
            return
        low = end


def at_a_time(database: Documents, *names: str) -> int:
    """Return how many documents are read at a time, of the collection that has the larger ones, on average."""
    largest = max(int(database.command("collStats", name).get("avgObjSize", 0)) for name in names)
    return max(1, min(SIZE, BYTES // max(1, largest)))


def compared(database: Documents, source: Side, side: Side, patience: float = PATIENCE) -> Broken:
    """Return how many documents are not in step, and still are not when whoever follows had time."""
    moving = 0
    wrong: dict[bytes, Any] = {}
    for found in differing(database, source, side):
        left, moved = _settled(database, source, side, found, patience)
        moving += moved
        wrong |= left
        if len(wrong) > MOST:
            break
    examples = tuple(to_text({"_id": identity}) for identity in list(wrong.values())[:10])
    return Broken(documents=len(wrong), unsettled=moving, examples=examples)


def lossy(database: Documents, name: str, down: Sequence[dict[str, Any]], up: Sequence[dict[str, Any]]) -> Broken:
    """Return how many documents hold what `down` leaves out: not what it gives, nor what `up` makes of that."""
    ways = (tuple(down), (*down, *up))
    whole, there = (Side(name=name, stages=stages) for stages in ((), ways[1]))
    wrong = list[Any]()
    for found in differing(database, whole, there):
        wrong += lost(database, name, ways, [identity for identity, _ in found.values()], SIZE)
        if len(wrong) > MOST:
            break
    return Broken(documents=len(wrong), examples=tuple(to_text({"_id": identity}) for identity in wrong[:10]))


def lost(
    database: Documents, name: str, ways: Sequence[Sequence[dict[str, Any]]], identities: Sequence[Any], size: int
) -> list[Any]:
    """Return which of these documents are not what any of the pipelines gives."""
    whole, wrong = Side(name=name, stages=()), list[Any]()
    for start in range(0, len(identities), size):
        left = {bson.encode({"_id": one}): one for one in identities[start : start + size]}
        # Again, as one may have been written between two reads.
        for stages in (*ways, *ways):
            if left:
                found = _of(database, whole, Side(name=name, stages=tuple(stages)), left)
                left = {key: identity for key, identity in left.items() if key in found}
        wrong += left.values()
    return wrong


def _of(database: Documents, source: Side, side: Side, those: Mapping[bytes, Any]) -> Mapping[bytes, Any]:
    return _both(database, source, side, {"_id": {"$in": list(those.values())}})


def _settled(
    database: Documents, source: Side, side: Side, found: Mapping[bytes, tuple[Any, Pair]], patience: float
) -> tuple[dict[bytes, Any], int]:
    """Look at documents again until they are equal or have changed; return those that did neither, and the moved."""
    left, moved = dict(found), 0
    deadline = time.monotonic() + patience
    while left and time.monotonic() < deadline:
        now = _both(database, source, side, {"_id": {"$in": [identity for identity, _ in left.values()]}})
        moved += sum(key in now and now[key][1] != pair for key, (_, pair) in left.items())
        left = {key: one for key, one in left.items() if key in now and now[key][1] == one[1]}
        if left:
            time.sleep(0.2)
    return {key: identity for key, (identity, _) in left.items()}, moved


def _both(database: Documents, source: Side, side: Side, wanted: dict[str, Any]) -> dict[bytes, tuple[Any, Pair]]:
    should = _read(raw(database, source.name), wanted, source.stages)
    there = _read(raw(database, side.name), wanted, side.stages)
    found = dict[bytes, tuple[Any, Pair]]()
    equal = _fields_equal if source.stages or side.stages else bytes.__eq__
    for key in should.keys() | there.keys():
        one, other = should.get(key), there.get(key)
        if one is None or other is None or not (one[1] == other[1] or equal(one[1], other[1])):
            identity = (one or other or (None, b""))[0]
            found[key] = identity, (one and one[1], other and other[1])
    return found


def _fields_equal(one: bytes, other: bytes) -> bool:
    """Compare field by field: stages put those that they make at the end."""
    fields, others = ({key: bson.encode({key: value}) for key, value in bson.decode(of, EXACT).items()}
                      for of in (one, other))  # fmt: skip
    return fields == others


def _read(
    of: Collection[Any], wanted: dict[str, Any], stages: Sequence[dict[str, Any]]
) -> dict[bytes, tuple[Any, bytes]]:
    read = of.aggregate([{"$match": wanted}, *stages])
    return {bson.encode({"_id": one["_id"]}): (one["_id"], one.raw) for one in read}
