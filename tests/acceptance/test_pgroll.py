"""A file of pgroll where a spec can stand: in the commands, and in the flow."""

from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import psycopg
import pytest

from tests.acceptance.commands import Changeover
from tests.acceptance.forked import Forked

FILE = """\
    operations:
      - alter_column:
          table: orders
          column: status
          nullable: false
          up: SELECT CASE WHEN status IS NULL THEN 'new' ELSE status END
          down: status
      - rename_column: {table: orders, from: title, to: caption}
    """


@pytest.fixture
def cli(tmp_path: Path, database: str, forked: Forked) -> Changeover:
    """The command line on a database with a table, where nothing needs Prefect."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("create table orders (id integer primary key, title text not null, status text)")
        conn.execute(
            "insert into orders select n, 'title ' || n, nullif('old', 'o' || n) from generate_series(1, 50) n"
        )
        conn.execute("update orders set status = null where id % 7 = 0")
    made = Changeover(folder=tmp_path, url=database, forked=forked)
    made.profile()
    return made


def written(cli: Changeover, name: str, text: str = FILE) -> str:
    """Write a file of pgroll, and return what a command calls it."""
    (cli.folder / "migrations").mkdir(exist_ok=True)
    (cli.folder / "migrations" / name).write_text(dedent(text))
    return f"pgroll:migrations/{name}"


def test_a_plan_says_how_the_file_was_read(cli: Changeover) -> None:
    """With the name of the migration, and with what was decided on behalf of its author."""
    target = written(cli, "07_Known status.yaml")
    planned = cli.data("plan", target)
    assert planned["migration"] == "07_known_status"
    first, second = planned["notes"]
    assert first.startswith("the migration is called 07_known_status, after its file 07_Known status")
    assert second.endswith("operations[0].alter_column")
    assert "SELECT CASE WHEN status IS NULL" in cli.done("plan", target, "--sql")


def test_what_the_database_refuses_stands_where_the_file_has_it(cli: Changeover) -> None:
    """By its number there, whatever it is put together with."""
    text = """\
        operations:
          - create_table: {name: notes, columns: [{name: id, type: int}]}
          - create_constraint: {name: p, table: notes, type: primary_key, columns: [id], up: {id: id}, down: {id: id}}
          - drop_column: {table: orders, column: status, down: "statsu"}
        """
    result = cli("plan", written(cli, "08.yaml", text))
    assert result.returncode == 2
    assert "migrations/08.yaml:4:56 (operations[2].drop_column.down)" in result.stderr


@pytest.mark.every_leg
def test_every_command_that_takes_a_spec_takes_the_file(cli: Changeover) -> None:
    """`validate` gets as far as the ledger, `run` as far as Prefect; `resume` wants a name."""
    cli = replace(cli, forked=None)
    target = written(cli, "07.yaml")
    validated = cli("validate", target, "--gate", "before_swap")
    assert (validated.returncode, "the migration has not begun" in validated.stderr) == (2, True)
    assert "Prefect" in cli("run", target).stderr
    assert "resume takes the name of a migration" in cli("resume", target).stderr
    assert "migrations/09.yaml" in cli("plan", "pgroll:migrations/09.yaml").stderr


def test_the_file_without_the_prefix_gets_the_hint(cli: Changeover) -> None:
    """Which can be typed as it is."""
    written(cli, "07.yaml")
    result = cli("plan", "migrations/07.yaml")
    assert result.returncode == 2
    assert "changeover plan pgroll:migrations/07.yaml" in result.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_the_flow_takes_the_file(cli: Changeover, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, back, there again by name, and contracted."""
    from flows.contract import contract
    from flows.expand_contract import expand_contract
    from flows.rollback import rollback

    monkeypatch.setenv("TEST_URL", cli.url)
    monkeypatch.chdir(cli.folder)
    target, profile = written(cli, "07.yaml"), "test.toml"
    assert expand_contract(target, profile).state == "complete"
    assert rollback("07", profile).state == "rolled back"
    assert expand_contract(target, profile).state == "complete"
    assert contract("07", profile).state == "contracted"
    assert cli.query("select count(*) from orders where status = 'new' and caption like 'title %'") == [(7,)]
