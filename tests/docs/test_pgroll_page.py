"""The file of pgroll that the documentation shows, and what the page says about it."""

import re

import psycopg

from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.planning.planner import plan
from tasks.model.source import parse
from tests.docs.pages import ROOT, blocks_of
from tests.docs.test_specs import tables_of

PAGE = ROOT / "docs" / "how-to" / "come-from-pgroll.md"


def test_the_file_plans_under_the_name_that_the_page_gives(database: str) -> None:
    """On the table of the page."""
    (block,) = (block for block in blocks_of(PAGE) if block.language == "text")
    first, _, text = block.text.partition("\n")
    spec = parse(text, f"pgroll:migrations/{first.removeprefix('# ')}")
    assert f"here `{spec.migration}`" in PAGE.read_text()
    with psycopg.connect(database) as setup:
        for table in tables_of(PAGE):
            setup.execute(table.text)
    with connect(database, application_name="docs", search_path="public") as conn:
        assert plan(conn, spec, "public").migration == spec.migration


def test_the_commands_name_the_file_that_is_shown() -> None:
    """Whoever tries one after another finds what the page speaks of."""
    named = set(re.findall(r"pgroll:(\S+)", "".join(b.text for b in blocks_of(PAGE) if b.language == "sh")))
    shown = {b.text.partition("\n")[0].removeprefix("# ") for b in blocks_of(PAGE) if b.language == "text"}
    assert {path.rpartition("/")[2] for path in named} == shown
