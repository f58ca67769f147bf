"""Versions by the command line: the first, the next beside it, and which one to deploy against."""

import psycopg
import pytest

from tests.acceptance.commands import Changeover, last_line
from tests.acceptance.test_cli import FIRST, cli, offline

__all__ = ["cli", "offline"]


def seen(cli: Changeover, version: str) -> list[str]:
    """Columns of the table as an application of this version sees it."""
    options = f"-c search_path={version},public"
    with psycopg.connect(cli.url, autocommit=True, options=options) as conn:
        return [column.name for column in conn.execute("select * from orders limit 0").description or ()]


@pytest.mark.slow
def test_two_versions_follow_each_other(cli: Changeover) -> None:
    assert "changeover baseline NAME" in cli.done("versions")
    assert "nothing to compare with" in cli("drift").stderr
    refused = cli("versions", "--latest", "public")
    assert (refused.returncode, "no version of public is ready" in refused.stderr) == (2, True)
    assert last_line(refused) == "nothing changed"

    assert "public_v1, public" in cli.done("baseline", "v1")
    assert cli.done("versions", "--latest", "public").strip() == "public_v1"
    assert seen(cli, "public_v1") == ["id", "full_name", "status"]
    assert "public: since baseline-v1 was contracted" in cli.done("drift")
    again = cli("baseline", "v1")
    assert again.returncode == 2, again.stderr

    drop = {"drop_column": {"table": "orders", "column": "full_name", "down": "first || ' ?'", "lossy": True}}
    cli.profile(approvals=1)
    spec = cli.spec("names", FIRST, drop, version_schema="v2")
    assert "public_v2" in cli.done("plan", spec)
    assert cli("run", spec).returncode == 3
    assert cli.done("versions", "--latest", "public").strip() == "public_v2"
    assert [one["ready"] for one in cli.data("versions")["versions"]] == [True, True]
    assert seen(cli, "public_v1") == ["id", "full_name", "status"]
    assert seen(cli, "public_v2") == ["id", "status", "first"]

    cli.done("approve", "names", actor="eve")
    cli.done("run", spec)
    assert seen(cli, "public_v1") == ["id", "full_name", "status"]
    assert "public.orders is not looked at" in cli.done("drift")
    cli.done("contract", "names")
    assert cli.data("drift")["changes"] == []
    with psycopg.connect(cli.url, autocommit=True) as conn:
        conn.execute("create index by_hand on orders (status); create table notes (id int)")
    found = cli("drift")
    assert (found.returncode, found.stdout.splitlines()[1:]) == (
        1,
        [
            "public.notes: the table is new",
            "public.orders: index by_hand is new",
            "2 changes made outside",
        ],
    )
    assert [one["schema_name"] for one in cli.data("versions")["versions"]] == ["public_v2"]
    assert seen(cli, "public_v2") == ["id", "status", "first"]
    assert cli.data("audit", "verify")["ok"]
