"""Every spec in the documentation parses, and plans on the tables that its page shows."""

from pathlib import Path

import psycopg
import pytest

from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.planning.checks.obstacles import API_MARK
from tasks.engines.postgresql.planning.planner import plan
from tasks.engines.postgresql.planning.shadow.planner import plan_shadow
from tasks.engines.postgresql.planning.transfer import plan_transfer
from tasks.model.operations import CreateApiVersion, DropApiVersion, Operation
from tasks.model.source import parse
from tests.docs.pages import ROOT, Block, blocks, blocks_of
from tests.servers.postgres import PostgresServer, fresh_database

# Those for MariaDB, and for MongoDB, have a test of their own.
SPECS = [
    block
    for block in blocks("yaml")
    if block.page.name not in ("mariadb.md", "documents.md", "mariadb-to-postgresql.md", "mongodb-to-postgresql.md")
]
DRAW_UP = {"expand_contract": plan, "shadow_table": plan_shadow, "cross_database": plan_transfer}


@pytest.mark.parametrize("block", SPECS, ids=str)
def test_a_spec_plans(block: Block, postgres: PostgresServer) -> None:
    """On a database of its own, with what the ```sql blocks of the page make."""
    spec = parse(block.text, str(block))
    with fresh_database(postgres) as url:
        with psycopg.connect(url) as setup:
            for tables in tables_of(block.page):
                setup.execute(tables.text)  # type: ignore[arg-type]
            for operation in spec.operations:
                _surroundings(setup, operation)
        with connect(url, application_name="docs", search_path="public") as conn:
            found = DRAW_UP[spec.strategy](conn, spec, "public")
    assert found.steps
    assert [finding for finding in found.findings if finding.severity == "error"] == []


def _surroundings(setup: psycopg.Connection, operation: Operation) -> None:
    """Make what an example takes for granted: the role of a service, the view of an earlier migration."""
    if isinstance(operation, CreateApiVersion):
        for role in operation.roles:
            setup.execute(
                f"do $$ begin create role {role}; exception when duplicate_object then null; end $$;"
                f"grant select on {operation.table} to {role}".encode()
            )
    if isinstance(operation, DropApiVersion):
        setup.execute(
            f"create view {operation.name} as select 1; comment on view {operation.name} is '{API_MARK}: m'".encode()
        )


def tables_of(page: Path) -> list[Block]:
    """Return what makes the tables of a page; those of the tutorial where it shows none."""
    own = [block for block in blocks_of(page) if block.language == "sql" and "create table" in block.text]
    return own or tables_of(ROOT / "docs" / "tutorial.md")


def test_the_page_of_specs_shows_every_operation() -> None:
    """An operation that no page shows is one that nobody finds."""
    from tasks.model.operations import AnyOperation

    shown = {operation.kind for block in SPECS for operation in parse(block.text, str(block)).operations}
    assert shown == {kind.kind for kind in AnyOperation.__args__}


def test_names_of_migrations_are_not_used_twice() -> None:
    """The same name is the same migration, also for somebody who tries one example after the other."""
    for page in {block.page for block in SPECS}:
        names = [parse(block.text, str(block)).migration for block in SPECS if block.page == page]
        assert len(names) == len(set(names))
