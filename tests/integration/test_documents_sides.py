"""Both sides of documents written at random, by old and by new applications: the last word is the last word."""

import random
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import pytest
from pymongo import MongoClient, ReplaceOne, UpdateOne
from pymongo.database import Database

from tasks.engines.mongodb.documents.pipelines import Prefer, concerned, contracted, in_step, out_of_step, withdrawn
from tests.integration.test_documents_pipelines import reshape
from tests.legs import SEED, TIMES

Side = dict[str, Any]
FIELDS: Final = ("first", "last")
VALUES: Final[list[Any]] = [None, "a", "b", 1, 1.5, [1], {"x": 1}]
NEST: Final = [{"$set": {"name": {"$mergeObjects": [{"first": "$first", "last": "$last"}]}}}]
FLATTEN: Final = [{"$set": {"first": "$name.first", "last": "$name.last"}}]
MANY: Final = 100


def flat(side: Side) -> Side:
    return side


def nested(side: Side) -> Side:
    return {"name": side} if side else {}


SHAPES: Final = {"nests": (flat, nested, NEST, FLATTEN), "flattens": (nested, flat, FLATTEN, NEST)}
Shape = Callable[[Side], Side]


@pytest.fixture
def target(documents: str) -> Iterator[Database[Any]]:
    with MongoClient(documents) as client:
        yield client.get_default_database()


class Applications:
    """They write documents, and know what each has to say once it was brought into step."""

    def __init__(self, dice: random.Random, old: Shape, new: Shape) -> None:
        self.dice, self.shapes = dice, (old, new)
        self.truth = [self._side() for _ in range(MANY)]

    def _side(self) -> Side:
        return {name: self.dice.choice(VALUES) for name in FIELDS if self.dice.random() < 0.7}

    def writes(self, prefer: Prefer) -> Iterator[UpdateOne | ReplaceOne[Any]]:
        """Yield writes to every document: one side, both, the whole of it, or none."""
        for identity in range(MANY):
            before, kind = self.truth[identity], self.dice.randrange(6)
            if kind < 2:
                yield self._update(identity, kind)
            elif kind < 4:
                side = self.truth[identity] = self._side()
                yield ReplaceOne({"_id": identity}, self.shapes[kind - 2](side))
            elif kind == 4:
                said = []
                for number in range(2):
                    yield self._update(identity, number)
                    said.append(self.truth[identity])
                changed = [one for one in said if one != before]
                wins = said[prefer == "new"]
                # Of two that say something new the preferred one wins.
                self.truth[identity] = (changed or [before])[0] if len(changed) < 2 else wins

    def _update(self, identity: int, number: int) -> UpdateOne:
        side = self.truth[identity] = self._side()
        made = self.shapes[number](side)
        gone = [name for name in self.shapes[number](dict.fromkeys(FIELDS)) if name not in made]
        change = {"$set": made} if made else {}
        return UpdateOne({"_id": identity}, change | ({"$unset": dict.fromkeys(gone, 1)} if gone else {}))


@pytest.mark.parametrize("does", ["withdraw", "contract"])
@pytest.mark.parametrize("way", SHAPES)
def test_several_fields_and_one(target: Database[Any], way: str, does: Literal["withdraw", "contract"]) -> None:
    """Whatever they write, and whoever wins: both sides say it after each round, and one of them in the end."""
    old, new, up, down = SHAPES[way]
    sides = (list(old(dict.fromkeys(FIELDS))), list(new(dict.fromkeys(FIELDS))))
    action = reshape({"transform": {"from": sides[0], "to": sides[1], "up": up, "down": down}})
    dice = random.Random(SEED)
    they = Applications(dice, old, new)
    target.c.insert_many([{"_id": number, **old(side)} for number, side in enumerate(they.truth)])
    target.c.update_many({}, in_step(action, "old"))
    for _ in range(5 * TIMES):
        prefer: Prefer = dice.choice(["old", "new"])
        target.c.bulk_write(list(they.writes(prefer)))
        target.c.update_many({}, in_step(action, prefer))
        assert target.c.update_many({}, in_step(action, dice.choice(["old", "new"]))).modified_count == 0
        assert target.c.count_documents({"$expr": out_of_step(action.pairs[0], action.marker)}) == 0
        found = list(target.c.find({}, {action.marker: 0}).sort("_id", 1))
        assert found == [{"_id": n, **old(side), **new(side)} for n, side in enumerate(they.truth)]
    target.c.update_many(concerned(action, does), withdrawn(action) if does == "withdraw" else contracted(action))
    stays = old if does == "withdraw" else new
    assert list(target.c.find().sort("_id", 1)) == [{"_id": n, **stays(side)} for n, side in enumerate(they.truth)]
