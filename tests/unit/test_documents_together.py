"""Many documents at once become the very lines that each of them becomes by itself."""

import json
import random
import struct
from typing import Any

import bson
import pytest
from bson import Code, Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS

from tasks.engines.mongodb.documents.expressions import from_text, to_text
from tasks.engines.mongodb.documents.walk import identity_of, key_of
from tasks.engines.mongodb.rows.columns import TYPES
from tasks.engines.mongodb.rows.decode import kind_of
from tasks.engines.mongodb.rows.held import ANY
from tasks.engines.mongodb.rows.reading import Lines, line
from tasks.engines.mongodb.rows.shape import Shape
from tasks.engines.mongodb.rows.together import Together
from tasks.engines.records import Line
from tasks.model.transfer_steps import Relation, RowTransfer, TransferColumn
from tests.unit.test_documents_as_rows import FITS, UNFIT

PLAIN: dict[str, list[Any]] = {
    "smallint": [1, -(2**15), Int64(7)],
    "bigint": [1, Int64(2**63 - 1), Int64(-(2**63)), 5.0],
    "numeric": [Decimal128("1.10"), 2, 0.5],
    "numeric(5,2)": [Decimal128("1.10"), 2],
    "double precision": [0.5, 1e300],
    "text": ["a", "", "\\N", "a\tb\n\r", "é😀"],
    "varchar(2)": ["a", "é😀"],
    "boolean": [True, False],
    "timestamptz": [DatetimeMS(0), DatetimeMS(-1), DatetimeMS(253_402_300_800_000)],
    "date": [DatetimeMS(0), DatetimeMS(-86_400_000)],
    "bytea": [b"\0x", b""],
    "jsonb": [{"a": [1, "\\\n"]}, "x", 5],
}
MISFITS: dict[str, list[Any]] = {}
for written, value, _ in (*FITS, *UNFIT):
    MISFITS.setdefault(written, [ObjectId("0" * 24), Code("c"), {}, []]).append(value)


def mapping(*columns: TransferColumn) -> RowTransfer:
    into = Relation(database="d", schema_name="public", name="t", helpers="h", create="", does="make")
    return RowTransfer(
        table="t", key=("_id",), key_types=("bson",), alias="t", columns=columns, of="collection", into=into,
        rejected="r", account="a", target_key=("id",),
    )  # fmt: skip


def column(name: str, path: str, written: str, kind: str, **more: Any) -> TransferColumn:
    return TransferColumn(
        name=name, type=written, nullable=True, expression=path, source_type=kind, text="", **more
    )  # fmt: skip


def told(lines: list[Line]) -> tuple[list[bytes], list[Any], int]:
    """Say which rows there are, what is left out and why, and how many they are."""
    kept = [row for one in lines if not one.touched for row in one.line.split(b"\n")]
    return kept, [(one.key, one.touched) for one in lines if one.touched], sum(one.rows for one in lines)


@pytest.mark.parametrize("written", PLAIN)
def test_together_is_as_each_by_itself(written: str) -> None:
    """With nulls and without, nested or not, among values that do not fit and fields that have no column."""
    types = TYPES["postgresql"]
    of = types.type_of(written)
    assert of is not None
    dice, together = random.Random(written), 0
    kind = types.kind_for(of, {kind_of(PLAIN[written][0]): 1}, "fail") or ANY
    for nulls in ("null", "missing", "both"):
        for path in ("v", "a.v"):
            value = column("v", path, written, kind, nulls=nulls, unfit=dice.choice(("fail", "reject")))
            action = mapping(column("id", "_id", "text", "string"), value)
            for spoilt in (0.0, 0.02, 0.3):
                some = [document(dice, number, written, path, spoilt) for number in range(64)]
                found = list(Lines(action).of(some))
                assert told(found) == told([line(Shape(action), one) for one in some])
                together += sum(one.rows > 1 for one in found)
    assert together >= 5


