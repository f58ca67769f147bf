"""Every type of BSON, to its edges: into PostgreSQL and back it is the same to the byte, or refused as declared.

The cases are those of MongoDB's BSON corpus that mean something here, in extended JSON of our own.
"""

from collections.abc import Iterator
from typing import Any

import bson
import psycopg
import pytest
from pymongo.database import Database

from tasks.engines.mongodb.connect import connected
from tasks.engines.mongodb.document import documents as documents_of
from tasks.engines.mongodb.documents.expressions import EXACT, from_text
from tasks.engines.mongodb.ready import can_make, ready
from tasks.engines.mongodb.rows.planner import plan_rows
from tasks.engines.mongodb.rows.reading import Reading
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.planning.transfer import plan_transfer
from tasks.engines.postgresql.receiving.load import write
from tasks.engines.postgresql.receiving.place import make
from tasks.engines.postgresql.transfer_rows import rows
from tasks.model.spec import MigrationSpec
from tasks.model.transfer_steps import DocumentTransfer, RowTransfer

OID = '{"$oid": "0123456789abcdef01234567"}'
UUID = "ABEiM0RVZneImaq7zN3u/w=="


def number(kind: str, text: str) -> str:
    return f'{{"$number{kind}": "{text}"}}'


def binary(subtype: str, base64: str = "AP8=") -> str:
    return f'{{"$binary": {{"base64": "{base64}", "subType": "{subtype}"}}}}'


def pattern(text: str, options: str) -> str:
    return f'{{"$regularExpression": {{"pattern": "{text}", "options": "{options}"}}}}'


SAME: dict[str, list[str]] = {
    "integer": [number("Int", text) for text in ("-2147483648", "-1", "0", "2147483647")],
    "bigint": [number("Long", text) for text in ("-9223372036854775808", "-1", "0", "1", "9223372036854775807")],
    "double precision": [
        number("Double", text)
        for text in ("1.0", "-0.0", "0.1", "1.2345678921232E+18", "5e-324", "1.7976931348623157e308", "NaN",
                     "Infinity", "-Infinity")
    ],
    "numeric": [
        number("Decimal", text)
        for text in ("0", "0.00", "1.10", "-9999999999999999999999999999999999", "0.1234567890123456789012345678901234",
                     "1E-6176", "-1.5E-6000", "NaN", "Infinity", "-Infinity")
    ],
    "text": ['""', '"a"', '"é☆😀"', '"\\u0001\\n\\\\\\"/\\u007f"', '"$oid"', OID],
    "boolean": ["true", "false"],
    "timestamptz": [
        f'{{"$date": {number("Long", text)}}}'
        for text in ("0", "-1", "1356351330501", "-284643869501", "253402300800000", "-210866803200000",
                     "9224318015999999")
    ],
    "bytea": [binary("00", ""), binary("00")],
    "uuid": [binary("04", UUID)],
    "json": [
        "{}", "[]", '{"": ""}', '{"b": [], "a": {"$date": {"$numberLong": "5"}}, "a.b": [null, true, {}]}', "null",
        *(binary(subtype, UUID) for subtype in ("01", "02", "03", "05", "06", "07", "08", "09", "80", "ff")),
        pattern("", ""), pattern("a/b\\\\d", "imx"), '{"$code": ""}', '{"$code": "é", "$scope": {}}',
        '{"$code": "x", "$scope": {"y": {"$numberInt": "1"}}}', '{"$minKey": 1}', '{"$maxKey": 1}',
        '{"$timestamp": {"t": 123456789, "i": 42}}', '{"$timestamp": {"t": 4294967295, "i": 4294967295}}',
        number("Decimal", "-0"), number("Decimal", "1E+3"), number("Decimal", "0E+6111"), number("Double", "-0.0"),
        f'[{OID}, {{"x": {pattern("a", "")}}}]', number("Long", "5"), number("Decimal", "5.0"),
    ],
}  # fmt: skip
"""By the type that they are held in."""
OTHER: dict[str, tuple[str, str]] = {
    number("Int", "5"): ("json", number("Long", "5")),
    number("Double", "5.0"): ("json", number("Decimal", "5.0")),
    '{"bb": true, "a": false}': ("jsonb", '{"a": false, "bb": true}'),
}
"""What is declared to become something else: in JSON a number is a number, and jsonb keeps no order."""
REFUSED: dict[str, tuple[str, str]] = {
    '"a\\u0000b"': ("text", "U+0000"),
    '{"$code": "a\\u0000b"}': ("json", "U+0000"),
    '{"$ref": "c", "$id": 1}': ("json", "starts with $"),
    '{"a": {"$gt": 5}}': ("json", "starts with $"),
    number("Decimal", "-0.0"): ("numeric", "minus zero"),
    number("Decimal", "9E+6144"): ("numeric", "exponent"),
    f'{{"$date": {number("Long", "9224318016000000")}}}': ("timestamptz", "moment"),
    OID: ("json", "ObjectId"),
}
BACK = {"text": "objectId", "json": "extended_json", "jsonb": "extended_json"}
"""The `type` of a field that is made of one of ours again."""


