"""Lines of orders become rows of their own beside writers, and are in the end what the arrays are."""

from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from pymongo import MongoClient

from flows.contract import contract
from flows.cross_database import cross_database
from flows.rollback import rollback
from tasks.model.errors import GateError, StateError
from tasks.model.status import MigrationState
from tests.acceptance.order_lines import INTO_MARIA, SPEC, differences, fill, writing
from tests.acceptance.streamed import InMaria, InPostgres, There
from tests.legs import EVERY_LEG
from tests.servers import mariadb
from tests.two_databases import between

pytestmark = pytest.mark.usefixtures("prefect_server")
S = MigrationState


@pytest.mark.parametrize("taker", ["postgresql", "mariadb"] if EVERY_LEG else ["postgresql"])
def test_lines_are_rows_of_their_own(
    taker: str,
    database: str,
    documents: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Once, where nobody writes, and back; then beside writers, through the gates, the swap, and what came too late."""
    spec, urls = tmp_path / "lines.yaml", {"shop": documents, "main": database}
    with ExitStack() as opened:
        there: There = InPostgres(opened.enter_context(psycopg.connect(database, autocommit=True)))
        written = SPEC
        if taker == "mariadb":
            urls["rows"] = request.getfixturevalue("maria_database")
            there, written = InMaria(opened.enter_context(mariadb.connected(urls["rows"]))), INTO_MARIA
        profile = between(tmp_path, monkeypatch, ledger_of="shop", **urls)
        source = opened.enter_context(MongoClient(documents)).get_default_database()
        fill(source)
        spec.write_text(written.replace("  capture: change_stream\n", ""))
        report = cross_database(str(spec), profile)
        assert report.state is S.COMPLETE
        assert [check.name for check in report.gates[0].checks] == [
            "rows read = rows written + rows rejected", "every row is there", "MongoDB counts as many elements",
        ]  # fmt: skip
        assert report.rows == sum(number % 6 for number in range(600))
        assert differences(there, source, set()) == []
        assert rollback("order_lines", profile, "shop").state is S.ROLLED_BACK
        assert there.leftovers == []

        if not EVERY_LEG:
            return
        spec.write_text(written)
        with writing(documents) as writers:
            assert cross_database(str(spec), profile).state is S.COMPLETE
        assert [failure for one in writers for failure in one.failures] == []
        assert all(one.writes > 100 for one in writers)
        source.orders.update_one({"_id": "late"}, {"$set": {"lines": [{"sku": "a", "quantity": 1}]}}, upsert=True)
        with pytest.raises(GateError, match="nothing was written"):
            contract("order_lines", profile, "shop")
        assert '{"_id": "late"}' in there.noted
        assert differences(there, source, there.noted) == []
        assert there.adds_up
        with pytest.raises(StateError, match="writes since the swap"):
            rollback("order_lines", profile, "shop")
