"""`changeover compare-schemas`: exit codes and words, and where it is not there."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.commands import Changeover
from tests.acceptance.forked import Forked

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


def test_mariadb_is_refused(cli: Changeover) -> None:
    refused = cli("compare-schemas", "main", "next", url="mysql://nobody@127.0.0.1:1/shop")
    assert refused.returncode == 2
    assert "on PostgreSQL only" in " ".join(refused.stderr.split())