@pytest.fixture
def source(documents: str) -> Iterator[Database[Any]]:
    with connected(documents, name="test") as database:
        yield database


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection[Any]]:
    with connect(database, application_name="test", search_path="public") as conn:
        yield conn


def read(source: Database[Any], **columns: Any) -> RowTransfer:
    """Plan the way into PostgreSQL."""
    transfer = {"collection": "c", "to": {"database": "main", "table": "t"}, "columns": columns}
    spec = {"migration": "m", "database": "shop", "strategy": "cross_database", "transfer": transfer}
    plan = plan_rows(source, MigrationSpec.model_validate(spec), "postgresql")
    return next(step.action for step in plan.steps if isinstance(step.action, RowTransfer))


def back(conn: psycopg.Connection[Any], table: str = "t", **fields: Any) -> DocumentTransfer:
    """Plan the way into MongoDB."""
    transfer = {"table": table, "to": {"database": "shop", "collection": "back"}, "fields": fields}
    spec = MigrationSpec.model_validate({"migration": "m", "strategy": "cross_database", "transfer": transfer})
    plan = plan_transfer(conn, spec, "public")
    return next(step.action for step in plan.steps if isinstance(step.action, DocumentTransfer))


def arrive(source: Database[Any], conn: psycopg.Connection[Any], **columns: Any) -> RowTransfer:
    """Copy the documents into the table `t`."""
    action = read(source, **columns)
    with conn.transaction():
        make(conn, action.into, 1)
        write(conn, action, action.into.staged, Reading(source).lines(action, None, None))
        conn.execute(f"alter table {action.into.staged} set schema public".encode())
    return action


def test_what_has_a_place_comes_back_to_the_byte(source: Database[Any], conn: psycopg.Connection[Any]) -> None:
    """One document with all values, a column each; the server makes those that it can, and the same ones."""
    cases = [(written, text, text) for written, texts in SAME.items() for text in texts]
    cases += [(written, text, then) for text, (written, then) in OTHER.items()]
    identity = from_text(OID)
    source.c.insert_one({"_id": identity, **{f"f{n}": from_text(text) for n, (_, text, _) in enumerate(cases)}})
    source.c.insert_one({"_id": bson.ObjectId()})
    columns: dict[str, Any] = {}
    fields: dict[str, Any] = {"_id": {"column": "_id", "type": "objectId"}}
    for n, (written, text, _) in enumerate(cases):
        columns[f"f{n}"] = {"nulls": "missing", **({"unfit": "tag", "type": written} if "json" in written else {})}
        fields[f"f{n}"] = {"column": f"f{n}", "nulls": "missing"}
        if "json" in written or text.startswith('{"$oid'):
            fields[f"f{n}"]["type"] = BACK[written]
    action = arrive(source, conn, **columns)
    held = {"varchar": "text"}
    assert [held.get(one.type, one.type) for one in action.columns[1:]] == [written for written, _, _ in cases]
    for some in (fields, {name: rule for name, rule in fields.items() if rule.get("type") != "extended_json"}):
        again = back(conn, **some)
        made = list(documents_of(again, rows(conn, again, None, None)))
        assert not [one for one in made if one.touched]
        (first,) = [one for one in made if one.identity == identity]
        found = bson.decode(first.document, EXACT)
        for n, (_, text, then) in enumerate(cases):
            if f"f{n}" in some:
                assert bson.encode({"v": found[f"f{n}"]}) == bson.encode({"v": from_text(then)}), (text, then)
        if can_make(conn, again):
            by_server, others = ready(conn, again, None, None)
            assert {*by_server, *(one.document for one in made if one.key in others)} == {o.document for o in made}
            assert by_server


def test_what_has_none_is_left_out_with_the_reason(source: Database[Any]) -> None:
    """A column each, and nothing of that document is copied."""
    columns: dict[str, Any] = {}
    document: dict[str, Any] = {"_id": 1}
    for n, (text, (written, _)) in enumerate(REFUSED.items()):
        document[f"f{n}"] = from_text(text)
        tagged = written == "json" and text != OID
        columns[f"f{n}"] = {"type": written, "unfit": "tag" if tagged else "reject", "nulls": "both"}
    source.c.insert_one(document)
    action = read(source, **columns)
    (line,) = Reading(source).lines(action, None, None)
    assert (line.line, len(line.touched)) == (b"", len(REFUSED))
    for one, reason in zip(line.touched, [reason for _, reason in REFUSED.values()], strict=True):
        assert reason in one.reason
