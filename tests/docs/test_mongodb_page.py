"""Every spec on the page of documents that become rows plans on the document that the page shows, and takes it."""

import pytest
from bson.json_util import loads
from pymongo import MongoClient

from tasks.engines.mongodb.connect import connected
from tasks.engines.mongodb.rows.planner import plan_rows
from tasks.engines.mongodb.rows.scan import examine_documents
from tasks.model.source import parse
from tests.docs.pages import ROOT, Block, blocks_of

PAGE = blocks_of(ROOT / "docs" / "how-to" / "mongodb-to-postgresql.md")


@pytest.mark.parametrize("block", [block for block in PAGE if block.language == "yaml"], ids=str)
def test_a_spec_plans(block: Block, documents: str) -> None:
    with MongoClient(documents) as client:
        client.get_default_database().users.insert_one(loads(next(b.text for b in PAGE if b.language == "json")))
    with connected(documents, name="docs") as database:
        plan = plan_rows(database, parse(block.text, str(block)), "postgresql")
        found = examine_documents(database, plan)
    assert [finding for finding in plan.findings if finding.severity == "error"] == []
    assert found.passed, found.failed
