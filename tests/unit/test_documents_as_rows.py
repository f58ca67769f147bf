"""Values of BSON as values of PostgreSQL: the same, or refused with the reason; what is not read is seen."""

import itertools
import json
import math
import random
import struct
from decimal import Decimal
from typing import Any

import bson
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS

from tasks.engines.mongodb.rows.columns import TYPES, Taker
from tasks.engines.mongodb.rows.decode import kind_of
from tasks.engines.mongodb.rows.held import ANY
from tasks.engines.mongodb.rows.json_text import digits, plain_decimal
from tasks.engines.mongodb.rows.shape import Shape
from tasks.engines.mongodb.values import UnfitError
from tasks.engines.receiving.lines import NULL, escaped, line_of
from tasks.model.transfer_steps import Relation, RowTransfer, TransferColumn

DAY = 86_400_000
FITS: list[tuple[str, Any, str]] = [
    ("smallint", 5.0, "5"),
    ("integer", Int64(2**31 - 1), "2147483647"),
    ("bigint", Decimal128("-12"), "-12"),
    ("bigint", "-12", "-12"),
    ("numeric", 1e22, "10000000000000000000000"),
    ("numeric", 0.1, "0.1"),
    ("numeric", Decimal128("1.10"), "1.10"),
    ("numeric", Decimal128("-Infinity"), "-Infinity"),
    ("numeric(5,2)", Decimal128("123.450"), "123.450"),
    ("numeric", "-0.50", "-0.50"),
    ("numeric(5,2)", "1.50", "1.50"),
    ("numeric(5)", "12345", "12345"),
    ("double precision", -0.0, "-0.0"),
    ("double precision", Int64(2**53), str(2**53)),
    ("double precision", math.nan, "NaN"),
    ("real", 0.5, "0.5"),
    ("text", "😀\n", "😀\n"),
    ("text", ObjectId("0123456789abcdef01234567"), "0123456789abcdef01234567"),
    ("bytea", ObjectId("0123456789abcdef01234567"), "\\x0123456789abcdef01234567"),
    ("bytea", "a\0", "\\x6100"),
    ("varchar(2)", "é😀", "é😀"),
    ("date", DatetimeMS(-DAY), "1969-12-31"),
    ("date", "2024-02-29", "2024-02-29"),
    ("timestamp", DatetimeMS(253_402_300_800_000), "10000-01-01 00:00:00.000"),
    ("timestamptz", DatetimeMS(-62_167_219_200_001), "0002-12-31 23:59:59.999+00 BC"),
    ("timestamptz(3)", DatetimeMS(-62_135_596_800_001), "0001-12-31 23:59:59.999+00 BC"),
    (
        "jsonb",
        {"a": [1, Int64(2), 0.5, Decimal128("1.0"), None, True, 'x"\n']},
        '{"a":[1,2,0.5,1.0,null,true,"x\\"\\n"]}',
    ),
]
UNFIT: list[tuple[str, Any, str]] = [
    ("smallint", 2**15, "range"),
    ("integer", 5.5, "after the point"),
    ("integer", -0.0, "minus zero"),
    ("bigint", Decimal128("1.0"), "after the point"),
    ("bigint", Decimal128("1E+3"), "exponent"),
    ("bigint", math.nan, "not a number"),
    ("bigint", "007", "plainly"),
    ("bigint", "-0", "plainly"),
    ("bigint", True, "kind bool"),
    ("numeric", Decimal128("-0"), "minus zero"),
    ("numeric", -0.0, "minus zero"),
    ("numeric", Decimal128("1E+3"), "exponent"),
    ("numeric", struct.unpack("<d", b"\x01\0\0\0\0\0\xf8\x7f")[0], "payload"),
    ("numeric(5,2)", 0.125, "after the point"),
    ("numeric(5,2)", "1.5", "after the point"),
    ("numeric(5,2)", "123.450", "after the point"),
    ("numeric(5)", "1.0", "after the point"),
    ("numeric(5,2)", 1000, "range"),
    ("numeric(5,2)", math.inf, "infinity"),
    ("double precision", Int64(2**53 + 1), "digits"),
    ("double precision", Decimal128("0.1"), "decimal"),
    ("real", 0.1, "digits"),
    ("real", 1e300, "digits"),
    ("text", "a\0b", "the character U"),
    ("varchar(2)", "abc", "longer"),
    ("uuid", "00112233-4455-6677-8899-AABBCCDDEEFF", "small letters"),
    ("date", DatetimeMS(1), "time of the day"),
    ("date", "2023-02-29", "YYYY"),
    ("timestamptz", DatetimeMS(9_224_318_016_000_000), "moment"),
    ("timestamptz", DatetimeMS(-210_866_803_200_001), "moment"),
    ("jsonb", {"a": ObjectId("0" * 24)}, "ObjectId"),
    ("jsonb", [DatetimeMS(0)], "a date"),
    ("jsonb", math.inf, "infinity"),
    ("jsonb", -0.0, "minus zero"),
    ("jsonb", {"$oid": "x"}, "starts with"),
    ("jsonb", ["a\0"], "the character U"),
    ("jsonb", Decimal128("1E+3"), "exponent"),
]
TAGGED: list[tuple[Any, str]] = [
    (ObjectId("0" * 24), '{"$oid": "000000000000000000000000"}'),
    ([-0.0], '[{"$numberDouble": "-0.0"}]'),
    (Decimal128("1E+3"), '{"$numberDecimal": "1E+3"}'),
    (DatetimeMS(2**60), '{"$date": {"$numberLong": "1152921504606846976"}}'),
    (Binary(b"x", 5), '{"$binary": {"base64": "eA==", "subType": "05"}}'),
    (Timestamp(1, 2), '{"$timestamp": {"t": 1, "i": 2}}'),
    (MaxKey(), '{"$maxKey": 1}'),
    (Code("f"), '{"$code": "f"}'),
]


