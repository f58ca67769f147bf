"""From PostgreSQL into documents and back, and from MongoDB into rows and back, by real servers: the same values."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import bson
import psycopg
import pytest
from bson import Binary, Decimal128, Int64
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from pydantic import ValidationError

from tasks.engines.mongodb.connect import Documents, connected
from tasks.engines.mongodb.document import documents as made_documents
from tasks.engines.mongodb.rows.planner import plan_rows
from tasks.engines.mongodb.rows.reading import Reading, shards
from tasks.engines.mongodb.rows.scan import examine_documents
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.planning.transfer import plan_transfer
from tasks.engines.postgresql.receiving.load import send
from tasks.engines.postgresql.rejections import key_text, note_rejected
from tasks.engines.postgresql.transfer_rows import rows
from tasks.model.errors import DriftError, SpecError
from tasks.model.plan import Plan
from tasks.model.spec import MigrationSpec
from tasks.model.transfer_steps import DocumentTransfer, RowTransfer

RAW = CodecOptions[Any](document_class=RawBSONDocument)
EXACT = CodecOptions[Any](datetime_conversion=DatetimeConversion.DATETIME_MS)
TABLE = """
create table t (
  id int primary key, small smallint, big bigint, n numeric, r real, d double precision, b boolean, s text, by bytea,
  u uuid, at timestamptz(3), day date, j jsonb);
insert into t values
  (1, -32768, 9223372036854775807, 1.10, 0.1, '-0', true, E'tab\\t \\\\N\\n😀', '\\x00ff',
   '00112233-4455-6677-8899-aabbccddeeff',
   '2026-01-02 03:04:05.678+00', '2026-01-02', '{"a": [1, 0.12345678901234567890, null, "x\\\\n"], "b": {}}'),
  (2, 0, -9223372036854775808, 'NaN', 'infinity', 5e-324, false, '', '', '00000000-0000-0000-0000-000000000000',
   '294276-12-31 23:59:59.999+00', '0044-03-15 BC', '123456789012345678901234567890'),
  (3, 32767, 0, repeat('9', 34)::numeric, 'nan', 'nan', null, 'null', '\\x', null,
   '4714-11-24 00:00:00+00 BC', null, '[]'),
  (4, null, null, '-Infinity', null, 1.7976931348623157e308, null, null, null, null, null, null, null),
  (5, 1, 1, 0.0000, '-0', 0.1, true, ' ', '\\x20', null, '0001-01-01 00:00:00+00', '9999-12-31', '"\\\\u0001"')
