"""The flow from MongoDB to PostgreSQL, through a real Prefect: every type to its edges, policies, there, and back."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from bson import Binary, Decimal128, Int64, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from pymongo import MongoClient
from pymongo.database import Database

from flows.contract import contract
from flows.cross_database import cross_database
from flows.rollback import rollback
from tasks.model.errors import DriftError, StateError
from tasks.model.spec import MigrationSpec
from tasks.model.status import MigrationState, Report
from tasks.run import engine_of
from tests.two_databases import between

pytestmark = pytest.mark.usefixtures("prefect_server")
S = MigrationState


@pytest.fixture
def profile(database: str, documents: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return between(tmp_path, monkeypatch, ledger_of="shop", shop=documents, main=database)


@pytest.fixture
def target(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True, options="-c timezone=UTC") as conn:
        yield conn


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
        spec.write_text(spec_of(collection, **transfer).model_dump_json(exclude_defaults=True))
        return cross_database(str(spec), profile)

    return run


def spec_of(collection: str, **transfer: Any) -> MigrationSpec:
    """Return the spec of a copy."""
    whole = {"collection": collection, "to": {"database": "main", "table": collection}, **transfer}
    given = {"migration": "copy", "database": "shop", "strategy": "cross_database", "transfer": whole}
    return MigrationSpec.model_validate(given)


def remains(target: psycopg.Connection[Any]) -> list[Any]:
    """What there is beside the ledger and the system's own."""
    found = target.execute(
        "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where nspname !~ '^pg_|information_schema' and nspname <> 'changeover' union all"
        " select nspname from pg_namespace where nspname like '\\_changeover%' order by 1"
    ).fetchall()
    return [row[0] for row in found]


