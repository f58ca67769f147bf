"""`changeover compare-schemas`: exit codes and words, and where it is not there."""

import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.commands import Changeover
from tests.acceptance.forked import Forked
from tests.servers.mariadb import MariaServer, connected, fresh_database

NEXT = """
[databases.next]
url_env = "NEXT_URL"
"""


@pytest.fixture
def cli(tmp_path: Path, new_database: Callable[[], str], forked: Forked) -> Changeover:
    """The command line on two databases, `main` and `next`, of which the second lacks a column."""
    first, second = new_database(), new_database()
    for url, columns in ((first, "id int primary key, a text"), (second, "id int primary key")):
        with psycopg.connect(url) as conn:
            conn.execute(f"create table t ({columns})".encode())
    made = Changeover(folder=tmp_path, url=first, forked=forked, more={"NEXT_URL": second})
    made.profile()
    with (tmp_path / "test.toml").open("a") as profile:
        profile.write(NEXT)
    return made


def test_breaking_or_not(cli: Changeover) -> None:
    broken = cli("compare-schemas", "main", "next")
    assert broken.returncode == 1
    assert "public.t.a" in broken.stdout
    assert broken.stdout.splitlines()[-1] == "1 differences, 1 of them breaking"
    assert cli.data("compare-schemas", "main", "main") == {"changes": [], "breaking": 0}
    empty = cli("compare-schemas", "main", "next", "--schema", "nobody")
    assert empty.returncode == 2
    assert "the schema nobody has no table" in " ".join(empty.stderr.split())


def test_databases_of_mariadb(cli: Changeover, mariadb: MariaServer) -> None:
    """Two databases with two names are one schema, of which the ledger is no part."""
    with fresh_database(mariadb) as old, fresh_database(mariadb) as new:
        for url, columns in (
            (old, "id int primary key, a varchar(9), n int"),
            (new, "id bigint primary key, n tinyint"),
        ):
            with connected(url) as conn, conn.cursor() as cursor:
                cursor.execute(f"create table t ({columns})")
                cursor.execute("create table changeover_audit (id int)")
        maria = Changeover(folder=cli.folder, url=old, forked=cli.forked, more={"NEXT_URL": new})
        broken = maria("compare-schemas", "main", "next", "--json")
        assert broken.returncode == 1
        found = [(one["kind"], one["where"].partition(".")[2]) for one in json.loads(broken.stdout)["changes"]]
        assert found == [("breaking", "t.a"), ("needs transformation", "t.n"), ("warning", "t.id")]
        assert maria.data("compare-schemas", "main", "main") == {"changes": [], "breaking": 0}
        mixed = Changeover(folder=cli.folder, url=old, forked=cli.forked, more=cli.more)(
            "compare-schemas", "main", "next"
        )
    assert mixed.returncode == 2
    assert "two engines" in " ".join(mixed.stderr.split())
