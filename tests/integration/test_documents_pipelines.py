"""What updates make of documents: the way back is the way back, and missing, null and types stay apart."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, Literal

import pytest
from bson import Decimal128, Int64
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import WriteError

from profiles.model import Limits
from tasks.engines.mongodb.documents.dead_letters import left_over
from tasks.engines.mongodb.documents.expressions import from_text, to_text
from tasks.engines.mongodb.documents.mapping import pairs_of
from tasks.engines.mongodb.documents.pipelines import (
    concerned,
    contracted,
    has_no_old,
    in_step,
    known,
    out_of_step,
    withdrawn,
)
from tasks.engines.mongodb.documents.stages import made_by
from tasks.engines.mongodb.documents.walk import condition, end_of_batch, key_of, until_none
from tasks.model.collection_documents import DocumentsSpec
from tasks.model.document_steps import Reshape
from tasks.model.errors import StepError

NOTHING = object()
VALUES: list[Any] = [
    *(NOTHING, None, 1, Int64(1), 1.0, -0.0, Decimal128("1.10"), Decimal128("1.1"), "1", "", True, [], [1, None], {}),
    {"deep": {"$er": 1}, "a.b": 2},
]
PARENTS: list[Any] = [NOTHING, None, 5, "text", [], [{"town": 1}], {}, {"other": 1}]
RENAMES = [("town", "city"), ("a.town", "a.city"), ("a.town", "city"), ("town", "a.city"), ("a.b.town", "c.d.city")]
DOCUMENT = RawBSONDocument


@pytest.fixture
def target(documents: str) -> Iterator[Database[Any]]:
    with MongoClient(documents) as client:
        yield client.get_default_database()


def reshape(*operations: dict[str, Any]) -> Reshape:
    spec = DocumentsSpec.model_validate({"collection": "c", "operations": list(operations)})
    return Reshape(table="d.c", collection="c", marker="_changeover_m", pairs=pairs_of(spec), does="swap")


def shapes(path: str) -> Iterator[dict[str, Any]]:
    """Give documents with every value at the end of a path, and everything else that may stand on the way."""
    *outer, last = path.split(".")
    for value in VALUES:
        made: dict[str, Any] = {"other": 1} | ({} if value is NOTHING else {last: value})
        for name in reversed(outer):
            made = {name: made, "beside": 2}
        yield made
    for parent in PARENTS if outer else ():
        yield {"beside": 2} | ({} if parent is NOTHING else {outer[0]: parent})


def put(target: Database[Any], made: list[dict[str, Any]]) -> list[bytes]:
    target.c.delete_many({})
    target.c.insert_many([{"_id": number, **one} for number, one in enumerate(made)])
    return read(target)


def read(target: Database[Any]) -> list[bytes]:
    """Give every document to the byte."""
    into = target.get_collection("c", codec_options=target.codec_options.with_options(document_class=DOCUMENT))
    return [one.raw for one in into.find().sort("_id", 1)]


@pytest.mark.parametrize(("old", "new"), RENAMES)
def test_there_and_back_is_to_the_byte(target: Database[Any], old: str, new: str) -> None:
    """Whatever the documents are, a rollback leaves them as they were; in between both fields are the same."""
    action = reshape({"rename_field": {"from": old, "to": new}})
    before = put(target, list(shapes(old)))
    target.c.update_many({}, in_step(action, "old"))
    middle = read(target)
    for side in ("old", "new"):
        assert target.c.update_many({}, in_step(action, side)).modified_count == 0  # type: ignore[arg-type]
    assert read(target) == middle
    wrong = target.c.count_documents({"$expr": out_of_step(action.pairs[0], action.marker)})
    blocked = [
        one for one in shapes(old) if old.startswith("a.") and new.startswith("a.") and one.get("a") in (5, "text")
    ]
    assert wrong == 0, blocked
    target.c.update_many(concerned(action, "withdraw"), withdrawn(action))
    assert read(target) == before
    # Once more, as a run does that was killed.
    target.c.update_many({}, withdrawn(action))
    assert read(target) == before


@pytest.mark.parametrize(("old", "new"), RENAMES)
def test_a_contract_moves_each_value(target: Database[Any], old: str, new: str) -> None:
    """What was at the old path is at the new one, of the same type; nothing else has changed."""
    action = reshape({"rename_field": {"from": old, "to": new}})
    made = list(shapes(old))
    put(target, made)
    target.c.update_many({}, in_step(action, "old"))
    target.c.update_many(concerned(action, "contract"), contracted(action))
    for number, one in enumerate(made):
        found = target.c.find_one({"_id": number})
        assert found is not None
        assert action.marker not in found
        value, outer = _at(one, old), _at(found, new)
        assert to_text({"v": value is NOTHING or value}) == to_text({"v": outer is NOTHING or outer})
        assert _at(found, old) is NOTHING
    assert target.c.count_documents(concerned(action, "contract")) == 0
    after = read(target)
    target.c.update_many({}, contracted(action))
    assert read(target) == after


def _at(one: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(one, dict) or name not in one:
            return NOTHING
        one = one[name]
    return one


def test_the_side_that_was_written_wins(target: Database[Any]) -> None:
    """Old, new, both, neither; with and without what was there before: a whole document may be replaced by either."""
    action = reshape({"rename_field": {"from": "town", "to": "city"}})
    cases: list[tuple[dict[str, Any], Any, Any, Any]] = [
        ({"$set": {"town": "o"}}, "o", "o", "o"),
        ({"$set": {"city": "n"}}, "n", "n", "n"),
        ({"$set": {"town": "o", "city": "n"}}, "o", "n", None),
        ({"$unset": {"town": 1}}, "", "", NOTHING),
        ({"$unset": {"city": 1}}, "", "", NOTHING),
        ({"$set": {"town": 1.0}}, "", "", 1.0),
        ({"$set": {"city": Int64(1)}}, "", "", Int64(1)),
        ({"$set": {"other": 1}}, "", "", 1),
        # Nobody can tell who has written last: before the swap the old field is the truth, then the new one.
        ({"$unset": {action.marker: 1}, "$set": {"town": "o"}}, "o", 1, None),
        ({"$unset": {action.marker: 1}, "$set": {"city": "n"}}, 1, "n", None),
        ({"$unset": {action.marker: 1, "town": 1}, "$set": {"city": "n"}}, "n", "n", "n"),
    ]
    for update, old_wins, new_wins, value in cases:
        for side, wins in (("old", old_wins), ("new", new_wins)):
            put(target, [{"town": 1}])
            target.c.update_many({}, in_step(action, "old"))
            target.c.update_many({}, update)
            target.c.update_many({}, in_step(action, side))  # type: ignore[arg-type]
            found = target.c.find_one({})
            wanted = wins if value is None else value
            for name in ("town", "city"):
                assert _same(_at(found, name), wanted), (update, side, found)


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and one == other)


def test_a_value_that_cannot_be_converted_is_never_lost(target: Database[Any]) -> None:
    """Null, or nothing: the old value stays, whoever reconciles, and an exact one comes back as it was."""
    made = [{"p": value} for value in ("7", "x", 1.7, 2.0, Int64(2**40), None, True, Decimal128("3.0"), [1], {"a": 1})]
    for unfit in ("fail", "null", "dead_letter"):
        action = reshape({"change_type": {"field": "p", "to": "q", "type": "int", "back": "string", "unfit": unfit}})
        before = put(target, made)
        for side in ("old", "new", "old"):
            target.c.update_many({}, in_step(action, side))  # type: ignore[arg-type]
        found = [_at(one, "q") for one in target.c.find().sort("_id", 1)]
        lost = None if unfit == "null" else NOTHING
        assert found == [7, lost, lost, 2, lost, None, 1, 3, lost, lost]
        wrong = target.c.count_documents({"$expr": from_text(action.pairs[0].unfit)})
        assert wrong == 5
        target.c.update_many(concerned(action, "withdraw"), withdrawn(action))
        assert read(target) == before


def test_what_has_no_place_is_not_taken_away(target: Database[Any]) -> None:
    """Between the gate and the end somebody may write what stands in the way: then the document stays as it is."""
    action = reshape({"rename_field": {"from": "old.town", "to": "new.city"}})
    made = [{"old": {"town": 2}, "new": 5}, {"old": "x", "new": {"city": 3}}]
    for does, pipeline, kept in (("contract", contracted(action), 0), ("withdraw", withdrawn(action), 1)):
        put(target, made)
        for _ in range(2):
            target.c.update_many(concerned(action, does), pipeline)  # type: ignore[arg-type]
        left = list(target.c.find(concerned(action, does), {action.marker: 0}))  # type: ignore[arg-type]
        assert left == [{"_id": kept, **made[kept]}]
        assert target.c.find_one({"_id": 1 - kept}) == {"_id": 1 - kept, **made[1 - kept]}


def test_a_field_that_stays_takes_no_other_one_along(target: Database[Any]) -> None:
    """One field of a document has no place in the other shape; the others are moved, however often it is gone over."""
    action = reshape(
        {"rename_field": {"from": "town", "to": "city"}},
        {"rename_field": {"from": "old.town", "to": "new.city"}},
        {"add_field": {"field": "n", "default": 0}},
    )
    made = [{"town": 1, "old": {"town": 2}, "new": 5}, {"town": 1, "old": 5, "new": {"city": 7}}]
    for does, pipeline, one, moved in (
        ("contract", contracted(action), made[0], {"city": 1, "n": 0}),
        ("withdraw", withdrawn(action), made[1], {"town": 1}),
    ):
        put(target, [one])
        target.c.update_many({}, in_step(action, "old"))
        for _ in range(3):
            target.c.update_many(concerned(action, does), pipeline)  # type: ignore[arg-type]
            found = target.c.find_one({}, {action.marker: 0})
            assert found == {"_id": 0, "old": one["old"], "new": one["new"], **moved}


def test_two_fields_in_one_document_that_was_made_for_them(target: Database[Any]) -> None:
    """It goes with them, whichever was there first, and at whatever depth the other one is."""
    action = reshape(
        {"rename_field": {"from": "p", "to": "made.p"}}, {"rename_field": {"from": "q", "to": "made.deep.q"}}
    )
    before = put(target, [{"p": 1, "q": 1}, {"q": 1}, {"p": 1}, {"p": 1, "q": 1, "made": {}}])
    target.c.update_many({}, in_step(action, "old"))
    target.c.update_many(concerned(action, "withdraw"), withdrawn(action))
    assert read(target) == before


@pytest.mark.parametrize(("does", "late"), [("contract", "town"), ("withdraw", "city")])
def test_a_late_write_to_the_side_that_is_gone_already_stays(
    target: Database[Any], does: Literal["contract", "withdraw"], late: str
) -> None:
    """Nobody can tell any more which side was written last: the command says so, and destroys neither."""
    action = reshape({"rename_field": {"from": "town", "to": "city"}}, {"rename_field": {"from": "a", "to": "b"}})
    pipeline = contracted(action) if does == "contract" else withdrawn(action)
    wanted = concerned(action, does)

    def go_on() -> int:
        return until_none(
            target, target.c, wanted, known(action), pipeline, Limits(), nullcontext, "another application"
        )

    put(target, [{"town": 1}, {"town": 2}, {"town": 3}, {}])
    target.c.update_many({}, in_step(action, "old"))
    assert go_on() == 4
    # What has one side alone, or the same on both, is nobody's doubt.
    target.c.update_one({"_id": 0}, {"$set": {late: "late"}})
    target.c.update_one({"_id": 1}, {"$set": {late: 2}})
    target.c.update_one({"_id": 3}, {"$set": {late: "late"}})
    other = "city" if does == "contract" else "town"
    with pytest.raises(StepError, match="another application still writes"):
        go_on()
    assert list(target.c.find().sort("_id", 1)) == [
        {"_id": 0, other: 1, late: "late"}, {"_id": 1, other: 2}, {"_id": 2, other: 3}, {"_id": 3, other: "late"}
    ]  # fmt: skip
    target.c.update_one({"_id": 0}, {"$unset": {other: 1}})
    assert go_on() == 1
    assert target.c.find_one({"_id": 0}) == {"_id": 0, other: "late"}


@pytest.mark.parametrize("unfit", ["fail", "dead_letter"])
def test_an_old_value_that_comes_late_and_cannot_be_converted_stays(target: Database[Any], unfit: str) -> None:
    """Also where the new field still holds the value of the one before."""
    action = reshape({"change_type": {"field": "p", "to": "q", "type": "int", "back": "string", "unfit": unfit}})
    put(target, [{"p": "2"}])
    target.c.update_many({}, in_step(action, "old"))
    target.c.update_many({}, {"$set": {"p": "abc"}})
    target.c.update_many(concerned(action, "contract"), contracted(action))
    assert target.c.find_one({}, {action.marker: 0}) == {"_id": 0, "p": "abc"}
    assert target.c.count_documents(concerned(action, "contract")) == 1
    assert target.c.count_documents({"$expr": left_over(action)}) == (unfit == "dead_letter")


def test_a_new_value_that_cannot_be_converted_stays(target: Database[Any]) -> None:
    """It comes before the swap, or after such values were counted. What we made ourselves goes."""
    made = {"type": "decimal", "back": "int"}
    action = reshape({"change_type": {"field": "a.p", "to": "q", **made}})
    before = put(target, [{"a": {"p": "1.50"}}, {"a": {"p": "2"}}, {"a": {"p": "2"}}, {"a": None}, {"a": {"p": "2"}}])
    target.c.update_many({}, in_step(action, "old"))
    target.c.update_one({"_id": 4}, {"$set": {"q": Decimal128("2.5")}})
    target.c.update_many({}, in_step(action, "old"))
    target.c.update_one({"_id": 1}, {"$set": {"q": Decimal128("2.5")}})
    target.c.update_one({"_id": 2}, {"$set": {"q": Decimal128("3")}})
    target.c.update_one({"_id": 3}, {"$set": {"q": Decimal128("3")}})
    # The old application has written since then: it counts no more.
    target.c.update_one({"_id": 4}, {"$set": {"a.p": "5"}})
    lost = {"$expr": has_no_old(action.pairs[0], action.marker)}
    assert [one["_id"] for one in target.c.find(lost).sort("_id", 1)] == [1, 3]
    for _ in range(2):
        target.c.update_many(concerned(action, "withdraw"), withdrawn(action))
    assert read(target)[0] == before[0]
    assert list(target.c.find({}, {action.marker: 0}).sort("_id", 1))[1:] == [
        {"_id": 1, "a": {"p": "2"}, "q": Decimal128("2.5")}, {"_id": 2, "a": {"p": 3}},
        {"_id": 3, "a": None, "q": Decimal128("3")}, {"_id": 4, "a": {"p": "5"}},
    ]  # fmt: skip
    assert {one["_id"] for one in target.c.find(concerned(action, "withdraw"))} == {1, 3}


SPLIT: list[dict[str, Any]] = [
    {"$set": {"parts": {"$split": ["$full", " "]}}},
    {"$set": {"first": {"$arrayElemAt": ["$parts", 0]}, "last": {"$arrayElemAt": ["$parts", 1]}}},
    {"$unset": "parts"},
]
JOIN: list[dict[str, Any]] = [
    {"$set": {"first": {"$ifNull": ["$first", ""]}}},
    {"$project": {"full": {"$cond": ["$last", {"$concat": ["$first", " ", "$last"]}, "$$REMOVE"]}}},
]
STAGES: list[list[dict[str, Any]]] = [
    [{"$set": {"a": "$b", "b": "$a"}}, {"$addFields": {"c": ["$a", {"$literal": "$a"}], "d": 1}}],
    [{"$unset": ["a", "c"]}, {"$set": {"d": {"$type": "$a"}, "b": "$$CURRENT"}}],
    [{"$project": {"a": 1, "d": {"$eq": ["$a", "$b"]}, "c": "$b", "text": "t"}}, {"$project": {"a": False}}],
    [
        {
            "$set": {
                "a": {"$mergeObjects": [{"$cond": [{"$isArray": "$a"}, {}, "$a"]}, {"x": "$b"}]},
                "b": "$a.x",
                "c": "$$REMOVE",
            }
        }
    ],
]


@pytest.mark.parametrize("stages", STAGES, ids=str)
def test_stages_as_an_expression_give_what_the_server_gives(
    target: Database[Any], stages: list[dict[str, Any]]
) -> None:
    """For fields that are missing, null, documents or arrays; whatever else a document has is not seen."""
    kinds: list[Any] = [NOTHING, None, {"x": 1, "y": None}, [{"x": 2}]]
    made = [{"a": a, "b": b, "c": 5, "other": 1} for a in kinds for b in kinds]
    put(target, [{name: value for name, value in one.items() if value is not NOTHING} for one in made])
    seen = {"$replaceWith": {name: f"${name}" for name in ("a", "b", "c")}}
    given, wanted = ([(name,) for name in names] for names in ("abc", ("a", "b", "c", "d", "text", "x")))
    native = [one or None for one in target.c.aggregate([{"$sort": {"_id": 1}}, seen, *stages])]
    ours = target.c.aggregate([{"$sort": {"_id": 1}}, {"$project": {"v": made_by(stages, given, wanted)}}])
    assert [one.get("v") for one in ours] == native
    assert target.c.find_one({}, {"v": made_by(stages, [("z",)], wanted), "_id": 0}) == {}


def test_several_fields_on_either_side(target: Database[Any]) -> None:
    """Each side is written as a whole; what gives nothing, or fails, loses nothing, and a rollback does not need it."""
    action = reshape({"transform": {"from": ["first", "last"], "to": ["full"], "up": JOIN, "down": SPLIT}})
    pair = action.pairs[0]
    made: list[dict[str, Any]] = [
        {"last": "L", "n": 1, "first": "A"}, {"first": "A"}, {"last": "L"}, {"n": 1}, {"first": None, "last": "L"}
    ]  # fmt: skip
    before = put(target, made)
    target.c.update_many({}, in_step(action, "old"))
    assert [_at(one, "full") for one in target.c.find().sort("_id", 1)] == ["A L", NOTHING, " L", NOTHING, " L"]
    assert [one["_id"] for one in target.c.find({"$expr": from_text(pair.unfit)})] == [1]
    assert target.c.count_documents({"$expr": out_of_step(pair, action.marker)}) == 0
    for side in ("old", "new"):
        assert target.c.update_many({}, in_step(action, side)).modified_count == 0  # type: ignore[arg-type]
    target.c.update_one({"_id": 0}, {"$set": {"full": "B M"}})
    target.c.update_one({"_id": 2}, {"$unset": {"full": 1}})
    target.c.update_one({"_id": 4}, {"$set": {"last": "N"}})
    target.c.update_many({}, in_step(action, "new"))
    found = list(target.c.find({}, {action.marker: 0}).sort("_id", 1))
    assert found == [
        {"_id": 0, "last": "M", "n": 1, "first": "B", "full": "B M"}, {"_id": 1, "first": "A"}, {"_id": 2},
        {"_id": 3, "n": 1}, {"_id": 4, "first": None, "last": "N", "full": " N"},
    ]  # fmt: skip
    lost = {"$expr": has_no_old(pair, action.marker)}
    assert target.c.count_documents(lost) == 0
    # Its old fields would hold less.
    target.c.update_one({"_id": 3}, {"$set": {"full": "C van N"}})
    assert [one["_id"] for one in target.c.find(lost)] == [3]
    target.c.update_one({"_id": 3}, {"$unset": {"full": 1}})
    # On these `up` fails: the old application's own values stay, also when it is undone.
    target.c.update_one({"_id": 4}, {"$set": {"last": 5}})
    with pytest.raises(WriteError):
        target.c.update_many({}, in_step(action, "old"))
    target.c.insert_one({"_id": 5, "first": 5, "last": 5})
    assert target.c.count_documents(lost) == 0
    target.c.update_many(concerned(action, "withdraw"), withdrawn(action))
    now = read(target)
    assert (now[1], now[3]) == (before[1], before[3])
    assert list(target.c.find().sort("_id", 1)) == [
        {"_id": 0, "last": "M", "n": 1, "first": "B"}, {"_id": 1, "first": "A"}, {"_id": 2}, {"_id": 3, "n": 1},
        {"_id": 4, "first": None, "last": 5}, {"_id": 5, "first": 5, "last": 5},
    ]  # fmt: skip


def test_an_old_field_that_the_new_side_never_held_stays(target: Database[Any]) -> None:
    """What a new application corrects comes back beside it, and what it leaves out goes; a rollback has it all."""
    born = {"$cond": ["$born", {"$concat": [" ", "$born"]}, ""]}
    up = [{"$set": {"full": {"$concat": ["$first", " ", "$last", born]}}}]
    down = [*SPLIT[:2], {"$set": {"born": {"$arrayElemAt": ["$parts", 2]}}}]
    action = reshape(
        {"transform": {"from": ["title", "first", "last", "born"], "to": ["full"], "up": up, "down": down}}
    )
    pair = action.pairs[0]
    made = [
        {"last": "L", "title": "Dr", "first": "A"}, {"first": "A", "last": "L", "born": "1815", "title": None},
        {"first": "A", "last": "L", "born": "1815"}, {"title": "Dr", "first": "A", "last": "L"},
    ]  # fmt: skip
    before = put(target, made)
    target.c.update_many({}, in_step(action, "old"))
    for number, full in enumerate(["B L", "A M"]):
        target.c.update_one({"_id": number}, {"$set": {"full": full}})
    # Of this the old fields hold less: a rollback refuses it, and the contract does not.
    target.c.update_one({"_id": 3}, {"$set": {"full": "C"}})
    for _ in range(2):
        target.c.update_many({}, in_step(action, "new"))
        assert target.c.count_documents({"$expr": out_of_step(pair, action.marker)}) == 0
        assert [one["_id"] for one in target.c.find({"$expr": has_no_old(pair, action.marker)})] == [3]
    target.c.update_many(concerned(action, "withdraw"), withdrawn(action))
    assert list(target.c.find({}, {action.marker: 0}).sort("_id", 1)) == [
        {"_id": 0, "last": "L", "title": "Dr", "first": "B"}, {"_id": 1, "first": "A", "last": "M", "title": None},
        {"_id": 2, **made[2]}, {"_id": 3, "title": "Dr", "first": "C", "full": "C"},
    ]  # fmt: skip
    assert read(target)[2] == before[2]


def test_an_old_field_that_down_takes_away_goes(target: Database[Any]) -> None:
    """With it `up` would make another value than the one that was written; one that `up` does not read stays."""
    up = [{"$set": {"name": {"$concat": ["$first", {"$ifNull": [{"$concat": [" ", "$last"]}, ""]}]}}}]
    down = [{"$set": {"first": "$name"}}, {"$unset": "last"}]
    ann = {"first": "Ann", "last": "Lee"}
    for asked, made in ((["first", "last"], ann), (["title", "first", "last"], {"title": "Dr", **ann})):
        action = reshape({"transform": {"from": asked, "to": ["name"], "up": up, "down": down}})
        before = put(target, [made, made])
        target.c.update_many({}, in_step(action, "old"))
        target.c.update_one({"_id": 0}, {"$set": {"name": "Ann Smith"}})
        for _ in range(2):
            target.c.update_many({}, in_step(action, "new"))
            assert target.c.count_documents({"$expr": out_of_step(action.pairs[0], action.marker)}) == 0
            assert target.c.count_documents({"$expr": has_no_old(action.pairs[0], action.marker)}) == 0
        target.c.update_many(concerned(action, "withdraw"), withdrawn(action))
        kept = {name: value for name, value in made.items() if name == "title"}
        assert target.c.find_one({"_id": 0}) == {"_id": 0, **kept, "first": "Ann Smith"}
        assert read(target)[1] == before[1]


def test_several_fields_contracted(target: Database[Any]) -> None:
    """What has no place on the new side stays, and so does a new value of which no old one can be made."""
    action = reshape({"transform": {"from": ["full"], "to": ["first", "last"], "up": SPLIT, "down": JOIN}})
    before = put(target, [{"full": "A L", "n": 1}, {"n": 1}, {"full": "A"}])
    target.c.update_many({}, in_step(action, "old"))
    assert target.c.find_one({"_id": 2}, {action.marker: 0}) == {"_id": 2, "full": "A", "first": "A"}
    target.c.update_one({"_id": 2}, {"$set": {"first": "B"}})
    assert [one["_id"] for one in target.c.find({"$expr": has_no_old(action.pairs[0], action.marker)})] == [2]
    target.c.update_many({}, in_step(action, "new"))
    assert target.c.find_one({"_id": 2}, {action.marker: 0}) == {"_id": 2, "full": "A", "first": "B"}
    for _ in range(2):
        target.c.update_many(concerned(action, "withdraw"), withdrawn(action))
    assert read(target)[:2] == before[:2]
    assert [one["_id"] for one in target.c.find(concerned(action, "withdraw"))] == [2]
    target.c.update_many({}, in_step(action, "new"))
    target.c.update_many(concerned(action, "contract"), contracted(action))
    assert list(target.c.find().sort("_id", 1)) == [
        {"_id": 0, "n": 1, "first": "A", "last": "L"}, {"_id": 1, "n": 1}, {"_id": 2, "first": "B"}
    ]  # fmt: skip


def test_an_added_field_follows_its_value_until_somebody_writes_it(target: Database[Any]) -> None:
    """A default is put where the field is missing; a value follows; what a new application has written stays."""
    action = reshape(
        {"add_field": {"field": "tags", "default": []}},
        {"add_field": {"field": "full", "value": {"$concat": ["$a", "$b"]}}},
    )
    before = put(target, [{"a": "x", "b": "y"}, {"a": "x", "b": "y", "tags": [1], "full": "mine"}])
    target.c.update_many({}, in_step(action, "old"))
    target.c.update_many({}, {"$set": {"a": "z"}})
    target.c.update_many({}, in_step(action, "old"))
    one, other = target.c.find({}, {action.marker: 0}).sort("_id", 1)
    assert (one["tags"], one["full"]) == ([], "zy")
    assert (other["tags"], other["full"]) == ([1], "zy")
    target.c.update_many({"_id": 0}, {"$set": {"full": "mine"}})
    target.c.update_many({}, in_step(action, "new"))
    assert target.c.find_one({"_id": 0})["full"] == "mine"  # type: ignore[index]
    target.c.update_many({}, {"$set": {"a": "x"}})
    target.c.update_many({}, withdrawn(action))
    assert read(target)[0] == before[0]


def test_a_walk_meets_every_identity_once(target: Database[Any]) -> None:
    """Identities of all types, in the order of BSON, in batches of any size."""
    identities: list[Any] = [None, 1, 2.5, Int64(3), Decimal128("4"), "a", {"x": 1}, b"\x00", True, "$a", {"x": "$a"}]
    target.c.insert_many([{"_id": one} for one in identities])
    expected = [one["_id"] for one in target.c.find().sort("_id", 1)]
    for size in (1, 3, 100):
        low, seen = None, []
        while True:
            end, rows = end_of_batch(target.c, low, None, size)
            if end is None:
                break
            batch = [one["_id"] for one in target.c.find(condition(low, end)).sort("_id", 1)]
            assert len(batch) == rows
            seen += batch
            low = end
        assert seen == expected
    assert from_text(key_of({"x": Int64(1)})[0])["_id"] == {"x": Int64(1)}