def document(dice: random.Random, number: int, written: str, path: str, spoilt: float) -> bytes:
    made: dict[str, Any] = {"_id": f"k{number}"}
    value = dice.choice(PLAIN[written])
    if dice.random() < spoilt:
        value = dice.choice((*MISFITS.get(written, []), None))
    inner = {} if dice.random() < spoilt else {"v": value}
    made |= inner if path == "v" else {"a": inner}
    if dice.random() < spoilt / 3:
        made[dice.choice(("other", "_id", "a"))] = dice.choice((1, None, "\0", "x" * 3000))
    return bson.encode(made)


def test_nulls_that_are_declared_do_not_take_the_slow_way() -> None:
    """They are in most collections."""
    id_, both = column("id", "_id", "text", "string"), column("v", "v", "text", "string", nulls="both")
    some = [bson.encode({"_id": str(n), **({} if n % 3 else {"v": None})}) for n in range(50)]
    (one,) = Lines(mapping(id_, both)).of(some)
    assert one.rows == 50
    # A null of JSON is no NULL.
    (same,) = Lines(mapping(id_, column("v", "v", "jsonb", ANY, nulls="both"))).of(some[:1])
    assert same.line == b"0\tnull"


@pytest.mark.parametrize(
    "identity",
    [ObjectId("0" * 23 + "f"), 'é"\\\0\U0001f600', "", 5, -(2**31), 2**31, Int64(5), Int64(-(2**63)), True, 5.0, None,
     {"a": Int64(1)}, "5", Decimal128("5"), DatetimeMS(2**60)],
    ids=repr,
)  # fmt: skip
def test_a_key_is_extended_json_and_back_again(identity: Any) -> None:
    """Also where the library is not asked."""
    (key,) = key_of(identity)
    assert key == to_text({"_id": identity})
    assert bson.encode({"v": identity_of(key)}) == bson.encode({"v": from_text(key)["_id"]})


@pytest.mark.parametrize(
    "identity",
    [{"$oid": "x"}, {"a": {"$oid": "0" * 24}}, {"a": [{"$numberInt": "5"}], "b": Int64(1)}, {"$date": "no date"},
     {"$numberLong": None}, {"a": 5, "bson": "00"}, {"$oid": 1, "bson": "aa"}, {"a": ', "bson": "aa"}', "$code": "x"},
     {"$ref": "c", "$id": ObjectId("0" * 24)}],
    ids=repr,
)  # fmt: skip
def test_a_key_says_which_document_it_is_of_whatever_names_that_has(identity: Any) -> None:
    """Also where extended JSON would be read as a value of another type, or cannot be read at all."""
    (key,) = key_of(identity)
    assert bson.encode({"v": identity_of(key)}) == bson.encode({"v": identity})
    assert json.loads(key)["_id"] == json.loads(to_text({"_id": identity}))["_id"]


def test_what_would_not_make_the_same_bytes_again_is_seen_among_many() -> None:
    """A field that is there twice, and types that the driver turns into others."""
    action = mapping(column("id", "_id", "text", "string"), column("v", "v", "text", "string", nulls="both"))
    plain = [bson.encode({"_id": f"k{n}", "v": "x"}) for n in range(40)]
    inner = plain[0][4:-1]
    for more in (b"\x02v\0\2\0\0\0x\0", b"\x06v\0", b"\x0ev\0\2\0\0\0x\0", b"\x02v\0\2\0\0\0\xff\0"):
        strange = struct.pack("<i", len(inner + more) + 5) + inner + more + b"\0"
        some = [*plain, strange, *plain]
        found = list(Lines(action).of(some))
        assert told(found) == told([line(Shape(action), one) for one in some])
        assert [one.touched[0].field for one in found if one.touched] == ["the document"]


def test_what_is_counted_is_looked_at_one_by_one() -> None:
    """A value that a policy makes fit is told, too, before the run."""
    action = mapping(column("id", "_id", "text", "string"), column("v", "v", "jsonb", ANY, unfit="tag"))
    some = [bson.encode({"_id": "k", "v": ObjectId("0" * 24)})]
    ((_, made),) = Together(action, counting=True).lines(some)
    assert made is None
    assert [bool(made) for _, made in Together(action).lines(some)] == [True]