def make(written: str, value: Any, unfit: str = "fail", taker: Taker = "postgresql") -> str:
    types = TYPES[taker]
    of = types.type_of(written)
    assert of is not None
    kind = types.kind_for(of, {kind_of(value): 1}, unfit) or types.kind_for(of, {}, unfit)
    assert kind is not None
    return types.maker(kind, of, unfit)(value)


@pytest.mark.parametrize(("written", "value", "text"), FITS, ids=str)
def test_what_fits_is_the_same(written: str, value: Any, text: str) -> None:
    assert make(written, value) == text


@pytest.mark.parametrize(("written", "value", "reason"), UNFIT, ids=str)
def test_what_does_not_fit_is_refused(written: str, value: Any, reason: str) -> None:
    with pytest.raises(UnfitError, match=reason):
        make(written, value)


IN_MARIADB: list[tuple[str, Any, str]] = [
    ("tinyint unsigned", 255, "255"),
    ("mediumint", "-8388608", "-8388608"),
    ("bigint unsigned", Decimal128("18446744073709551615"), "18446744073709551615"),
    ("decimal(65,30)", Decimal128("-9999999999999999999999999999999999"), "-9999999999999999999999999999999999"),
    ("decimal", 5.0, "5.0"),
    ("boolean", True, "1"),
    ("double", 5e-324, "5e-324"),
    ("float", 0.5, "0.5"),
    ("longtext", "a\0b", "a\0b"),
    ("varbinary(12)", ObjectId("0123456789abcdef01234567"), "0123456789abcdef01234567"),
    ("longblob", b"", ""),
    ("datetime(3)", DatetimeMS(-62_135_596_800_000), "0001-01-01 00:00:00.000"),
    ("datetime(6)", DatetimeMS(253_402_300_799_999), "9999-12-31 23:59:59.999"),
    ("json", {"b": "]]" * 40, "a": [{}] * 40}, '{"b":"' + "]]" * 40 + '","a":[' + ",".join(["{}"] * 40) + "]}"),
]
NOT_IN_MARIADB: list[tuple[str, Any, str]] = [
    ("tinyint", 128, "range"),
    ("int unsigned", -1, "range"),
    ("decimal(65,30)", Decimal128("1E-31"), "after the point"),
    ("decimal(65,30)", math.nan, "not a number"),
    ("decimal(65,30)", Decimal128("-Infinity"), "infinity"),
    ("double", -0.0, "minus zero"),
    ("double", math.inf, "infinity"),
    ("float", math.nan, "not a number"),
    ("varbinary(11)", ObjectId("0" * 24), "longer"),
    ("varchar(2)", "abc", "longer"),
    ("datetime(3)", DatetimeMS(253_402_300_800_000), "years"),
    ("datetime(3)", DatetimeMS(-62_135_596_800_001), "years"),
    ("date", DatetimeMS(253_402_300_800_000), "years"),
    ("json", json.loads("[" * 31 + "]" * 31), "levels"),
    ("json", ["a\0"], "the character U"),
]


