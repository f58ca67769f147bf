"""The flow from MariaDB to MongoDB, through a real Prefect, while nobody writes: policies, and a contract."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pymysql
import pytest
from bson import Decimal128
from pymongo.database import Database

from flows.contract import contract
from flows.cross_database import cross_database
from tasks.model.errors import PreflightError
from tasks.model.status import MigrationState, Report
from tests.servers.mariadb import connected
from tests.two_databases import between

pytestmark = pytest.mark.usefixtures("prefect_server")
S = MigrationState


@pytest.fixture
def profile(maria_database: str, documents: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return between(tmp_path, monkeypatch, main=maria_database, documents=documents)


@pytest.fixture
def source(maria_database: str) -> Iterator[pymysql.cursors.Cursor]:
    with connected(maria_database) as conn, conn.cursor() as cursor:
        cursor.execute("set session sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'")
        yield cursor


Copy = Callable[..., Report]


@pytest.fixture
def copy(profile: str, tmp_path: Path) -> Copy:
    """Run a copy with what the spec says of it."""

    def run(table: str, **transfer: Any) -> Report:
        whole = {"table": table, "to": {"database": "documents", "collection": "c"}, **transfer}
        spec = tmp_path / "copy.json"
        spec.write_text(json.dumps({"migration": "copy", "strategy": "cross_database", "transfer": whole}))
        return cross_database(str(spec), profile)

    return run


def asked(source: pymysql.cursors.Cursor, query: str) -> list[tuple[Any, ...]]:
    source.execute(query)
    return list(source.fetchall())


def leftovers(source: pymysql.cursors.Cursor) -> list[str]:
    """What is ours and should be gone: tables and triggers."""
    tables = "select table_name from information_schema.tables where table_schema = database()"
    triggers = "select trigger_name from information_schema.triggers where trigger_schema = database()"
    ours = asked(source, f"select * from ({tables} union all {triggers}) t where table_name like '\\_changeover%'")
    return [str(row[0]) for row in ours]


@pytest.mark.every_leg
def test_rows_become_documents(source: pymysql.cursors.Cursor, target: Database[Any], copy: Copy, profile: str) -> None:
    """Undecided values stop the run before anything is done; every row that is chosen is a document, or left out."""
    source.execute(
        "create table users (id bigint unsigned auto_increment primary key, first varchar(20) not null, email text,"
        " status enum('active', 'left') not null, at timestamp(3) null, seen datetime(6), n decimal(40, 2))"
    )
    source.execute(
        "insert into users (first, email, status, at, seen, n) select concat('f', seq), nullif(concat('e', seq), 'e7'),"
        " if(seq % 5 = 0, 'left', 'active'), '2026-01-02 03:04:05.678', '2026-01-02 03:04:05', seq from seq_1_to_3000"
    )
    source.execute("update users set seen = '2026-01-02 03:04:05.000001' where id = 8")
    source.execute("update users set n = 12345678901234567890123456789012345.67 where id in (9, 10)")
    rules: dict[str, Any] = {
        "where": "status = 'active'",
        "fields": {
            "name": {"up": "concat(first, '!')"},
            "email": {"column": "email", "nulls": "missing"},
            "meta.at": "at",
            "meta.seen": {"column": "seen", "type": "date", "unfit": "tag"},
            "n": "n",
        },
    }
    with pytest.raises(PreflightError, match="1 × more digits than a decimal has"):
        copy("users", **rules)
    assert (leftovers(source), target.list_collection_names()) == ([], [])
    rules["fields"]["n"] = {"column": "n", "unfit": "reject"}
    report = copy("users", **rules)
    assert (report.state, report.rows) == (S.COMPLETE, 2400)
    assert [gate.passed for gate in report.gates] == [True, True]
    assert target.list_collection_names() == ["c"]
    assert target.c.count_documents({}) == 2399
    moment, whole = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    first = {"_id": 1, "name": "f1!", "email": "e1", "meta": {"at": moment, "seen": whole}, "n": Decimal128("1.00")}
    assert target.c.find_one({"_id": 1}) == first
    assert "email" not in (target.c.find_one({"_id": 7}) or {"email": 1})
    tagged = {"mariadb_type": "datetime(6)", "mariadb_text": "2026-01-02 03:04:05.000001"}
    assert (target.c.find_one({"_id": 8}) or {})["meta"]["seen"] == tagged
    (prefix,) = (name.removesuffix("_place") for name in leftovers(source) if name.endswith("_place"))
    assert asked(source, f"select `key`, field, reason from {prefix}_rejected") == [
        ("9", "n", "more digits than a decimal has")
    ]
    assert asked(source, f"select sum(`read`), sum(written), sum(rejected) from {prefix}_account") == [(2400, 2399, 1)]

    assert contract("copy", profile).state is S.CONTRACTED
    assert (leftovers(source), target.list_collection_names()) == ([], ["c"])
