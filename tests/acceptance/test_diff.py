"""`changeover diff`: exit codes, words, and what it shows."""

import json
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from flows.commands.comparing import mapping, table_of
from profiles.loader import load
from tasks.ledger.install import install
from tasks.model.errors import Refused
from tests.acceptance.commands import Changeover, last_line
from tests.acceptance.forked import Forked
from tests.docs.pages import blocks

TABLES = """
create table orders (id integer primary key, status text, secret text);
insert into orders select n, 'new', 'confidential ' || n from generate_series(1, 500) n;
create table orders_new as table orders;
alter table orders_new add primary key (id);
"""


@pytest.fixture
def cli(tmp_path: Path, database: str, forked: Forked) -> Changeover:
    """The command line on a database with two tables alike; it needs no Prefect."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(TABLES)
    made = Changeover(folder=tmp_path, url=database, forked=forked)
    made.profile()
    return made


def change(cli: Changeover, statement: str) -> None:
    """Carry out a statement."""
    with psycopg.connect(cli.url, autocommit=True) as conn:
        conn.execute(statement.encode())


def test_equal_different_and_refused(cli: Changeover) -> None:
    shown = cli.done("diff", "main.orders", "main.public.orders_new")
    assert "main.public.orders: 500 rows" in shown
    assert shown.splitlines()[-1] == "equal"

    change(cli, "update orders_new set secret = 'confident' where id = 7; delete from orders_new where id = 9")
    result = cli("diff", "main.orders", "main.orders_new")
    assert result.returncode == 1
    assert [line.split() for line in result.stdout.splitlines() if line.startswith(("differs", "only"))] == [
        ["differs", "7", "secret"],
        ["only", "in", "A", "9"],
    ]
    assert "confident" not in result.stdout
    (page,) = (one.text for one in blocks("console") if one.page.name == "compare-tables.md")
    # What stands before the first gap of a line says what the line is.
    said, shown = ([line.partition("  ")[0] for line in text.splitlines()] for text in (result.stdout, page))
    assert said == shown

    refused = cli("diff", "main.orders", "main.nobody")
    assert refused.returncode == 2
    assert last_line(refused) == "nothing changed"


def test_names_and_mappings_are_read_or_refused(cli: Changeover) -> None:
    profile = load(cli.folder / "test.toml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_URL", cli.url)
        assert table_of(profile, "main.a.b").name == "a.b"
    for wrong in ("orders", "main.", "mainly.orders"):
        with pytest.raises(Refused, match="does not begin with a database"):
            table_of(profile, wrong)
    assert mapping("name=a = b") == ("name", "a = b")
    for wrong in ("name", "=sql", "name="):
        with pytest.raises(Refused, match="COLUMN=EXPRESSION"):
            mapping(wrong)


def test_values_are_shown_where_the_profile_allows_it(cli: Changeover) -> None:
    cli = replace(cli, forked=None)  # also without anything imported before, and without Prefect
    change(cli, "update orders_new set secret = 'confident' where id = 7")
    cli.profile(values_in_reports=True)
    told = json.loads(cli("diff", "main.orders", "main.orders_new", "--json").stdout)
    assert told["verdict"] == "different"
    assert told["differences"][0]["columns"] == ["secret"]
    assert told["differences"][0]["a"] == ["confidential 7"]
    mapped = ("--map", "secret=case id when 7 then 'confident' else secret end")
    assert cli("diff", "main.orders", "main.orders_new", *mapped).returncode == 0


def test_b_is_repaired_when_somebody_says_so_and_on_record(cli: Changeover) -> None:
    with psycopg.connect(cli.url, autocommit=True) as conn:
        install(conn, actor="test")
    change(cli, "update orders_new set secret = 'confident' where id = 7; delete from orders_new where id = 9")
    asked = cli("diff", "main.orders", "main.orders_new", "--repair")
    assert asked.returncode == 2
    assert "add --yes" in asked.stderr
    assert last_line(asked) == "nothing changed"
    assert cli.query("select count(*) from orders_new where id = 9 or secret = 'confident'") == [(1,)]

    shown = cli.done("diff", "main.orders", "main.orders_new", "--repair", "--yes")
    assert "1 rows of B updated, 1 inserted, 0 deleted" in shown
    assert shown.splitlines()[-1] == "equal"
    recorded = cli.query(
        "select body::json from changeover.audit where body::json ->> 'action' = 'repair' order by seq"
    )
    assert [(one["actor"], one["detail"]["updated"], one["detail"]["inserted"]) for (one,) in recorded] == [
        ("ada", 1, 0),
        ("ada", 0, 1),
    ]
    assert cli.data("diff", "main.orders", "main.orders_new", "--repair", "--yes")["verdict"] == "equal"
