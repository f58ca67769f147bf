"""Values that BSON holds exactly, or that are refused with the reason: read from a real server, never nearly right."""

import io
import random
from typing import Any

import bson
import psycopg
import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from rich.console import Console

from flows.explain import as_data, explanation
from profiles.model import Limits
from tasks.engines.mongodb.ahead import reading
from tasks.engines.mongodb.document import documents
from tasks.engines.mongodb.ready import can_make, ready
from tasks.engines.mongodb.values import maker
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.planning.transfer import plan_transfer
from tasks.engines.postgresql.transfer_rows import rows
from tasks.engines.records import Key
from tasks.model.errors import PreflightError, SpecError
from tasks.model.plan import Plan
from tasks.model.spec import MigrationSpec
from tasks.model.transfer_steps import DocumentTransfer

EXACT = CodecOptions[Any](datetime_conversion=DatetimeConversion.DATETIME_MS)
VALUES: list[tuple[str, str | None, str, Any]] = [
    ("2::smallint", None, "int", 2),
    ("7::bigint", None, "int64", Int64(7)),
    ("9223372036854775807", None, "int64", Int64(2**63 - 1)),
    ("1.10::numeric", None, "decimal", Decimal128("1.10")),
    ("'NaN'::numeric", None, "decimal", Decimal128("NaN")),
    ("'-Infinity'::numeric", None, "decimal", Decimal128("-Infinity")),
    ("repeat('9', 34)::numeric", None, "decimal", Decimal128("9" * 34)),
    ("(repeat('9', 35))::numeric", None, "unfit", "more digits than a decimal has"),
    ("(repeat('1', 40) || '.5')::numeric", None, "unfit", "more digits than a decimal has"),
    ("0.1::real", None, "double", 0.10000000149011612),
    ("'-0'::float8", None, "double", -0.0),
    ("'infinity'::float8", None, "double", float("inf")),
    ("true", None, "bool", True),
    ("'ü😀'", None, "str", "ü😀"),
    ("'ab'::char(5)", None, "str", "ab   "),
    ("'\\x00ff'::bytea", None, "bytes", b"\x00\xff"),
    ("'00112233-4455-6677-8899-aabbccddeeff'::uuid", None, "uuid",
     Binary(bytes.fromhex("00112233445566778899aabbccddeeff"), 4)),
    ("'2026-01-02 03:04:05.678+00'::timestamptz", None, "date", 1767323045678),
    ("'0044-03-15 12:00:00+00 BC'::timestamptz", None, "date", -63517780800000),
    ("'294276-12-31 23:59:59.999+00'::timestamptz", None, "date", 9224318015999999),
    ("'1969-12-31 23:59:59.999999+00'::timestamptz", None, "unfit", "microseconds, where a date has milliseconds"),
    ("'infinity'::timestamptz", None, "unfit", "infinity is no date"),
    ("date '2026-01-02'", "date", "date", 1767312000000),
    ("'-infinity'::date", "date", "unfit", "infinity is no date"),
    ("timestamp '2026-01-02 00:00:00.001'", "date", "date", 1767312000001),
    ("interval '1 mon'", "string", "str", "1 mon"),
    ("time '24:00'", "string", "str", "24:00:00"),
    ("int4range(1, 5)", "string", "str", "[1,5)"),
    ("'[0:1]={1,2}'::int[]", "string", "str", "[0:1]={1,2}"),
    ("0.1::float8", "string", "str", "0.1"),
    ("""'{"a": [1, 0.12345678901234567890, null], "b": {}}'::jsonb""", None, "json",
     {"a": [Int64(1), Decimal128("0.12345678901234567890"), None], "b": {}}),
    ("'-9223372036854775808'::jsonb", None, "int64", Int64(-(2**63))),
    ("'-9223372036854775809'::jsonb", None, "decimal", Decimal128("-9223372036854775809")),
    ("'-0'::json", None, "decimal", Decimal128("-0")),
    ("'123456789012345678901234567890'::jsonb", None, "decimal", Decimal128("123456789012345678901234567890")),
    ("""'{"a": 1, "a": 2}'::json""", None, "unfit", "a key that is given twice"),
    ("""'{"$a": 1}'::jsonb""", None, "unfit", "a key that starts with $"),
    ("""'{"a\\u0000b": 1}'::json""", None, "unfit", "no text of JSON that BSON can hold"),
    ("""'"\\ud800"'::json""", None, "unfit", "no text of JSON that BSON can hold"),
    ("(repeat('[', 95) || repeat(']', 95))::jsonb", None, "unfit", "nested too deeply"),
    ("'1e400'::jsonb", None, "unfit", "more digits than a decimal has"),
    ("'0123456789abcdef01234567'", "objectId", "oid", ObjectId("0123456789abcdef01234567")),
    ("'\\x0123456789abcdef01234567'::bytea", "objectId", "oid", ObjectId("0123456789abcdef01234567")),
    ("'0123456789ABCDEF01234567'", "objectId", "unfit", "an objectId in capital letters"),
    ("'0123456789abcdef01234567'::char(25)", "objectId", "unfit", "no objectId: 24 hexadecimal digits, or 12 bytes"),
    ("'\\x00'::bytea", "objectId", "unfit", "no objectId: 24 hexadecimal digits, or 12 bytes"),
    ("""'{"a": [{"$date": {"$numberLong": "5"}}, 5]}'::jsonb""", "extended_json", "json",
     {"a": [DatetimeMS(5), Int64(5)]}),
    ("""'{"$date": "1970-01-01T00:00:00.005Z"}'::json""", "extended_json", "unfit",
     "a key that starts with $, and no canonical extended JSON"),
    ("""'{"$oid": "0123456789abcdef01234567", "a": 1}'::json""", "extended_json", "unfit",
     "a key that starts with $, and no canonical extended JSON"),
    ("'null'::jsonb", None, "unfit", "a null of JSON, where NULL becomes null, too"),
]  # fmt: skip


