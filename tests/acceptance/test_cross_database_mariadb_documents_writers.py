"""A table of MariaDB is copied into MongoDB beside writers: in the end every document is what its row gives."""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pymysql
import pytest
from bson import Decimal128
from pymongo.database import Database

from flows.contract import contract
from flows.cross_database import cross_database
from flows.rollback import rollback
from tasks.engines.mongodb import of_mariadb
from tasks.engines.mongodb.target import Target
from tasks.model.errors import GateError, StateError
from tasks.model.status import MigrationState
from tests.acceptance.test_cross_database_mariadb_documents import leftovers
from tests.acceptance.test_cross_database_rows_writers import ROWS, TABLE, text, writing
from tests.docs.pages import ROOT, blocks_of
from tests.servers.mariadb import connected
from tests.two_databases import acts_in_order, between

pytestmark = pytest.mark.usefixtures("prefect_server")
S = MigrationState
PAGE = ROOT / "docs" / "how-to" / "mariadb-to-mongodb.md"
EXAMPLE = ROOT / "examples" / "products_to_mongodb.yaml"
SPEC = """
migration: odd
strategy: cross_database
transfer:
  table: Odd "t
  to: {database: documents, collection: odd}
  capture: triggers
  where: active
  fields:
    title: {up: "concat(a, ':', b)"}
    amount: amount
    detail.note: {column: note, nulls: missing}
    detail.seen: {column: seen, nulls: missing}
    born: {column: born, type: date, unfit: reject}
    active: {column: active, type: boolean}
"""


@pytest.fixture
def profile(maria_database: str, documents: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "odd.yaml").write_text(SPEC)
    return between(tmp_path, monkeypatch, main=maria_database, documents=documents)


@pytest.fixture
def spec(profile: str, tmp_path: Path) -> str:
    return str(tmp_path / "odd.yaml")


@pytest.fixture
def source(maria_database: str) -> Iterator[pymysql.cursors.Cursor]:
    with connected(maria_database) as conn, conn.cursor() as cursor:
        cursor.execute(TABLE)
        cursor.execute(ROWS)
        cursor.execute("set session time_zone = '+00:00'")
        yield cursor


def twin(source: pymysql.cursors.Cursor) -> tuple[dict[Any, Any], set[str]]:
    """Say what the rows should have become, without the code that has made them; and which are left out."""
    source.execute('select a, b, amount, note, cast(born as char), seen from `Odd "t` where active')
    rows = source.fetchall()
    wanted = {(row[0], row[1]): _document(*row) for row in rows if row[4] != "0000-00-00"}
    return wanted, {text(a, b) for a, b, *_, born, _ in rows if born == "0000-00-00"}


def _document(
    a: int, b: str, amount: Decimal | None, note: str | None, born: str | None, seen: datetime | None
) -> dict[str, Any]:
    day = None if born is None else datetime(*date.fromisoformat(born).timetuple()[:3], tzinfo=UTC)
    moment = None if seen is None else seen.replace(tzinfo=UTC)
    detail = {name: value for name, value in (("note", note), ("seen", moment)) if value is not None}
    return {
        "_id": {"a": a, "b": b}, "title": f"{a}:{b}", "amount": None if amount is None else Decimal128(amount),
        **({"detail": detail} if detail else {}), "born": day, "active": True,
    }  # fmt: skip


def test_every_write_arrives_and_no_statement_fails(
    source: pymysql.cursors.Cursor, target: Database[Any], profile: str, spec: str, maria_database: str
) -> None:
    """Writers go on through copy, gate, swap and beyond: what the swap has not got is noted; nothing else differs.

    What came after the swap is only in the table: nobody ends the migration, or takes it back, without looking.
    """
    with writing(maria_database) as writers:
        report = cross_database(spec, profile)
        # Some of them, at least, come too late.
        reached = max(one.statements for one in writers) + 20
        while max(one.statements for one in writers) < reached:
            time.sleep(0.01)
    assert report.state is S.COMPLETE
    assert [failure for one in writers for failure in one.failures] == []
    (notes,) = (name for name in leftovers(source) if name.endswith("_notes"))
    source.execute(f"select distinct a, binary b from `{notes}`")
    late = {(a, b.decode()) for a, b in source.fetchall()}
    wanted, misfits = twin(source)
    found = {(one["_id"]["a"], one["_id"]["b"]): one for one in target["odd"].find()}
    assert {key: one for key, one in found.items() if key not in late} == {
        key: one for key, one in wanted.items() if key not in late
    }
    (prefix,) = (name.removesuffix("_place") for name in leftovers(source) if name.endswith("_place"))
    source.execute(f"select `key` from {prefix}_rejected")
    left_out, gone = {row[0] for row in source.fetchall()}, {text(a, b) for a, b in late}
    assert left_out - gone == misfits - gone
    source.execute(f"select sum(`read`) = sum(written) + sum(rejected) from {prefix}_account")
    assert source.fetchone() == (1,)

    with pytest.raises(GateError, match="nothing was written"):
        contract("odd", profile)
    with pytest.raises(StateError, match="writes since the swap"):
        rollback("odd", profile)
    assert rollback("odd", profile, accept_loss=True).state is S.ROLLED_BACK
    assert (target.list_collection_names(), leftovers(source)) == ([], [])


def test_the_example_runs(
    source: pymysql.cursors.Cursor, target: Database[Any], maria_database: str, documents: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """On the table of the page; contract takes the triggers away, and the application writes as before.

    Right before the collection gets its name, while writers wait, no session is opened to ask what has happened.
    """
    source.execute(next(block.text for block in blocks_of(PAGE) if block.language == "sql"))
    source.execute(
        "insert into products (brand, name, price, tags, attributes, available, counted_at, deleted, changed_at) values"
        " ('A', 'b', 1.50, 'new,last one', '{\"sizes\": [1, 2.50]}', 1, '2026-01-02 03:04:05.000001', 0, '2026-01-02'),"
        " ('A', 'c', null, '', '{\"a\": 1, \"a\": 2}', 0, null, 0, '2026-01-02 03:04:05.678'),"
        " ('A', 'd', 1, '', null, 0, null, 1, '2026-01-02')"
    )
    two = between(tmp_path, monkeypatch, shop=maria_database, documents=documents)
    acts = acts_in_order(monkeypatch, asked=(Target, "happened"), carried=(of_mariadb, "carry"), put=(Target, "put"))
    assert cross_database(str(EXAMPLE), two).state is S.COMPLETE
    assert acts[: acts.index("put")][-2:] == ["asked", "carried"]
    moment = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    assert list(target["products"].find().sort({"_id": 1})) == [
        {"_id": 1, "title": "A b", "price": Decimal128("1.50"), "tags": ["new", "last one"],
         "attributes": {"sizes": [1, Decimal128("2.50")]},
         "stock": {"available": True, "counted": {"mariadb_type": "datetime(6)",
                                                  "mariadb_text": "2026-01-02 03:04:05.000001"}},
         "changed": datetime(2026, 1, 2, tzinfo=UTC)},
        {"_id": 2, "title": "A c", "price": None, "tags": [], "attributes": '{"a": 1, "a": 2}',
         "stock": {"available": False, "counted": None}, "changed": moment},
    ]  # fmt: skip
    assert contract("products_to_mongodb", two, "shop").state is S.CONTRACTED
    assert leftovers(source) == []
    source.execute("update products set name = 'e'")
