"""Every spec on the page of documents plans on a collection like the one that the page tells of."""

import pytest
from pymongo import MongoClient

from profiles.model import Database, Limits
from tasks.engines.mongodb.documents.engine import MongoEngine
from tasks.engines.postgresql.engine import PostgresEngine
from tasks.model.source import parse
from tests.docs.pages import ROOT, Block, blocks_of

PAGE = ROOT / "docs" / "how-to" / "documents.md"
SPECS = [block for block in blocks_of(PAGE) if block.language == "yaml"]


@pytest.mark.parametrize("block", SPECS, ids=str)
def test_a_spec_plans(block: Block, database: str, documents: str) -> None:
    spec = parse(block.text, str(block))
    with MongoClient(documents) as client:
        users = client.get_default_database().users
        users.insert_one({"address": {"town": "Ourense"}, "price": "1.10", "first": "Ada", "last": "L"})
        users.create_index("address.town", name="by_town")
    given = {"limits": Limits(), "migration": spec.migration, "run_id": "t", "database": Database(url_env="UNUSED")}
    engine = MongoEngine(
        url=documents, ledger=PostgresEngine(url=database, **given), taker_of=lambda _: "postgresql", **given
    )
    plan = engine.plan(spec)
    assert plan.steps
    assert [finding for finding in plan.findings if finding.severity == "error"] == []
    assert engine.examine(plan, values_in_reports=False).passed