@pytest.mark.parametrize(("written", "value", "text"), IN_MARIADB, ids=str)
def test_what_fits_in_mariadb_is_the_same(written: str, value: Any, text: str) -> None:
    assert make(written, value, taker="mariadb") == text


@pytest.mark.parametrize(("written", "value", "reason"), NOT_IN_MARIADB, ids=str)
def test_what_does_not_fit_in_mariadb_is_refused(written: str, value: Any, reason: str) -> None:
    with pytest.raises(UnfitError, match=reason):
        make(written, value, taker="mariadb")


@pytest.mark.parametrize("written", ["decimal(66,0)", "decimal(40,39)", "varchar", "datetime(2)", "int(5)", "bigint x",
                                     "uuid unsigned", "time", "varbinary(65533)"])  # fmt: skip
def test_what_mariadb_has_not_is_no_type(written: str) -> None:
    """Also what it would hold otherwise than it is written."""
    assert TYPES["mariadb"].type_of(written) is None


@pytest.mark.parametrize(("value", "text"), TAGGED, ids=str)
def test_a_tag_is_extended_json(value: Any, text: str) -> None:
    with pytest.raises(UnfitError):
        make("json", value)
    assert make("json", value, "tag") == text


def test_no_policy_hides_what_a_text_cannot_have() -> None:
    """U+0000, wherever it is, and a key that would be taken for a tag."""
    assert make("text", Regex("a"), "string").startswith('{"$regularExpression"')
    for value in ({"a": "\0"}, {"$oid": 1}, Code("a\0")):
        with pytest.raises(UnfitError):
            make("jsonb", value, "tag")
    with pytest.raises(UnfitError):
        make("text", Code("a\0"), "string")


def shape(*columns: tuple[str, str, str], **more: Any) -> Shape:
    """Make a mapping of (name, path, kind) columns, of `text` or jsonb."""
    made = tuple(
        TransferColumn(
            name=name, type="text" if kind == "string" else "jsonb", nullable=True, expression=path, source_type=kind,
            text="", nulls="missing", unfit="tag" if kind == "rest" else "fail",
        )
        for name, path, kind in columns
    )  # fmt: skip
    into = Relation(database="d", schema_name="public", name="t", helpers="h", create="", does="make")
    action = RowTransfer(
        table="t", key=("_id",), key_types=("bson",), alias="t", columns=made, of="collection", into=into,
        rejected="r", account="a", target_key=tuple(one.name for one in made if one.expression.startswith("_id")),
    )  # fmt: skip
    return Shape(action, **more)