def drawn(conn: psycopg.Connection[Any], fields: dict[str, Any], **more: Any) -> Plan:
    to = {"database": "documents", "collection": "c"}
    transfer = {"table": "t", "to": to, "fields": fields, **more}
    spec = MigrationSpec.model_validate({"migration": "m", "strategy": "cross_database", "transfer": transfer})
    return plan_transfer(conn, spec, "public")


def action_of(plan: Plan) -> DocumentTransfer:
    return next(step.action for step in plan.steps if isinstance(step.action, DocumentTransfer))


@pytest.fixture
def conn(database: str) -> Any:
    with connect(database, application_name="values", search_path="public") as conn:
        conn.execute("create table t (id int primary key, n int)")
        conn.execute("insert into t values (1)")
        yield conn


def test_values_arrive_exactly_or_are_refused(conn: psycopg.Connection[Any]) -> None:
    """One document with all of them; what does not fit is text where the policy says so, and says why."""
    fields = {
        f"f{number}": {"up": up, "unfit": "string"} | ({"type": kind} if kind else {})
        for number, (up, kind, _, _) in enumerate(VALUES)
    }
    action = action_of(drawn(conn, fields))
    (made,) = documents(action, rows(conn, action, None, None))
    found = bson.decode(made.document, EXACT)
    reasons = {one.field: one.reason for one in made.touched}
    for number, (up, _, kind, value) in enumerate(VALUES):
        name = f"f{number}"
        if kind == "unfit":
            assert (reasons.get(name), type(found[name])) == (value, str), up
            continue
        assert name not in reasons, up
        # As BSON, so that types, signs and NaN count, too.
        wanted = bson.datetime_ms.DatetimeMS(value) if kind == "date" else value
        assert bson.encode({"v": found[name]}) == bson.encode({"v": wanted}), up


def test_null_and_missing_are_told_apart(conn: psycopg.Connection[Any]) -> None:
    fields = {"a.b": "n", "a.c": {"column": "n", "nulls": "missing"}, "d.e": {"column": "n", "nulls": "missing"},
              "j": {"up": "'null'::jsonb", "nulls": "missing"}}  # fmt: skip
    action = action_of(drawn(conn, fields))
    (made,) = documents(action, rows(conn, action, None, None))
    assert bson.decode(made.document) == {"_id": 1, "a": {"b": None}, "j": None}


