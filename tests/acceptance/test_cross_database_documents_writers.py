"""A collection is copied into PostgreSQL, or MariaDB, beside writers: in the end every row is what its document is."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from pymongo import MongoClient
from pymongo.database import Database

from flows.commands.checking import validate
from flows.commands.deciding import waive
from flows.contract import contract
from flows.cross_database import cross_database
from flows.rollback import rollback
from tasks.model.errors import GateError, StateError
from tasks.model.status import MigrationState
from tests.acceptance.streamed import INTO_MARIA, SPEC, InMaria, InPostgres, There, fill, writing
from tests.servers import mariadb
from tests.two_databases import between

pytestmark = pytest.mark.usefixtures("prefect_server")
S = MigrationState


@pytest.fixture(params=["postgresql", "mariadb"])
def copy(
    request: pytest.FixtureRequest, database: str, documents: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, str, There]]:
    """Give profile, spec, and what comes of it."""
    spec, urls, there = tmp_path / "people.yaml", {"shop": documents, "main": database}, ExitStack()
    with there:
        found: There
        if request.param == "mariadb":
            urls["rows"] = request.getfixturevalue("maria_database")
            spec.write_text(INTO_MARIA)
            found = InMaria(there.enter_context(mariadb.connected(urls["rows"])))
        else:
            spec.write_text(SPEC)
            found = InPostgres(there.enter_context(psycopg.connect(database, autocommit=True)))
        yield between(tmp_path, monkeypatch, ledger_of="shop", **urls), str(spec), found


@pytest.fixture
def source(documents: str) -> Iterator[Database[Any]]:
    with MongoClient(documents) as client:
        database = client.get_default_database()
        fill(database)
        yield database


def test_every_write_arrives_and_no_statement_fails(
    source: Database[Any], copy: tuple[str, str, There], documents: str
) -> None:
    """Writers go on through copy, gate, swap and beyond: what the swap has not got is told; nothing else differs."""
    profile, spec, there = copy
    with writing(documents) as writers:
        report = cross_database(spec, profile)
    assert report.state is S.COMPLETE
    assert [failure for one in writers for failure in one.failures] == []
    source.people.update_one({"_id": "k1"}, {"$set": {"note": "late"}}, upsert=True)

    # What came after the swap is only in the collection: nobody ends the migration without looking.
    with pytest.raises(typer.Exit) as refused:
        validate("people", profile, "shop", gate="before_contract", as_json=True, verbose=False)
    assert refused.value.exit_code == GateError.exit_code
    with pytest.raises(GateError, match="nothing was written"):
        contract("people", profile, "shop")
    late = there.noted
    assert '{"_id": "k1"}' in late
    assert there.differences(source, late) == []
    assert there.adds_up
    with pytest.raises(StateError, match="writes since the swap"):
        rollback("people", profile, "shop")
    check = f"nothing was written to {source.name}.people since the swap"
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    waive("people", profile, "shop", gate="after_swap", check=check, person="Grace", reason="they are known",
          until=until, as_json=False, verbose=False)  # fmt: skip
    assert contract("people", profile, "shop").state is S.CONTRACTED
    assert there.leftovers == []