@pytest.mark.parametrize(
    ("document", "blamed"),
    [
        ({"_id": "k", "a": {"b": "x"}}, []),
        ({"_id": "k", "a": {"b": "x", "c": 1}, "d": 1}, ["a.c", "d"]),
        ({"_id": "k", "a": {}}, ["a"]),
        ({"_id": "k", "a": [{"b": "x"}]}, ["a"]),
        ({"_id": "k", "a": None}, ["a"]),
        ({"_id": "k", "a": {"b": None}}, ["b"]),
        ({"_id": None}, ["key"]),
        ({"_id": 5}, ["key"]),
    ],
    ids=str,
)
def test_what_no_column_takes_is_seen(document: Any, blamed: list[str]) -> None:
    """And so is a null where NULL says missing, and an identity of another kind."""
    columns = (("key", "_id", "string"), ("b", "a.b", "string"))
    row = shape(*columns).row(bson.encode(document))
    assert [one.field for one in row.left_out] == blamed
    with_rest = shape(*columns, ("rest", "", "rest")).row(bson.encode(document))
    assert [one.field for one in with_rest.left_out] == [name for name in blamed if name in ("b", "key")]


def test_an_identity_of_several_columns_is_nothing_else() -> None:
    """Two that differ in the order of fields, or in one more, would become one key."""
    mapping = shape(("x", "_id.x", "string"), ("y", "_id.y", "string"), ("rest", "", "rest"))
    for identity, fits in (
        ({"x": "1", "y": "2"}, True),
        ({"y": "2", "x": "1"}, False),
        ({"x": "1", "y": "2", "z": 1}, False),
        ({"x": "1"}, False),
        ("x", False),
    ):
        assert (not mapping.row(bson.encode({"_id": identity})).left_out) is fits


@pytest.mark.parametrize(
    "raw",
    [
        b"\x10a\0\x01\0\0\0\x10a\0\x02\0\0\0",
        b"\x06a\0",
        b"\x0ea\0\x02\0\0\0b\0",
        b"\x02a\0\x02\0\0\0\xff\0",
        b"\x0ca\0\x02\0\0\0b\0" + bytes(12),
        b"\x04a\0\x0c\0\0\0\x10b\0\x0a\0\0\0\0",
        b"\x0ba\0a\0mi\0",
    ],
    ids=["twice", "undefined", "symbol", "no UTF-8", "pointer", "array that counts otherwise", "options in no order"],
)
def test_what_the_driver_does_not_keep_is_refused(raw: bytes) -> None:
    """A document whose values would not make the same bytes again."""
    whole = struct.pack("<i", len(raw) + 5) + raw + b"\0"
    (touched,) = shape(("key", "_id", "string")).row(whole).left_out
    assert (touched.field, touched.policy) == ("the document", "fail")


def test_a_reference_within_a_document_is_kept() -> None:
    """The driver makes an object of it."""
    assert kind_of(DBRef("c", "x")) == "document"
    row = shape(("key", "_id", "string"), ("j", "j", ANY)).row(bson.encode({"_id": "k", "j": DBRef("c", "x")}))
    # Its names start with $: they would be taken for tags.
    assert [one.field for one in row.left_out] == ["j"]


def test_a_decimal_is_read_from_its_bits_as_the_driver_reads_it() -> None:
    """Whatever its digits and exponent are, also in the form in which it is a zero."""
    dice = random.Random(1)
    listed = [Decimal128.from_bid(bytes(14) + bytes([0, top])) for top in range(256)]
    listed += [Decimal128.from_bid(dice.randbytes(16)) for _ in range(300)]
    for _ in range(700):
        drawn = tuple(dice.randrange(10) for _ in range(dice.randrange(1, 35)))
        listed.append(Decimal128(Decimal((dice.randrange(2), drawn, dice.choice((0, -1, -5, -34, -40, -6000, 3))))))
    for value in listed:
        number = value.to_decimal()
        try:
            wanted = digits(number) if number.is_finite() else None
        except UnfitError:
            wanted = None
        try:
            found = plain_decimal(value)
        except UnfitError:
            found = None
        assert found == wanted, value.bid


def test_a_line_is_escaped_wherever_it_has_to_be() -> None:
    """The short way, for what has nothing to escape, is never taken for what has."""
    parts = (None, "", "a", "\\", "\t", "\n", "\\N", "x\ty", "\r", "é")
    for one, two, three in itertools.product(parts, repeat=3):
        pieces = [NULL if part is None else escaped(part.encode()) for part in (one, two, three)]
        assert line_of((one, two, three)) == b"\t".join(pieces)
