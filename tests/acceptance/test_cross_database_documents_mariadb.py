"""The flow from MongoDB to MariaDB, through a real Prefect: every type to its edges, policies, there, and back."""

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pymysql
import pytest
from bson import Binary, Decimal128, Int64, MinKey, ObjectId, Regex
from bson.datetime_ms import DatetimeMS
from pymongo import MongoClient
from pymongo.database import Database

from flows.cross_database import cross_database
from flows.rollback import rollback
from tasks.engines.mysql.receiving.place import require_makeable
from tasks.engines.mysql.session import connect
from tasks.model.errors import DriftError, PreflightError, ProfileError, SpecError, StateError
from tasks.model.status import MigrationState, Report
from tasks.model.transfer_steps import RowTransfer
from tasks.run import engine_of
from tests.acceptance.test_cross_database_documents import spec_of
from tests.servers.mariadb import connected
from tests.two_databases import between

pytestmark = pytest.mark.usefixtures("prefect_server")
S = MigrationState


@pytest.fixture
def profile(database: str, documents: str, maria_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return between(
        tmp_path, monkeypatch, ledger_of="shop", shop=documents, main=database, rows=maria_database, other=documents
    )


@pytest.fixture
def target(maria_database: str) -> Iterator[pymysql.cursors.Cursor]:
    with connected(maria_database) as conn, conn.cursor() as cursor:
        yield cursor


@pytest.fixture
def source(documents: str) -> Iterator[Database[Any]]:
    with MongoClient(documents, tz_aware=True) as client:
        yield client.get_default_database()


Copy = Callable[..., Report]


@pytest.fixture
def copy(profile: str, tmp_path: Path) -> Copy:
    """Run a copy with what the spec says of it."""

    def run(collection: str, **transfer: Any) -> Report:
        spec = tmp_path / "copy.json"
        wanted = spec_of(collection, to={"database": "rows", "table": collection}, **transfer)
        spec.write_text(wanted.model_dump_json(exclude_defaults=True))
        return cross_database(str(spec), profile)

    return run


def remains(target: pymysql.cursors.Cursor) -> list[str]:
    target.execute("show tables")
    return [row[0] for row in target.fetchall()]


@pytest.mark.every_leg
def test_every_type_arrives_as_it_is(
    source: Database[Any], target: pymysql.cursors.Cursor, copy: Copy, profile: str
) -> None:
    """Types are chosen by what is there, and a null is not what is missing; a rollback leaves nothing."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678000)
    uuid = "00112233-4455-6677-8899-aabbccddeeff"
    source.odd.insert_many([
        {
            "_id": "a", "i": -(2**31), "l": Int64(2**63 - 1), "d": 5e-324, "dec": Decimal128("-1.10"),
            "s": "a\tb\n\\N 😀'\0\r", "b": True, "at": moment, "o": ObjectId("0123456789abcdef01234567"),
            "bin": b"\x00\xff'", "u": Binary(UUID(uuid).bytes, 4),
            "j": {"b": [1, 2.0, None, "it's"], "a": "\\n", "": 0},
            "arr": ["x", {"y": Decimal128("1.50")}], "mix": 1, "n": None,
        },
        {
            "_id": "A", "i": 0, "l": 1, "d": 1.7976931348623157e308, "dec": Decimal128("9" * 34), "s": "", "b": False,
            "at": DatetimeMS(253_402_300_799_999), "o": ObjectId("f" * 24), "bin": b"", "j": None, "arr": [],
            "mix": "1", "n": "x",
        },
        {"_id": "a ", "at": DatetimeMS(-62_135_596_800_000), "d": 0.1, "mix": None, "n": None},
    ])  # fmt: skip
    report = copy("odd")
    assert (report.state, report.rows) == (S.COMPLETE, 3)
    assert [check.name for check in report.gates[0].checks] == [
        "rows read = rows written + rows rejected", "every row is there", "MongoDB counts as many documents",
    ]  # fmt: skip
    target.execute(
        "select column_name, column_type, collation_name, is_nullable from information_schema.columns"
        " where table_schema = database() and table_name = 'odd' order by ordinal_position"
    )
    bin_ = "utf8mb4_nopad_bin"
    assert list(target.fetchall()) == [
        ("_id", "varchar(255)", bin_, "NO"), ("i", "int(11)", None, "YES"), ("l", "bigint(20)", None, "YES"),
        ("d", "double", None, "YES"), ("dec", "decimal(65,30)", None, "YES"), ("s", "longtext", bin_, "YES"),
        ("b", "tinyint(1)", None, "YES"), ("at", "datetime(3)", None, "YES"), ("o", "varchar(24)", bin_, "YES"),
        ("bin", "longblob", None, "YES"), ("j", "longtext", "utf8mb4_bin", "YES"),
        ("arr", "longtext", "utf8mb4_bin", "YES"), ("mix", "longtext", "utf8mb4_bin", "YES"),
        ("n", "longtext", bin_, "YES"), ("u", "uuid", None, "YES"),
    ]  # fmt: skip
    target.execute("select * from odd order by _id")
    rows = target.fetchall()
    assert rows[1] == (
        "a", -(2**31), 2**63 - 1, 5e-324, Decimal("-1.10"), "a\tb\n\\N 😀'\0\r", 1, moment,
        "0123456789abcdef01234567", b"\x00\xff'", '{"b":[1,2.0,null,"it\'s"],"a":"\\\\n","":0}',
        '["x",{"y":1.50}]', "1", None, uuid,
    )  # fmt: skip
    assert rows[0][3:6] == (1.7976931348623157e308, Decimal("9" * 34), "")
    assert rows[0][7] == datetime(9999, 12, 31, 23, 59, 59, 999000)
    assert rows[0][10:] == ("null", "[]", '"1"', "x", None)
    assert (rows[2][0], rows[2][3], rows[2][10:]) == ("a ", 0.1, (None, None, "null", None, None))
    target.execute("select cast(at as char) from odd where _id = 'a '")
    assert target.fetchall() == (("0001-01-01 00:00:00.000",),)
    assert rollback("copy", profile, "shop").state is S.ROLLED_BACK
    assert remains(target) == []


def test_what_does_not_fit_is_counted_and_decided(
    source: Database[Any], target: pymysql.cursors.Cursor, copy: Copy, profile: str
) -> None:
    """Undecided, the run is refused, and each reason counted; by a policy a row is left out, or a value is another."""
    deep: Any = 1
    for _ in range(31):
        deep = [deep]
    source.people.insert_many([
        {"_id": "a", "age": 7, "amount": Decimal128("1.5"), "at": DatetimeMS(0), "more": {"x": 1, "y": 2}},
        {"_id": "b", "age": 2.5, "amount": float("nan"), "at": DatetimeMS(2**60), "more": {"x": ObjectId("0" * 24)}},
        {"_id": "c", "age": "7", "amount": None, "at": None, "more": {"x": MinKey(), "z": Regex("a", "i")}},
        {"_id": "d", "age": Int64(2**40), "amount": -0.0, "more": []},
        {"_id": "k" * 256, "age": 1, "amount": 2, "at": DatetimeMS(1), "more": {"x": 1}},
        {"_id": "e", "age": 1, "amount": Decimal128("1E-31"), "at": DatetimeMS(1), "more": {"x": deep}},
    ])  # fmt: skip
    columns: dict[str, Any] = {
        "age": {"type": "int"}, "amount": {"type": "decimal(65,30)"}, "at": {"type": "datetime(3)"},
        "x": {"column": "more.x", "type": "json"}, "kind": {"constant": "person"},
    }  # fmt: skip
    engine = engine_of(profile, "shop", "copy", "")
    to = {"database": "rows", "table": "people"}
    refused = engine.examine(
        engine.plan(spec_of("people", to=to, columns=columns, omit=["more.y"])), values_in_reports=False
    )
    said = "; ".join(f"{check.name}: {check.message}" for check in refused.failed)
    for told in (
        "values of _id fit: 1 × longer than the type", "values of age fit: 1 × ", "1 × infinity, or not a number",
        "1 × a minus zero", "1 × more digits after the point than the type has",
        "1 × a moment outside of the years 1 to 9999", "deeper than 30 levels",
    ):  # fmt: skip
        assert told in said, said

    columns = {
        "_id": {"unfit": "reject"}, "age": {"type": "int", "unfit": "null"},
        "amount": {"type": "decimal(65,30)", "unfit": "null", "nulls": "both"},
        "at": {"type": "datetime(3)", "unfit": "null", "nulls": "both"},
        "x": {"column": "more.x", "type": "json", "unfit": "tag"}, "kind": {"constant": "person"},
    }  # fmt: skip
    # No policy makes it shallower.
    source.people.update_one({"_id": "e"}, {"$set": {"more.x": 1}})
    assert copy("people", columns=columns, rest="others").state is S.COMPLETE
    target.execute("select * from people order by _id")
    assert [(*row[:4], json.loads(row[4]) if row[4] else None, *row[5:]) for row in target.fetchall()] == [
        ("a", 7, Decimal("1.5"), datetime(1970, 1, 1), 1, "person", '{"more":{"y":2}}'),
        ("b", None, None, None, {"$oid": "0" * 24}, "person", None),
        ("c", None, None, None, {"$minKey": 1}, "person",
         '{"more":{"z":{"$regularExpression": {"pattern": "a", "options": "i"}}}}'),
        ("d", None, None, None, None, "person", '{"more":[]}'),
        ("e", 1, None, datetime(1970, 1, 1, 0, 0, 0, 1000), 1, "person", None),
    ]  # fmt: skip
    (prefix,) = [name.removesuffix("_account") for name in remains(target) if name.endswith("_account")]
    target.execute(f"select `key`, field, reason from {prefix}_rejected")
    assert target.fetchall() == ((f'{{"_id": "{"k" * 256}"}}', "_id", "longer than the type"),)
    target.execute(f"select sum(`read`), sum(written), sum(rejected) from {prefix}_account")
    assert target.fetchall() == ((6, 5, 1),)
    # What somebody wrote since is not taken; nor what nobody can tell any more; unless that is accepted.
    target.execute("insert into people (_id, kind) values ('new', 'x')")
    with pytest.raises(StateError, match="1 writes since the swap"):
        rollback("copy", profile, "shop")
    source.people.drop()
    with pytest.raises(DriftError, match="dropped, renamed"):
        rollback("copy", profile, "shop")
    assert "people" in remains(target)
    assert rollback("copy", profile, "shop", accept_loss=True).state is S.ROLLED_BACK
    assert remains(target) == []


def test_what_cannot_be_is_refused_before_anything_is_done(
    source: Database[Any], maria_database: str, profile: str
) -> None:
    """In the plan, or, where only the server knows, before the run."""
    source.users.insert_many({"_id": {"shop": n % 3, "no": f"u{n}"}, "name": f"f{n}"} for n in range(30))
    engine, to = engine_of(profile, "shop", "copy", ""), {"database": "rows", "table": "users"}
    with pytest.raises(ProfileError, match="documents are copied into PostgreSQL or MariaDB"):
        engine.plan(spec_of("users", to={"database": "other", "table": "users"}))
    columns = {"shop": "_id.shop", "no": "_id.no"}
    for other, reason in (
        ({"_id": {"type": "json"}}, "does not tell its values apart"),
        ({**columns, "no": {"column": "_id.no", "type": "longtext"}}, "does not tell rows apart"),
        ({**columns, "no": {"column": "_id.no", "type": "varchar(800)"}}, "the key has up to"),
        ({**columns, "Name": {"constant": 1}}, "for the same name"),
        ({**columns, "Db_trx_id": {"constant": 1}}, "keeps a column of the name 'Db_trx_id'"),
    ):
        with pytest.raises(SpecError, match=reason):
            engine.plan(spec_of("users", to=to, columns=other))
    wide = {f"w{n}": {"constant": "x", "type": "varchar(63)"} for n in range(40)}
    many = {f"n{n}": {"constant": 1, "type": "smallint"} for n in range(1017)}
    with connect(maria_database) as conn:
        for more, what in ((wide, "a row has no room on a page"), (many, "there are too many columns"), ({}, "")):
            plan = engine.plan(spec_of("users", to=to, columns={**columns, **more}))
            into = next(step.action.into for step in plan.steps if isinstance(step.action, RowTransfer))
            with pytest.raises(PreflightError, match=what) if what else nullcontext():
                require_makeable(conn, into)
        assert conn.execute("show tables").fetchall() == ()