def test_every_type_arrives_as_it_is(
    source: Database[Any], target: psycopg.Connection[Any], copy: Copy, profile: str
) -> None:
    """Types are chosen by what is there, and a null is not what is missing; a rollback leaves nothing."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    source.odd.insert_many([
        {
            "_id": 1, "i": -(2**31), "l": Int64(2**63 - 1), "d": 5e-324, "dec": Decimal128("-1.10"),
            "s": "a\tb\n\\N 😀", "b": True, "at": moment, "o": ObjectId("0123456789abcdef01234567"), "bin": b"\x00\xff",
            "u": Binary(UUID("00112233-4455-6677-8899-aabbccddeeff").bytes, 4), "j": {"b": [1, 2.0, None], "a": "\\n"},
            "arr": ["x", {"y": Decimal128("1.50")}], "mix": 1, "n": None,
        },
        {
            "_id": 2, "i": 0, "l": 1, "d": -0.0, "dec": Decimal128("NaN"), "s": "", "b": False,
            "at": DatetimeMS(9_224_318_015_999_999), "o": ObjectId(), "bin": b"", "j": None, "arr": [], "mix": "1",
            "n": "x",
        },
        {"_id": 3, "at": DatetimeMS(-210_866_803_200_000), "d": float("-inf"), "mix": None, "n": None},
    ])  # fmt: skip
    report = copy("odd")
    assert (report.state, report.rows) == (S.COMPLETE, 3)
    (before, after) = report.gates
    assert [check.name for check in before.checks] == [
        "rows read = rows written + rows rejected", "every row is there", "MongoDB counts as many documents",
    ]  # fmt: skip
    assert after.passed
    types = target.execute(
        "select attname, format_type(atttypid, atttypmod) || case when attnotnull then ' not null' else '' end"
        " from pg_attribute where attrelid = 'odd'::regclass and attnum > 0 order by attnum"
    ).fetchall()
    assert types == [
        ("_id", "integer not null"), ("i", "integer"), ("l", "bigint"), ("d", "double precision"), ("dec", "numeric"),
        ("s", "text"), ("b", "boolean"), ("at", "timestamp with time zone"), ("o", "text"), ("bin", "bytea"),
        ("u", "uuid"), ("j", "jsonb"), ("arr", "jsonb"), ("mix", "jsonb"), ("n", "text"),
    ]  # fmt: skip
    rows = target.execute(
        "select _id, i, l, d::text, dec::text, s, b, at::text, o, bin, u::text, j::text, arr::text, mix::text, n"
        " from odd order by _id"
    ).fetchall()
    assert rows[0] == (
        1, -(2**31), 2**63 - 1, "5e-324", "-1.10", "a\tb\n\\N 😀", True, "2026-01-02 03:04:05.678+00",
        "0123456789abcdef01234567", b"\x00\xff", "00112233-4455-6677-8899-aabbccddeeff",
        '{"a": "\\\\n", "b": [1, 2.0, null]}', '["x", {"y": 1.50}]', "1", None,
    )  # fmt: skip
    assert rows[1][3:8] == ("-0", "NaN", "", False, "294276-12-31 23:59:59.999+00")
    assert rows[1][11:] == ("null", "[]", '"1"', "x")
    assert rows[2][3] == "-Infinity"
    assert rows[2][7] == "4714-11-24 00:00:00+00 BC"
    assert rows[2][11:] == (None, None, "null", None)
    assert rollback("copy", profile, "shop").state is S.ROLLED_BACK
    assert remains(target) == []


def test_what_does_not_fit_is_counted_and_decided(
    source: Database[Any], target: psycopg.Connection[Any], copy: Copy, profile: str
) -> None:
    """Undecided, the run is refused, and each reason counted; by a policy a row is left out, or a value is another."""
    source.people.insert_many([
        {"_id": "a", "age": 7, "name": "fits", "at": DatetimeMS(0), "more": {"x": 1, "y": 2}},
        {"_id": "b", "age": 2.5, "name": "a\0b", "at": DatetimeMS(2**60), "more": {"x": ObjectId("0" * 24)}},
        {"_id": "c", "age": "7", "name": None, "at": None, "more": {"x": MinKey(), "z": Regex("a", "i")}},
        {"_id": "d", "age": Int64(2**40), "name": 5, "more": []},
        {"_id": 5, "age": Decimal128("-0"), "name": "x", "at": DatetimeMS(1), "more": {"x": Timestamp(1, 2)}},
        {"_id": "hidden", "hidden": DatetimeMS(0)},
    ])  # fmt: skip
    columns: dict[str, Any] = {
        "_id": {"type": "text"}, "age": {"type": "integer"}, "name": {"type": "varchar(10)"},
        "at": {"type": "timestamptz"},
        "x": {"column": "more.x", "type": "jsonb"}, "kind": {"constant": "person"},
    }  # fmt: skip
    engine = engine_of(profile, "shop", "copy", "")
    undecided = spec_of("people", columns=columns, omit=["more.y"], where={"hidden": {"$exists": False}})
    refused = engine.examine(engine.plan(undecided), values_in_reports=False)
    assert not refused.passed
    said = "; ".join(f"{check.name}: {check.message}" for check in refused.failed)
    for told in (
        "values of _id fit: 1 × a value of the kind number, where string is held",
        "values of age fit: 1 × ",
        "1 × the character U+0000",
        "1 × a moment before 4714 BC",
        "1 × missing, where NULL says null",
    ):
        assert told in said, said

    columns = {
        "_id": {"type": "text", "unfit": "reject"}, "age": {"type": "integer", "unfit": "null"},
        "name": {"type": "varchar(10)", "unfit": "null"},
        "at": {"type": "timestamptz", "unfit": "null", "nulls": "both"},
        "x": {"column": "more.x", "type": "jsonb", "unfit": "tag"}, "kind": {"constant": "person"},
    }  # fmt: skip
    assert copy("people", columns=columns, rest="others", where={"hidden": {"$exists": False}}).state is S.COMPLETE
    assert target.execute("select * from people order by _id").fetchall() == [
        ("a", 7, "fits", datetime(1970, 1, 1, tzinfo=UTC), 1, "person", {"more": {"y": 2}}),
        ("b", None, None, None, {"$oid": "0" * 24}, "person", None),
        ("c", None, None, None, {"$minKey": 1}, "person",
         {"more": {"z": {"$regularExpression": {"pattern": "a", "options": "i"}}}}),
        ("d", None, None, None, None, "person", {"more": []}),
    ]  # fmt: skip
    (schema,) = [name for name in remains(target) if name.startswith("_changeover") and "." not in name]
    assert target.execute(f'select key, field, reason from "{schema}"._changeover_rejected'.encode()).fetchall() == [
        ('{"_id": {"$numberInt": "5"}}', "_id", "a value of the kind number, where string is held")
    ]
    account = f'select sum(read), sum(written), sum(rejected) from "{schema}"._changeover_account'
    assert target.execute(account.encode()).fetchone() == (5, 4, 1)
    source.people.drop()
    # Nobody can tell any more what was written since; what is there stays, for good.
    with pytest.raises(DriftError, match="dropped, renamed"):
        rollback("copy", profile, "shop")
    assert contract("copy", profile, "shop").state is S.CONTRACTED
    assert remains(target) == ["people", "people_pkey"]


@pytest.mark.every_leg
def test_there_and_back_and_for_good(
    source: Database[Any], target: psycopg.Connection[Any], copy: Copy, profile: str
) -> None:
    """A rollback leaves nothing, and takes nothing that somebody wrote; a contract leaves the table, and no more."""
    source.users.insert_many(
        {"_id": {"shop": n % 3, "no": f"u{n}"}, "name": {"first": f"f{n}", "last": "l"}, "active": n % 10 > 0}
        for n in range(3000)
    )
    given = {
        "where": {"active": True},
        "columns": {"shop": "_id.shop", "no": "_id.no", "first": "name.first", "last": "name.last"},
    }
    report = copy("users", **given)
    assert (report.state, report.rows) == (S.COMPLETE, 2700)
    shown = 'select shop, "no", "first", "last", active from users where "no" = \'u2\''
    first = (2, "u2", "f2", "l", True)
    assert target.execute(shown.encode()).fetchone() == first
    target.execute("insert into users (shop, no) values (7, 'new')")
    with pytest.raises(StateError, match="1 writes since the swap"):
        rollback("copy", profile, "shop")
    assert target.execute("select count(*) from users").fetchone() == (2701,)
    source.users.rename("others")
    with pytest.raises(DriftError, match="dropped, renamed"):
        rollback("copy", profile, "shop")
    assert rollback("copy", profile, "shop", accept_loss=True).state is S.ROLLED_BACK
    assert remains(target) == []
    source.others.rename("users")
    assert copy("users", **given).state is S.COMPLETE
    assert contract("copy", profile, "shop").state is S.CONTRACTED
    assert target.execute(shown.encode()).fetchone() == first
    assert remains(target) == ["users", "users_pkey"]
