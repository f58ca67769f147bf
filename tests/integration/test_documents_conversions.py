"""A value that would be another one is told, and never made: rounded, cut, guessed, or said in fewer words."""

from collections.abc import Iterator
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId, Timestamp
from bson.datetime_ms import DatetimeMS
from pymongo import MongoClient
from pymongo.collection import Collection

from tasks.engines.mongodb.documents.conversions import convert, fails
from tasks.engines.mongodb.documents.expressions import EXACT, from_text, to_text

LOST = object()
ID = ObjectId("6b091d7c7e10401eaa46e188")
NOON = DatetimeMS(1_767_323_045_120)
"""2026-01-02 03:04:05.120"""
CASES: dict[str, list[tuple[Any, Any]]] = {
    "double": [
        ("0.1", 0.1), ("0.10", 0.1), ("-2.5e3", -2500.0), ("9007199254740993", LOST), ("9007199254740992", 2.0**53),
        ("0.12345678901234", 0.12345678901234), ("0.1234567890123456789", LOST), ("NaN", LOST),
        (Int64(2**53 + 1), LOST),
        (7, 7.0), (Decimal128("2.5"), 2.5), (Decimal128("0.1"), LOST), (DatetimeMS(2**53 + 1), LOST), (True, 1.0),
    ],
    "decimal": [
        ("1.10", Decimal128("1.10")), ("1" * 34, Decimal128("1" * 34)), ("1" * 35, LOST), ("1.", Decimal128("1")),
        (4, Decimal128("4")), (5.5, Decimal128("5.50000000000000")), (0.1, LOST), ("", LOST), ("0x1", LOST),
    ],
    "int": [
        ("007", 7), ("7.0", LOST), (" 7", LOST), ("2147483648", LOST), (1.7, LOST), (2.0, 2), (True, 1), (NOON, LOST),
    ],
    "long": [(NOON, Int64(1_767_323_045_120)), ("9007199254740993", Int64(9007199254740993)), (ID, LOST)],
    "bool": [(0, False), (1.0, True), (5, LOST), ("true", LOST), (ID, LOST), (NOON, LOST), (True, True)],
    "date": [
        ("2026-01-02T03:04:05.12Z", NOON), ("2026-01-02 03:04:05.120", NOON),
        ("2026-01-02T03:04:05.120000+00:00", NOON),
        ("2026-01-02T03:04:05.120001Z", LOST), ("2026-01-02T05:04:05.12+02:00", LOST), ("2026-02-30", LOST),
        ("2026-01-02", DatetimeMS(1_767_312_000_000)), ("2026-01-02T03:04", DatetimeMS(1_767_323_040_000)),
        ("Jan 2 2026", LOST), ("10", LOST), (ID, LOST), (Timestamp(5, 7), LOST), (Int64(5), DatetimeMS(5)),
        (1.5, LOST), (NOON, NOON),
    ],
    "string": [
        (0.5, "0.5"), (1 / 3, LOST), (0.1 + 0.2, LOST), (12345678.0, LOST), (Decimal128("1.10"), "1.10"),
        (Int64(2**60), str(2**60)), (NOON, "2026-01-02T03:04:05.120Z"), (DatetimeMS(2**60), LOST),
        (DatetimeMS(-(10**14)), LOST), (DatetimeMS(-1), "1969-12-31T23:59:59.999Z"), (ID, str(ID)), (True, "true"),
        ([1], LOST), ({"a": 1}, LOST), (b"x", LOST), (Timestamp(5, 7), LOST), ("as it is", "as it is"),
    ],
    "objectId": [(str(ID), ID), ("6b09", LOST), (ID, ID), (5, LOST)],
}  # fmt: skip


@pytest.fixture
def into(documents: str) -> Iterator[Collection[Any]]:
    with MongoClient(documents) as client:
        yield client.get_default_database().get_collection("c", codec_options=EXACT)


@pytest.mark.parametrize("to", CASES)
def test_a_value_is_converted_exactly_or_not_at_all(into: Collection[Any], to: str) -> None:
    given = [*CASES[to], (None, None)]
    into.insert_many([{"_id": number, "v": value} for number, (value, _) in enumerate(given)])
    # By way of text, as a plan holds it; all at once, as one that fails would stop the others.
    asked = from_text(to_text({"made": convert("$v", to, {"$literal": "lost"}), "fails": fails("$v", to)}))
    found = list(into.aggregate([{"$project": asked}, {"$sort": {"_id": 1}}]))
    for (value, wanted), one in zip(given, found, strict=True):
        made = "lost" if wanted is LOST else wanted
        assert (type(one["made"]), str(one["made"])) == (type(made), str(made)), value
        assert one["fails"] == (wanted is LOST), value
    into.insert_one({"_id": "missing"})
    (one,) = into.aggregate([{"$match": {"_id": "missing"}}, {"$project": asked}])
    assert one == {"_id": "missing", "fails": False}
