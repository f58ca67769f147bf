"""Every spec in the documentation parses, and runs on the tables that its page shows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.planning.checks.obstacles import API_MARK
from tasks.engines.postgresql.planning.transfer import plan_transfer
from tasks.engines.postgresql.planning.transfer_rows import plan_rows
from tasks.ledger.install import install
from tasks.model.operations import CreateApiVersion, DropApiVersion
from tasks.model.source import parse
from tasks.model.spec import MigrationSpec
from tests.conformance import tables
from tests.conformance.drive import Connection, Migration
from tests.docs.pages import ROOT, Block, blocks, blocks_of, title
from tests.legs import each_once
from tests.servers.postgres import PostgresServer, fresh_database

ELSEWHERE = (
    "mariadb.md", "documents.md", "mariadb-to-postgresql.md", "mariadb-to-mongodb.md", "mongodb-to-postgresql.md",
    "mongodb-to-mariadb.md",
)  # fmt: skip
"""Those for MariaDB, and for MongoDB, have a test of their own."""
SPECS = [block for block in blocks("yaml") if block.page.name not in ELSEWHERE]
ROWS = {
    "write-specs.md": """
insert into currencies values ('EUR'), ('CHF');
insert into customers (full_name, street, city, email, status, country, cents, legacy_code)
select case when i % 9 > 0 then 'Ann Lee ' || i else 'Plato' end, 'Rue Haute ' || i, 'Brussels', 'A' || i || '@x.org ',
  'active', (array['BE', 'UK', 'n/a', null])[i % 4 + 1], i, (array['EUR', 'gone', null])[i % 3 + 1]
from generate_series(1, 60) i;
insert into orders (customer_id, quantity, cents, state, discount)
select i, i, i * 100, (array['open', 'payed', 'closed'])[i % 3 + 1]::order_state, i from generate_series(1, 60) i;
insert into deliveries select i, i from generate_series(1, 90) i;
""",
    "change-several-tables.md": """
insert into accounts select i, 'a' || i, 'n' || i from generate_series(1, 60) i;
insert into profiles select i, 'p' || i from generate_series(1, 60) i;
insert into deliveries select i, i % 20 + 1, 'Brussels' from generate_series(1, 60) i;
""",
    # The page is about what is found before a run: here it has been mended.
    "validate.md": "update orders set code = id where code is null or code = 'n/a'",
}
"""What no page needs to show."""


def spec_of(block: Block) -> MigrationSpec:
    return parse(block.text, str(block))


RUN = [block for block in SPECS if spec_of(block).strategy != "cross_database"]
PAGES = list(dict.fromkeys(block.page for block in RUN))
LONG = ("write-specs.md", "shadow-table.md")
"""Pages of which by default not every spec runs."""


@contextmanager
def prepared(page: Path, postgres: PostgresServer) -> Iterator[str]:
    """Give a database with what the ```sql blocks of a page make, and rows."""
    with fresh_database(postgres) as url:
        with psycopg.connect(url, autocommit=True) as setup:
            for made in tables_of(page):
                setup.execute(made.text.encode())
            setup.execute(ROWS.get(page.name, "").encode())
            setup.execute("analyze")
            install(setup, actor="test")
        yield url


def over(url: str, spec: MigrationSpec) -> Migration:
    """Run a spec until after the swap, with its gates."""
    made = planned(url, spec)
    made.begin()
    made.before_swap()
    made.swap()
    return made


def planned(url: str, spec: MigrationSpec) -> Migration:
    """Plan a spec: nothing is said against it."""
    made = Migration(
        url,
        spec.model_dump()["operations"],
        name=spec.migration,
        strategy=spec.strategy,
        version_schema=spec.version_schema,
    )
    made.spec = spec
    made.plan = made.engine.plan(spec)
    assert [finding for finding in made.findings if finding.severity == "error"] == []
    return made


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_the_specs_of_a_page_run(page: Path, postgres: PostgresServer) -> None:
    """Over, through the gates, and back, one after another: the rows are as they were, and the tables each time.

    Of a long page by default those that show each kind of operation once; the others are planned.
    """
    specs = [spec_of(block) for block in RUN if block.page == page]
    run = each_once(specs, lambda spec: [one.kind for one in spec.operations]) if page.name in LONG else specs
    with prepared(page, postgres) as url, psycopg.connect(url, autocommit=True) as conn:
        before = tables.data(conn, tables.columns(conn))
        for spec in specs:
            _surroundings(conn, spec)
            if spec not in run:
                planned(url, spec)
                continue
            # A value of an enum stays for good.
            over(url, spec).roll_back(sql=any(operation.kind == "alter_type" for operation in spec.operations))
            assert tables.leftovers(conn) == [], spec.migration
        assert tables.data(conn, tables.columns(conn)) == before


@pytest.mark.every_leg
@pytest.mark.parametrize("block", RUN, ids=str)
def test_a_spec_runs_to_the_end(block: Block, postgres: PostgresServer) -> None:
    """On a database of its own."""
    spec = spec_of(block)
    with prepared(block.page, postgres) as url, psycopg.connect(url, autocommit=True) as conn:
        _surroundings(conn, spec)
        over(url, spec).contract()
        assert tables.leftovers(conn) == []


@pytest.mark.parametrize("block", [block for block in SPECS if block not in RUN], ids=str)
def test_a_spec_for_another_database_plans(block: Block, postgres: PostgresServer) -> None:
    """It runs where both databases are."""
    spec = spec_of(block)
    with (
        prepared(block.page, postgres) as url,
        connect(url, application_name="docs", search_path="public") as conn,
    ):
        into_table = spec.transfer is not None and spec.transfer.to.table is not None
        found = (plan_rows if into_table else plan_transfer)(conn, spec, "public")
    assert found.steps
    assert [finding for finding in found.findings if finding.severity == "error"] == []


def _surroundings(conn: Connection, spec: MigrationSpec) -> None:
    """Make what an example takes for granted: the role of a service, the view of an earlier migration."""
    for operation in spec.operations:
        if isinstance(operation, CreateApiVersion):
            for role in operation.roles:
                conn.execute(
                    f"do $$ begin create role {role}; exception when duplicate_object then null; end $$;"
                    f"grant select on {operation.table} to {role}".encode()
                )
        if isinstance(operation, DropApiVersion):
            conn.execute(
                f"create view {operation.name} as select 1;"
                f" comment on view {operation.name} is '{API_MARK}: m'".encode()
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
