"""A table of PostgreSQL is copied into MariaDB beside writers: in the end every row is what it is there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from flows.contract import contract
from flows.cross_database import cross_database
from flows.rollback import rollback
from tasks.model.errors import GateError, StateError
from tasks.model.status import MigrationState
from tests.acceptance.test_cross_database_writers import TABLE, writing
from tests.conformance.tables import leftovers
from tests.servers.mariadb import connected
from tests.two_databases import between

pytestmark = pytest.mark.usefixtures("prefect_server")
S = MigrationState
SPEC = """
migration: odd
strategy: cross_database
transfer:
  table: Odd "t
  to: {database: shop, table: odd}
  capture: triggers
  where: active
  columns:
    amount: {type: "decimal(30, 20)", unfit: reject}
    seen: {unfit: "null"}
    title: {up: "a || ':' || b", type: varchar(300)}
"""


@pytest.fixture
def spec(database: str, maria_database: str, tmp_path: Path) -> str:
    (tmp_path / "odd.yaml").write_text(SPEC)
    return str(tmp_path / "odd.yaml")


@pytest.fixture
def profile(database: str, maria_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return between(tmp_path, monkeypatch, main=database, shop=maria_database)


@pytest.fixture
def source(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True, options="-c timezone=UTC") as conn:
        conn.execute(TABLE.encode())
        yield conn


@pytest.fixture
def target(maria_database: str) -> Iterator[pymysql.cursors.Cursor]:
    with connected(maria_database) as conn, conn.cursor() as cursor:
        yield cursor


def twin(source: psycopg.Connection[Any]) -> tuple[dict[Any, Any], set[Any]]:
    """Say what the rows should have become, without the code that has made them; and which are left out."""
    rows = source.execute(
        "select a, b, amount, note, case when isfinite(seen) then seen at time zone 'UTC' end, active"
        ' from "Odd ""t" where active'
    ).fetchall()
    wide = {(a, b) for a, b, amount, *_ in rows if amount is not None and abs(amount) > 10**10}
    # PostgreSQL gives thirds sixteen digits after the point.
    return {(row[0], row[1]): (*row, f"{row[0]}:{row[1]}") for row in rows if (row[0], row[1]) not in wide}, wide


def there(target: pymysql.cursors.Cursor) -> dict[Any, Any]:
    """What has come of them."""
    target.execute("select a, b, amount, note, seen, active, title from odd")
    return {(row[0], row[1]): row for row in target.fetchall()}


def test_every_write_arrives_and_no_statement_fails(
    source: psycopg.Connection[Any], target: pymysql.cursors.Cursor, profile: str, spec: str, database: str
) -> None:
    """Writers go on through copy, gate, swap and beyond: what the swap has not got is noted; nothing else differs."""
    with writing(database) as writers:
        report = cross_database(spec, profile)
    assert report.state is S.COMPLETE
    assert [failure for one in writers for failure in one.failures] == []
    assert min(one.statements for one in writers) > 50
    (schema,) = source.execute("select nspname from pg_namespace where nspname like '\\_changeover%'").fetchall()
    late = {(row[0], row[1]) for row in source.execute(f'select distinct a, b from "{schema[0]}".notes'.encode())}
    wanted, misfits = twin(source)
    found = there(target)
    assert {key: one for key, one in found.items() if key not in late} == {
        key: one for key, one in wanted.items() if key not in late
    }
    target.execute(f"select `key` from {schema[0]}_rejected")
    left_out = {row[0] for row in target.fetchall()}
    texts = {key: '("{}","{}")'.format(key[0], key[1].replace('"', '""')) for key in misfits | late}
    assert left_out - {texts[key] for key in late} == {texts[key] for key in misfits - late}
    target.execute(f"select sum(`read`) = sum(written) + sum(rejected), sum(`read`) > 1000 from {schema[0]}_account")
    assert target.fetchone() == (1, 1)

    # What came after the swap is only in the old table: nobody ends the migration without looking, or takes it back.
    assert late
    with pytest.raises(GateError, match="nothing was written"):
        contract("odd", profile)
    with pytest.raises(StateError, match="writes since the swap"):
        rollback("odd", profile)
    assert rollback("odd", profile, accept_loss=True).state is S.ROLLED_BACK
    target.execute("show tables")
    assert target.fetchall() == ()
    assert leftovers(source) == []


@pytest.mark.every_leg
def test_without_late_writes_it_ends(
    source: psycopg.Connection[Any], target: pymysql.cursors.Cursor, profile: str, spec: str
) -> None:
    """An empty table is copied, too; contract takes the triggers away, and the application writes as before."""
    source.execute('truncate "Odd ""t", lines')
    assert cross_database(spec, profile).state is S.COMPLETE
    assert contract("odd", profile).state is S.CONTRACTED
    assert leftovers(source) == []
    source.execute('insert into "Odd ""t" values (1, \'x\')')
    target.execute("show tables")
    assert target.fetchall() == (("odd",),)
