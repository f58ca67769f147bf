"""Every spec on the pages of documents that become rows plans on the document that its page shows, and takes it."""

import pytest
from bson.json_util import loads
from pymongo import MongoClient

from tasks.engines.mongodb.connect import connected
from tasks.engines.mongodb.rows.columns import Taker
from tasks.engines.mongodb.rows.planner import plan_rows
from tasks.engines.mongodb.rows.scan import examine_documents
from tasks.model.source import parse
from tests.docs.pages import ROOT, Block, blocks_of

PAGES: dict[Taker, list[Block]] = {
    "postgresql": blocks_of(ROOT / "docs" / "how-to" / "mongodb-to-postgresql.md"),
    "mariadb": blocks_of(ROOT / "docs" / "how-to" / "mongodb-to-mariadb.md"),
}
SPECS = [(taker, block) for taker, page in PAGES.items() for block in page if block.language == "yaml"]


@pytest.mark.parametrize(("taker", "block"), SPECS, ids=str)
def test_a_spec_plans(taker: Taker, block: Block, documents: str) -> None:
    with MongoClient(documents) as client:
        client.get_default_database().users.insert_one(
            loads(next(b.text for b in PAGES[taker] if b.language == "json"))
        )
    with connected(documents, name="docs") as database:
        plan = plan_rows(database, parse(block.text, str(block)), taker)
        found = examine_documents(database, plan)
    assert [finding for finding in plan.findings if finding.severity == "error"] == []
    assert found.passed, found.failed
