"""MongoDB makes the very lines that we would make of a document, or leaves the document to us."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import bson
import psycopg
import pytest
from bson import Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument

from tasks.engines.mongodb.connect import Documents, connected
from tasks.engines.mongodb.rows import ready
from tasks.engines.mongodb.rows.columns import TYPES
from tasks.engines.mongodb.rows.decode import kind_of
from tasks.engines.mongodb.rows.held import ANY
from tasks.engines.mongodb.rows.reading import Lines, Reading
from tasks.engines.mysql import session as maria
from tasks.engines.mysql.receiving.load import send as to_mariadb
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.receiving.load import send
from tasks.engines.records import Line
from tasks.model.transfer_steps import RowTransfer
from tests.unit.test_documents_together import MISFITS, PLAIN, column, mapping, told

MORE: dict[str, list[Any]] = {
    "integer": [0, -(2**31), 2**31 - 1, Int64(5), Int64(2**31)],
    "bigint": [0, Int64(2**53 + 1)],
    "numeric": [
        *map(Decimal128, ("0", "0.00", "-0.00", "-0", "0E-7", "1E-7", "-1.50", "1E+3", "NaN", "-Infinity")),
        *map(Decimal128, ("9" * 34, "-0." + "1" * 33, "1E-6176", "0E+3", "-0.01")),
    ],
    "double precision": [
        *(0.0, -0.0, 0.1, 0.1 + 0.2, -123456789.123, 1e15, 1e15 + 2, 1e16, 1e-9, 1e-10, 5e-324, 1.7976931348623157e308),
        *(2**31 - 1, Int64(2**53), float("nan"), float("inf"), 1e22, 100.0, 2.5, 1 / 3),
    ],
    "text": ["$a", "\\", "\\.", "\t", "x" * 3000, "\x7f\x1f", "ﬀ\u2028", "-0"],
    "timestamptz": [
        *map(DatetimeMS, (-62_135_596_800_000, -62_135_596_800_001, 253_402_300_799_999)),
        *map(DatetimeMS, (1_700_000_000_123, 2**60, -1_000)),
    ],
    "timestamp": [DatetimeMS(0), DatetimeMS(-1), DatetimeMS(253_402_214_400_000)],
    "date": [DatetimeMS(86_399_999)],
    "boolean": [1, "t"],
}  # fmt: skip
"""Of kinds that have a type of their own on both sides, and others."""
WRITTEN = sorted({*PLAIN, *MORE} - {"bytea", "jsonb", "numeric(5,2)"})


@pytest.fixture
def source(documents: str) -> Iterator[Documents]:
    with connected(documents, name="test") as found:
        yield found


@pytest.fixture
def target(database: str) -> Iterator[psycopg.Connection[Any]]:
    with connect(database, application_name="test", search_path="public") as conn:
        yield conn


def mapped(written: str, path: str, **more: Any) -> RowTransfer:
    types = TYPES["postgresql"]
    of = types.type_of(written)
    assert of is not None
    kind = types.kind_for(of, {kind_of((PLAIN.get(written) or MORE[written])[0]): 1}, "fail") or ANY
    return mapping(column("id", "_id", "text", "string"), column("v", path, written, kind, **more))


def fill(source: Documents, some: Sequence[bytes]) -> list[bytes]:
    """Put documents into a collection of their own, and return them as they are there."""
    source.drop_collection("t")
    source["t"].insert_many([RawBSONDocument(one) for one in some])
    return some if isinstance(some, list) else list(some)


def both(source: Documents, action: RowTransfer, raw: list[bytes]) -> tuple[list[Line], list[Line]]:
    """Return the lines as a run loads them, and as it compares them."""
    return list(Reading(source, by_server=True).lines(action, None, None)), list(Lines(action).of(raw))


def left_out(lines: list[Line]) -> tuple[list[Any], int]:
    """Say which documents are left out, whenever they come, and how many there are in all."""
    _, left, count = told(lines)
    return sorted(left), count


def rows_of(conn: psycopg.Connection[Any], action: RowTransfer, lines: list[Line]) -> list[tuple[Any, ...]]:
    """Return what PostgreSQL makes of lines, as texts."""
    listed = ", ".join(f"{one.name} {one.type}" for one in action.columns)
    conn.execute(f"drop table if exists u; create table u ({listed})".encode())
    send(conn, "u", action.columns, (one for one in lines if not one.touched))
    return conn.execute('select id, v::text from u order by id collate "C"').fetchall()


def test_lines_are_the_same_whoever_makes_them(source: Documents, target: psycopg.Connection[Any]) -> None:
    """With nulls and without, nested or not, among values that do not fit and fields that have no column."""
    for written in WRITTEN:
        dice = random.Random(written)
        values = [*PLAIN.get(written, []), *MORE.get(written, []), *MISFITS.get(written, []), None, [1], {}]
        for path in ("v", "a.v"):
            made: list[bytes] = []
            for number, value in enumerate([*values, *values]):
                one: dict[str, Any] = {"_id": f"k{number:03}"}
                one |= {"v": value} if path == "v" else {"a": {"v": value}}
                if number >= len(values) and dice.random() < 0.5:
                    one[dice.choice(("other", "a", "v"))] = dice.choice((1, None, {}, {"v": 1, "w": 2}))
                elif number >= len(values):
                    one.pop("a", None)
                made.append(bson.encode(one))
            raw = fill(source, made)
            for nulls in ("null", "missing", "both"):
                action = mapped(written, path, nulls=nulls, unfit="reject")
                server, ours = both(source, action, raw)
                assert left_out(server) == left_out(ours)
                assert rows_of(target, action, server) == rows_of(target, action, ours), (written, path, nulls)


def test_lines_for_mariadb_are_the_same_whoever_makes_them(source: Documents, maria_database: str) -> None:
    """What it has another form for, or does not hold at all."""
    types = TYPES["mariadb"]
    values: dict[str, list[Any]] = {
        "bigint unsigned": [*MORE["bigint"], -1, Int64(2**63 - 1), 5.0, "7"],
        "tinyint": [127, 128, True],
        "double": [*MORE["double precision"], 5, Int64(5), -0.0],
        "longtext": [*MORE["text"], "a\0b", "'"],
        "varchar(2)": ["é😀", "abc", "\0"],
        "varchar(24)": [ObjectId("0" * 24), "x"],
        "boolean": [True, False, 1],
        "datetime(3)": MORE["timestamptz"],
        "date": [DatetimeMS(86_400_000), *MORE["date"]],
        "json": [{"a": 1}],
    }
    with maria.connect(maria_database) as conn:
        for written, some in values.items():
            of = types.type_of(written)
            assert of is not None
            kind = types.kind_for(of, {kind_of(some[0]): 1}, "fail") or ANY
            raw = fill(source, [bson.encode({"_id": f"k{n:03}", "v": one}) for n, one in enumerate([*some, None, [1]])])
            value = column("v", "v", of.written, kind, nulls="null", unfit="reject", form=types.form_of(of))
            action = mapping(column("id", "_id", "varchar(9)", "string", form="text"), value)
            action = action.model_copy(update={"into": action.into.model_copy(update={"engine": "mariadb"})})
            server, ours = both(source, action, raw)
            assert left_out(server) == left_out(ours)
            assert (ready.stage(action) is None) is (written == "json")
            found = []
            for lines in (server, ours):
                conn.execute("create or replace table u (id varchar(9), v " + of.written + ") character set utf8mb4")
                with conn.transaction():
                    to_mariadb(conn, "u", action.columns, (one for one in lines if not one.touched))
                found.append(list(conn.execute("select id, cast(v as char) from u order by id").fetchall()))
            assert found[0] == found[1], written
            assert len(found[0]) > 1


def test_nearly_all_are_made_there(source: Documents) -> None:
    doubles = mapped("double precision", "v")
    raw = fill(source, [bson.encode({"_id": str(n), "v": n / 100}) for n in range(90)])
    assert [one.rows for one in both(source, doubles, raw)[0]] == [90]
    action = mapped("numeric", "v", nulls="both")
    raw = fill(source, [bson.encode({"_id": str(n), "v": Decimal128(f"{n}.50") if n % 3 else None}) for n in range(90)])
    server, _ = both(source, action, raw)
    assert [one.rows for one in server] == [90]
    assert ready.stage(mapped("bytea", "v")) is None


def test_what_the_driver_does_not_keep_is_left_to_us(source: Documents) -> None:
    """A field that is there twice, a text that is no UTF-8 or has U+0000, a type that is out of use: each by itself."""

    def with_(body: bytes, number: int) -> bytes:
        head = bson.encode({"_id": f"k{number}"})[4:-1] + body + b"\0"
        return (len(head) + 4).to_bytes(4, "little") + head

    text = b"\x02v\0\x02\0\0\0a\0"
    odd = [
        text,
        text + text,
        b"\x02v\0\x02\0\0\0\xff\0",
        b"\x02v\0\x03\0\0\0a\0\0",
        b"\x06v\0",
        b"\x0ev\0\x02\0\0\0a\0",
    ]
    made = [with_(body, number) for number, body in enumerate(odd)]
    made.append(with_(b"\x02v\0\x02\0\0\0\xff\0", 9).replace(b"k9", b"\xff9"))
    raw = fill(source, made)
    action = mapped("text", "v", unfit="reject")
    server, ours = both(source, action, raw)
    assert told(server)[0] == told(ours)[0]
    assert left_out(server) == left_out(ours)
    assert len(told(server)[1]) == 6
