"""Values that BSON holds exactly, or that are refused with the reason: read from a real server, never nearly right."""

import io
from typing import Any

import bson
import psycopg
import pytest
from bson import Binary, Decimal128, Int64
from bson.codec_options import CodecOptions, DatetimeConversion
from rich.console import Console

from flows.explain import as_data, explanation
from profiles.model import Limits
from tasks.engines.mongodb.document import documents
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.planning.transfer import plan_transfer
from tasks.engines.postgresql.transfer_rows import rows
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