"""
COLUMNS = {"id": "_id", "small": {"type": "smallint"}, "r": {"type": "real"}, "day": {"type": "date"}}
VALUES: list[Any] = [
    0, -(2**31), Int64(0), Int64(-(2**63)), 0.1, -0.0, float("nan"), float("-inf"), 2.2250738585072014e-308,
    Decimal128("0.00"), Decimal128("-9." + "9" * 33), Decimal128("1E-6176"), Decimal128("NaN"), Decimal128("Infinity"),
    "", "\\N", "é\r\n\t", True, False, DatetimeMS(0), DatetimeMS(-1), DatetimeMS(-210_866_803_200_000),
    DatetimeMS(9_224_318_015_999_999), b"", b"\x00\xff", Binary(bytes(16), 4),
]  # fmt: skip
"""Of kinds that have a type of their own on both sides."""


@pytest.fixture
def target(database: str) -> Iterator[psycopg.Connection[Any]]:
    with connect(database, application_name="test", search_path="public") as conn:
        yield conn


@pytest.fixture
def source(documents: str) -> Iterator[Documents]:
    with connected(documents, name="test") as found:
        yield found


def drawn(source: Documents, table: str = "u", **transfer: Any) -> Plan:
    """Plan a copy of `c` into a table."""
    whole = {"collection": "c", "to": {"database": "main", "table": table}, **transfer}
    spec = {"migration": "m", "database": "shop", "strategy": "cross_database", "transfer": whole}
    return plan_rows(source, MigrationSpec.model_validate(spec), "postgresql")


def action_of(plan: Plan) -> RowTransfer:
    """Return what a plan copies."""
    return next(step.action for step in plan.steps if isinstance(step.action, RowTransfer))


def into_rows(source: Documents, conn: psycopg.Connection[Any], table: str, **transfer: Any) -> RowTransfer:
    """Copy the documents of `c` into a table, as a run does, in two ranges."""
    plan = drawn(source, table, **transfer)
    action = action_of(plan)
    conn.execute(action.into.create.replace(f'"{action.into.helpers}"', "public").encode())
    reading = Reading(source)
    ((_, last),) = shards(source, action, 1)
    middle = reading.end_of_batch(action, None, last, 1)
    for low, high in ((None, middle), (middle, last)) if middle else ((None, last),):
        lines = list(reading.lines(action, low, high))
        assert [one.touched for one in lines if one.touched] == []
        send(conn, table, action.columns, lines)
    return action


def of_rows(conn: psycopg.Connection[Any], table: str, fields: dict[str, Any]) -> list[bytes]:
    """Make documents of the rows of a table."""
    to = {"database": "documents", "collection": "c"}
    spec = {"migration": "m", "strategy": "cross_database", "transfer": {"table": table, "to": to, "fields": fields}}
    plan = plan_transfer(conn, MigrationSpec.model_validate(spec), "public")
    action = next(step.action for step in plan.steps if isinstance(step.action, DocumentTransfer))
    made = list(made_documents(action, rows(conn, action, None, None)))
    assert [one.touched for one in made if one.touched] == []
    return [one.document for one in made]


def test_rows_become_documents_and_the_same_rows(source: Documents, target: psycopg.Connection[Any]) -> None:
    """To the edges of each type that MongoDB has a counterpart of; NULL stays NULL, and not a null of JSON."""
    target.execute(TABLE)
    columns = [row[0] for row in target.execute(
        "select attname from pg_attribute where attrelid = 't'::regclass and attnum > 1 order by attnum"
    )]  # fmt: skip
    fields: dict[str, Any] = {name: {"column": name, "nulls": "missing"} for name in columns}
    fields["day"]["type"] = "date"
    for one in of_rows(target, "t", fields):
        source.get_collection("c", codec_options=RAW).insert_one(RawBSONDocument(one))
    into_rows(source, target, "u", columns=COLUMNS)
    # What is chosen, where nothing is said, is what it was.
    types = "select attname, format_type(atttypid, -1) from pg_attribute where attrelid = %s::regclass and attnum > 0"
    assert dict(target.execute(types, ("u",)).fetchall()) == dict(target.execute(types, ("t",)).fetchall())
    assert target.execute("select count(*) from u").fetchone() == (5,)
    for name in columns:
        wrong = target.execute(
            f'select id, t."{name}"::text, u."{name}"::text from t join u using (id)'
            f' where row(t."{name}")::record *<> row(u."{name}")::record'.encode()
        ).fetchall()
        assert wrong == [], name


def test_documents_become_rows_and_the_same_documents(source: Documents, target: psycopg.Connection[Any]) -> None:
    """A field for each value, so that each has a column of its own kind; to the bit."""
    fields = {f"f{number}": value for number, value in enumerate(VALUES)}
    raw = bson.encode({"_id": 1, **fields})
    empty = bson.encode({"_id": 2})
    for one in (raw, empty):
        source.get_collection("c", codec_options=RAW).insert_one(RawBSONDocument(one))
    into_rows(source, target, "u")
    back = of_rows(target, "u", {name: {"column": name, "nulls": "missing"} for name in fields})
    (there, came) = (bson.decode(one, EXACT) for one in (raw, back[0]))
    for name, value in fields.items():
        assert bson.encode({"v": came[name]}) == bson.encode({"v": there[name]}), value
    assert bson.decode(back[1]) == {"_id": 2}


def test_what_mongodb_evaluates_is_a_column(source: Documents, target: psycopg.Connection[Any]) -> None:
    """Of the document as it is, with fields that are left out; what is left is as it was."""
    source["c"].insert_many([{"_id": n, "a": f"a{n}", "b": "x", "c": {"d": n, "e": [1, 2]}} for n in range(4)])
    columns = {
        "both": {"up": {"$concat": ["$a", "-", "$b"]}},
        "size": {"up": {"$size": "$c.e"}, "type": "smallint"},
        "even": {"up": {"$cond": [{"$eq": [{"$mod": ["$_id", 2]}, 0]}, True, "$$REMOVE"]}},
    }
    into_rows(source, target, "u", columns=columns, omit=["b", "c.e"], where={"_id": {"$gt": 0}})
    assert target.execute('select _id, a, "both", size, even, c from u order by _id').fetchall() == [
        (n, f"a{n}", f"a{n}-x", 2, True if n == 2 else None, {"d": n}) for n in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("transfer", "reason"),
    [
        ({"where": {"a": {"$lots": 1}}}, "cannot read it: 2 BadValue"),
        ({"where": {"$where": "true"}}, "nobody can tell"),
        ({"where": {"$expr": {"$lt": ["$at", "$$NOW"]}}}, "another value each time"),
        ({"where": {"$text": {"$search": "x"}}}, "cannot read it"),
        ({"where": {"_id": {"$oid": "short"}}}, "no extended JSON"),
        ({"columns": {"x": {"up": {"$lots": 1}}}}, "cannot read it"),
        ({"columns": {"x": {"up": {"$divide": [1, "$zero"]}}}}, "fails on a document"),
        ({"columns": {"x": {"column": "n.a"}}}, "would have the column 'n_b'"),
        ({"columns": {"x": "nowhere"}}, "nothing tells what nowhere holds"),
        ({"columns": {"x": {"column": "zero", "type": "interval"}}}, "no type that documents"),
        ({"columns": {"x": {"column": "zero", "type": "boolean"}}}, "no value of the kind number"),
        ({"columns": {"x": {"column": "zero", "unfit": "tag"}}}, "extended JSON in a column of integer"),
        ({"columns": {"_id": {"unfit": "null"}}}, "a key is never null"),
        ({"columns": {"x": "n", "y": "n.a"}}, "is in x already"),
        ({"columns": {"x": "zero"}, "omit": ["zero"]}, "is left out, and copied"),
        ({"columns": {"x": {"constant": "a", "type": "integer"}}}, "integer does not hold it"),
        ({"columns": {"x": {"constant": 1, "type": "text"}}}, "text does not hold it"),
        ({"columns": {"x": {"constant": True, "type": "integer"}}}, "integer does not hold it"),
        ({"omit": ["n", "n.b"]}, "n.b is left out already"),
        ({"omit": ["n..b"]}, "no path of a field"),
        ({"rest": "_id"}, "a column of this name"),
        ({"omit": ["_id"]}, "_id is read"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_when_planned(source: Documents, transfer: dict[str, Any], reason: str) -> None:
    source["c"].insert_one({"_id": 1, "zero": 0, "n": {"a": 1, "b": 2}, "n_b": 3})
    with pytest.raises((SpecError, ValidationError), match=reason):
        drawn(source, **transfer)


def test_an_expression_that_fails_later_is_found_before_the_run(source: Documents) -> None:
    """On a document that no plan has looked at."""
    source["c"].insert_one({"_id": 1, "n": 1})
    plan = drawn(source, columns={"x": {"up": {"$divide": [1, "$n"]}}})
    source["c"].insert_one({"_id": 2, "n": 0})
    (failed,) = examine_documents(source, plan).failed
    assert failed.message.startswith("an expression fails on a document that exists")


def test_few_that_match_are_read_without_a_limit_of_time(source: Documents) -> None:
    """A limit would be one of all that a cursor gives; and no range has more to look through than it should."""
    source["c"].insert_many([{"_id": n, "a": n} for n in range(500)])
    action = action_of(drawn(source, where={"a": {"$lt": 3}}))
    reading, low = Reading(source, scanned=200), None
    ((_, last),) = shards(source, action, 1)
    source.command("profile", 2)
    counted = []
    while (end := reading.end_of_batch(action, low, last, 2)) is not None:
        counted.append(sum(line.rows for line in reading.lines(action, low, end)))
        low = end
    counted.append(sum(line.rows for line in reading.lines(action, low, last)))
    source.command("profile", 0)
    assert counted == [2, 1, 0, 0]
    profiled = list(source["system.profile"].find({"command.aggregate": "c"}))
    assert len(profiled) == 4
    assert [one["command"].get("maxTimeMS") for one in profiled] == [None] * 4
    assert max(one["docsExamined"] for one in profiled) <= 200


def test_a_collection_that_is_gone_does_not_pass_for_an_empty_one(source: Documents) -> None:
    """Renamed, made anew under its name, or one of another database."""
    source["c"].insert_one({"_id": 1, "a": 1})
    action = action_of(drawn(source))
    reading = Reading(source)
    ((_, last),) = shards(source, action, 1)
    assert reading.count(action) == 1

    def refused(elsewhere: Reading) -> None:
        asked: list[Callable[[], object]] = [
            lambda: shards(elsewhere.database, action, 1),
            lambda: elsewhere.end_of_batch(action, None, last, 1),
            lambda: elsewhere.end_of_batch(action, None, None, 1),
            lambda: elsewhere.count(action),
        ]
        for one in asked:
            with pytest.raises(DriftError, match="not the one that the plan was made for"):
                one()

    source["c"].rename("d")
    refused(reading)
    source["c"].insert_one({"_id": 1, "a": 1})
    refused(reading)
    source["c"].drop()
    source["d"].rename("c")
    assert shards(source, action, 1) == [(None, last)]
    refused(Reading(source.client["changeover_nowhere"]))


def test_texts_of_numbers_are_no_key_of_numbers(source: Documents) -> None:
    """Unless only one text of each number fits."""
    source["c"].insert_many([{"_id": "1"}, {"_id": "1.0"}])
    with pytest.raises(SpecError, match="numeric does not tell its values apart"):
        drawn(source, columns={"_id": {"type": "numeric"}})
    (failed,) = examine_documents(source, drawn(source, columns={"_id": {"type": "numeric(3,1)"}})).failed
    assert failed.unexpected == 1


def test_an_index_by_which_mongodb_deletes_documents_is_told_of(source: Documents) -> None:
    """Nobody can be asked to stop it; and the remedy that is told is one."""
    # Of the year 2100: MongoDB looks every minute for what it may delete.
    source["c"].insert_one({"_id": 1, "at": DatetimeMS(4_102_444_800_000)})
    source["c"].create_index("at", name="soon", expireAfterSeconds=2**30)

    def told() -> list[str]:
        return [one.message for one in drawn(source).findings if one.rule == "XDB-11"]

    (message,) = told()
    assert message.startswith("the index soon lets MongoDB itself delete documents")
    source.command("collMod", "c", index={"name": "soon", "expireAfterSeconds": 2**31 - 1})
    assert told() == []


def test_a_key_that_no_index_holds_is_found_before_the_run(source: Documents, target: psycopg.Connection[Any]) -> None:
    """It can be left out, and noted; the longest that is taken fits."""
    dice = random.Random(1)
    short, long, longer = (dice.randbytes(size // 2).hex() for size in (2592, 2594, 6000))
    source["c"].insert_many([{"_id": short}, {"_id": dice.randbytes(2592), "b": 1}])
    into_rows(source, target, "u", where={"b": {"$exists": False}}, omit=["b"])
    into_rows(source, target, "v", where={"b": 1}, omit=["b"])
    assert target.execute("select _id from u").fetchall() == [(short,)]
    source["c"].insert_many([{"_id": long}, {"_id": longer, "b": 1}])
    wanted: dict[str, Any] = {"where": {"_id": {"$type": "string"}}, "omit": ["b"]}
    (failed,) = examine_documents(source, drawn(source, **wanted)).failed
    assert failed.message.startswith("2 × longer than a key of PostgreSQL")
    action = action_of(drawn(source, columns={"_id": {"unfit": "reject"}}, **wanted))
    noted = [(one.key, one.touched) for one in Reading(source).lines(action, None, None) if one.touched]
    assert {key[0] for key, _ in noted} == {f'{{"_id": "{one}"}}' for one in (long, longer)}
    target.execute("create table r (key text, field text, reason text, primary key (key, field))")
    for _ in range(2):
        note_rejected(target, "r", noted)
    keys = [row[0] for row in target.execute("select key from r").fetchall()]
    assert sorted(keys) == sorted(key_text(key) for key, _ in noted)


def test_a_null_in_place_of_a_document_has_remedies(source: Documents, target: psycopg.Connection[Any]) -> None:
    """Each that is told is carried out."""
    source["c"].insert_many([{"_id": 1, "a": {"x": "1", "y": {"z": 2}}}, {"_id": 2, "a": None}, {"_id": 3, "a": {}}])
    columns: dict[str, Any] = {"x": {"column": "a.x"}, "z": {"column": "a.y.z"}}
    (failed,) = examine_documents(source, drawn(source, columns=columns, omit=["b"])).failed[-1:]
    assert failed.message.startswith("2 × a field that has no column; fields of it have columns: let `rest` take it")
    both = {name: {**rule, "nulls": "both"} for name, rule in columns.items()}
    half = examine_documents(source, drawn(source, columns={**both, "z": {**columns["z"], "nulls": "missing"}}))
    assert [one.unexpected for one in half.failed] == [2]
    into_rows(source, target, "t", columns=both)
    assert target.execute("select x, z from t order by _id").fetchall() == [("1", 2), (None, None), (None, None)]
    into_rows(source, target, "u", columns=both, rest="others")
    assert target.execute("select others from u order by _id").fetchall() == [(None,), ({"a": None},), ({"a": {}},)]
    into_rows(source, target, "v", columns=both, where={"a.x": {"$exists": True}})
    assert target.execute("select count(*) from v").fetchone() == (1,)


def test_a_field_whose_name_is_longer_than_that_of_a_column(source: Documents, target: psycopg.Connection[Any]) -> None:
    """It gets another one, or is left out, as the plan says that it could."""
    long, other = "x" * 70, f"n.{'y' * 70}"
    source["c"].insert_one({"_id": 1, long: "a", "n": {"y" * 70: "b"}})
    with pytest.raises(SpecError, match="as the name of a column"):
        drawn(source)
    into_rows(source, target, "t", columns={"x": long, "y": {"column": other}})
    assert target.execute("select x, y from t").fetchall() == [("a", "b")]
    into_rows(source, target, "u", columns={"x": long}, omit=[other])
    assert target.execute("select x, n from u").fetchall() == [("a", {})]