def test_the_plan_shows_what_a_document_will_look_like(conn: psycopg.Connection[Any]) -> None:
    fields = {
        "a.b": {"up": "n + 1.5", "unfit": "tag"},
        "c": {"column": "n", "nulls": "missing"},
        "d": {"constant": "x"},
    }
    plan = drawn(conn, fields, where="n > 0")
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(explanation(plan, {}, Limits(), sql=True))
    told = console.export_text()
    for line in (
        '_id: int32 of "id" (integer)',
        "a.b: decimal of n + 1.5 (numeric), tag what does not fit",
        'c: int32 of "n" (integer), left out when NULL',
        "d: 'x'",
        "where n > 0",
        "must not be written",
    ):
        assert line in told, told
    assert as_data(plan, {}, Limits())["steps"][-1]["phase"] == "contract"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"a": {"up": "nobody + 1"}}, 'column "nobody" does not exist'),
        ({"a": {"up": "count(*)"}}, "aggregate functions are not allowed"),
        ({"a": {"up": "generate_series(1, 2)"}}, "set-returning functions are not allowed"),
        ({"a": {"up": "row_number() over ()"}}, "window functions are not allowed"),
        ({"a": {"column": "nothing"}}, "has no column"),
        ({"a": {"up": "interval '1 day'"}}, "no counterpart of interval"),
        ({"a": {"up": "now()::timestamp"}}, "no counterpart of timestamp without time zone"),
        ({"a": {"column": "n", "type": "date"}}, "a integer is no date"),
        ({"a": {"column": "n", "type": "objectId"}}, "a integer is no objectId"),
        ({"a": {"up": "n::text", "type": "extended_json"}}, "a text is no extended_json"),
        ({"_id": {"up": "n::numeric"}, "a": "n"}, "does not tell documents apart"),
    ],
)
def test_what_cannot_be_copied_is_refused_with_its_place(
    conn: psycopg.Connection[Any], fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(SpecError, match=reason) as refused:
        drawn(conn, fields)
    assert refused.value.where.startswith("transfer.fields.")


def test_a_condition_and_a_key_are_needed(conn: psycopg.Connection[Any]) -> None:
    with pytest.raises(SpecError, match="must be type boolean"):
        drawn(conn, {"a": "n"}, where="n + 1")
    conn.execute("create table nokey (a int); create view v as select 1 as id")
    for name in ("nokey", "v"):
        with pytest.raises(PreflightError):
            drawn(conn, {"a": "a"}, table=name)


def test_the_server_makes_the_very_same_documents_or_leaves_them_to_us(conn: psycopg.Connection[Any]) -> None:
    """Each value by itself; then rows with NULLs, nested documents, constants and a key of two columns, in a range."""
    if conn.info.server_version < 180_000:
        # A server of the developer's own.
        assert not can_make(conn, action_of(drawn(conn, {"v": {"up": "1"}})))
        return
    left = set()
    for up, kind, holds, _ in VALUES:
        rule = {"up": up, "unfit": "string"} | ({"type": kind} if kind else {})
        action = action_of(drawn(conn, {"v": rule}))
        if not can_make(conn, action):
            assert holds == "json" or "json" in up or "::char(" in up
            continue
        made, others = ready(conn, action, None, None)
        (wanted,) = documents(action, rows(conn, action, None, None))
        assert made in ([wanted.document], []), up
        assert others == ([] if made else [wanted.key])
        assert not (made and wanted.touched)
        left |= set() if made else {up}
    # What is rare, and what does not fit.
    assert {up for up, _, kind, _ in VALUES if kind == "unfit" and "json" not in up and "::char(" not in up} < left
    assert len(left) < 14, left
    conn.execute('create table "o%d" (a text, b int, "n" numeric, at timestamptz, c char(3), primary key (a, b))')
    conn.execute(
        """insert into "o%d" select 'k' || i, i, round(nullif(i, 3) / -4.0, 2), to_timestamp(i / 10.0),
        nullif('x', 'x' || i % 2) from generate_series(-8, 8) as i union all select 'k', 1, 'NaN', 'infinity', null"""
    )
    fields = {
        "x.y.z": "n", "x.y.at": {"column": "at", "nulls": "missing", "unfit": "tag"}, "x.c": "c", "k": {"constant": 7},
        "p.q": {"up": "nullif(b, 2)::smallint", "nulls": "missing"}, "a": "a",
    }  # fmt: skip
    action = action_of(drawn(conn, fields, table="o%d", where="b <> 5"))
    assert can_make(conn, action)
    wanted = {one.key: one for one in documents(action, rows(conn, action, ("k", "0"), ("k7", "7")))}
    made, others = ready(conn, action, ("k", "0"), ("k7", "7"))
    assert sorted([*made, *(wanted[key].document for key in others)]) == sorted(one.document for one in wanted.values())
    assert len(made) > 10
    # A field that comes back to a document that was left would stand where its first field did.
    assert not can_make(conn, action_of(drawn(conn, {"x.a": "n", "b": "n", "x.c": "n"})))


def test_a_decimal_is_made_as_the_driver_makes_it() -> None:
    """Digit by digit, zeros and signs included."""
    make, dice = maker("decimal"), random.Random(2)
    texts = ["0", "-0", "0.00", "-0.0", "9" * 34, "-" + "9" * 34, "0." + "9" * 34, "0." + "0" * 40 + "1", "1e5"]
    for _ in range(500):
        whole, fraction = ("".join(dice.choices("0123456789", k=dice.randrange(1, 18))) for _ in "ab")
        texts.append(dice.choice(("", "-")) + str(int(whole)) + dice.choice(("", f".{fraction}")))
    for text in texts:
        assert make(text).bid == Decimal128(text).bid, text


@pytest.mark.parametrize("kind", ["jsonb", "numeric"])
def test_batches_are_read_ahead_whoever_makes_the_documents(
    conn: psycopg.Connection[Any], database: str, kind: str
) -> None:
    """Each row once: where the server makes none of them, some, and so few that it is no longer asked."""
    conn.execute("insert into t select i, nullif(i % 7, 0) from generate_series(2, 60) as i")
    rare = "case when id > 30 and n is null then repeat('9', 30)::numeric else n end"
    action = action_of(drawn(conn, {"v": {"up": f"({rare})::{kind}" if kind == "numeric" else f"to_jsonb({rare})"}}))
    wanted = {one.document for one in documents(action, rows(conn, action, None, None))}
    found: list[bytes] = []
    position: Key | None = None
    with connect(database, application_name="ahead") as ahead, reading(ahead, action, ("60",), "public") as reader:
        while position != ("60",):
            batch = reader.take(position, 10)
            assert batch.rows == 10
            if not batch.last:
                reader.begin(batch.high, 10)
            found += [*batch.ready, *(one.document for one in batch.made)]
            position = batch.high
    assert len(found) == len(wanted) == 60
    assert set(found) == wanted
