"""The page about validation shows what really comes."""

import psycopg

from profiles.model import Database, Limits
from tasks.engines.postgresql.engine import PostgresEngine
from tasks.model.source import parse
from tasks.model.spec import MigrationSpec
from tasks.model.status import GateResult
from tests.docs.pages import ROOT, blocks_of

PAGE = ROOT / "docs" / "how-to" / "validate.md"


def block(language: str) -> str:
    """Return the first block of a language."""
    return next(one.text for one in blocks_of(PAGE) if one.language == language)


def asked(url: str, spec: MigrationSpec) -> GateResult:
    """Ask the rows what a spec demands of them."""
    engine = PostgresEngine(
        url=url, database=Database(url_env="UNUSED"), limits=Limits(), migration=spec.migration, run_id="t"
    )
    return engine.examine(engine.plan(spec), values_in_reports=False)


def test_the_checks_before_a_run_are_those_of_the_page(database: str) -> None:
    """Verdict, name and message of each; and the expression that it proposes mends them."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(block("sql").encode())
    spec = parse(block("yaml"), str(PAGE))
    shown = " ".join(block("text").split())
    found = asked(database, spec)
    for check in found.checks:
        assert f"{check.verdict} {check.name} {check.message}" in shown, check
    better = "coalesce(nullif(code, 'n/a')::int, 0)"
    assert f"`up: {better}`" in " ".join(PAGE.read_text(encoding="utf-8").split())
    operation = spec.operations[0].model_copy(update={"up": better, "lossy": True})
    assert asked(database, spec.model_copy(update={"operations": (operation,)})).passed
