"""Every spec on the pages of MariaDB plans on the table that its page shows."""

import pytest

from profiles.model import Database, Limits
from tasks.engines.mysql.engine import MariaEngine
from tasks.model.source import parse
from tests.docs.pages import ROOT, Block, blocks_of
from tests.servers.mariadb import connected

PAGES = [
    ROOT / "docs" / "how-to" / name for name in ("mariadb.md", "mariadb-to-postgresql.md", "mariadb-to-mongodb.md")
]
SPECS = [block for page in PAGES for block in blocks_of(page) if block.language == "yaml"]


@pytest.mark.parametrize("block", SPECS, ids=str)
def test_a_spec_plans(block: Block, maria_database: str) -> None:
    with connected(maria_database) as conn, conn.cursor() as cursor:
        cursor.execute(next(b.text for b in blocks_of(block.page) if b.language == "sql"))
    spec = parse(block.text, str(block))
    engine = MariaEngine(
        url=maria_database, database=Database(url_env="UNUSED"), limits=Limits(), migration=spec.migration, run_id="t"
    )
    plan = engine.plan(spec)
    assert plan.steps
    assert [finding for finding in plan.findings if finding.severity == "error"] == []
