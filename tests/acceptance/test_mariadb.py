"""The command line on MariaDB: plan, run, look, roll back, run again, contract."""

import time
from pathlib import Path
from typing import Any

import pymysql
import pytest

from flows.watch import EVERY, Watch
from tests.acceptance.commands import Changeover
from tests.acceptance.forked import Forked
from tests.conformance.maria import Shadow
from tests.conformance.maria_writers import Writers, difference, prepare
from tests.servers.mariadb import run

WIDEN = {"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}


@pytest.fixture
def cli(maria_database: str, forked: Forked, tmp_path: Path) -> Changeover:
    """The command line on a MariaDB with a table and its twin."""
    prepare(maria_database, 3000)
    cli = Changeover(folder=tmp_path, url=maria_database, forked=forked)
    cli.profile()
    return cli


def test_the_whole_way_under_writers(cli: Changeover) -> None:
    """With suites of an author's at the gates, a probe on both sides of the swap, and a parent that refuses to go."""
    run(cli.url, "create table parents (id int primary key)", "insert into parents values (1)", "alter table orders"
        " add parent int default 1, add foreign key (parent) references parents (id)")  # fmt: skip
    rules = "validations.suites.rules"
    totals = {"suite": f"{rules}:control_totals", "arguments": {"amount": "n", "by": [], "other": "twin"}}
    none = {"suite": f"{rules}:no_rows", "arguments": {"query": "select id from {batch} where id < 0"}}
    gates = {"before_run": [none], "before_swap": [none], "after_swap": [totals], "before_contract": [totals]}
    probes = [{"name": "by id", "query": "select * from orders where id = 7"}]
    spec = cli.spec("widen", WIDEN, strategy="shadow_table", gates=gates, probes=probes)
    planned = cli.done("plan", spec, "--sql")
    assert "rename table" in planned
    assert run(cli.url, "show tables like '%changeover%'") == []
    with Writers(cli.url, threads=2, pause=0.02) as writers:
        assert cli.data("run", spec, "--yes")["state"] == "complete"
        assert run(cli.url, "show columns from orders like 'id'")[0][1] == "bigint(20)"
        status = cli.data("status", "widen")
        assert (status["state"], status["rejections"], status["alive"]) == ("complete", 0, False)
        assert cli.data("rollback", "widen", "--yes")["state"] == "rolled back"
        assert run(cli.url, "show columns from orders like 'id'")[0][1] == "int(11)"
        assert cli.data("run", spec, "--yes")["state"] == "complete"
        assert cli.data("contract", "widen", "--yes")["state"] == "contracted"
    assert writers.failures == []
    assert difference(cli.url) == 0
    assert [t for (t,) in run(cli.url, "show tables") if "changeover" not in t] == ["orders", "parents", "twin"]
    with pytest.raises(pymysql.err.IntegrityError, match=r"1451.*`orders`, CONSTRAINT `orders_ibfk_1`"):
        run(cli.url, "delete from parents")
    assert run(cli.url, "show tables like '%\\_changeover\\_%'") == []
    assert cli.data("audit", "verify")["ok"] is True
    assert "no rows" in cli.done("report", "widen")
    assert "MariaDB 10.11" in cli("doctor").stdout


def test_what_the_server_does_at_once_is_done_in_place(cli: Changeover) -> None:
    """Nothing is copied, and no trigger made; the way back is as short, and what is dropped waits for the contract."""
    run(cli.url, "alter table orders add note text")
    column = {"name": "total", "type": "bigint", "default": "7", "nullable": False}
    total = {"add_column": {"table": "orders", "column": column}}
    spec = cli.spec("total", total, {"drop_column": {"table": "orders", "column": "note"}})
    assert "alter table `orders` add column" in cli.done("plan", spec, "--sql")
    with Writers(cli.url, threads=2, pause=0.02) as writers:
        assert cli.data("run", spec, "--yes")["state"] == "complete"
        assert run(cli.url, "select distinct total from orders") == [(7,)]
        run(cli.url, "create view built as select total, note from orders")
        refused = cli("rollback", "total", "--yes")
        assert refused.returncode != 0
        assert "the view built names 'total'" in refused.stderr
        run(cli.url, "drop view built")
        assert cli.data("rollback", "total", "--yes")["state"] == "rolled back"
        assert run(cli.url, "show columns from orders like 'total'") == []
        assert cli.data("run", spec, "--yes")["state"] == "complete"
    assert writers.failures == []
    assert difference(cli.url) == 0
    assert run(cli.url, "show columns from orders like 'note'") != []
    run(cli.url, "create view built as select note from orders")
    assert cli("contract", "total", "--yes").returncode != 0
    run(cli.url, "drop view built")
    assert cli.data("contract", "total", "--yes")["state"] == "contracted"
    assert run(cli.url, "show columns from orders like 'note'") == []
    assert run(cli.url, "show triggers like 'orders'") == []
    assert run(cli.url, "show tables like '%\\_changeover\\_%'") == []


def test_what_would_lose_rows_is_refused_before_anything_is_done(cli: Changeover) -> None:
    """Duplicates under a new unique key: pt-online-schema-change keeps one of them, and reports success."""
    unique = {"create_index": {"table": "orders", "name": "one_n", "columns": ["n"], "unique": True}}
    result = cli("run", cli.spec("unique", unique, strategy="shadow_table"), "--yes")
    assert result.returncode == 2
    assert "no duplicates under the new unique key one_n" in " ".join(result.stderr.split())
    assert run(cli.url, "show tables like '%\\_changeover\\_%'") == []


def test_a_suite_that_fails_stops_before_the_swap(cli: Changeover) -> None:
    rule = {"suite": "validations.suites.rules:no_rows", "arguments": {"query": "select id from {batch} where id = 7"}}
    spec = cli.spec("widen", WIDEN, strategy="shadow_table", gates={"before_swap": [rule]})
    stopped = cli("run", spec, "--yes")
    assert stopped.returncode == 1
    assert "1 unexpected rows" in " ".join(stopped.stderr.split())
    assert run(cli.url, "show columns from orders like 'id'")[0][1] == "int(11)"
    assert cli.data("status", "widen")["state"] == "rolled back"
    assert run(cli.url, "show tables like '%\\_changeover\\_%'") == []


@pytest.mark.parametrize(
    ("more", "throttle", "hint"),
    [
        ({}, "", "strategy: shadow_table"),
        ({"strategy": "shadow_table"}, "[throttle]\nreplica_lag_bytes = 1", "watch probe_latency"),
    ],
)
def test_what_would_not_be_honoured_is_refused(cli: Changeover, more: dict[str, Any], throttle: str, hint: str) -> None:
    with (cli.folder / "test.toml").open("a") as profile:
        profile.write(f"\n{throttle}\n")
    refused = cli("run", cli.spec("other", WIDEN, **more), "--yes")
    assert refused.returncode == 2
    assert hint in " ".join(refused.stderr.split())
    assert run(cli.url, "show tables like '%\\_changeover\\_%'") == []


def test_a_watch_waits_for_a_ledger_that_is_not_there_yet(
    maria_database: str, capfd: pytest.CaptureFixture[str]
) -> None:
    prepare(maria_database, 5)
    shadow = Shadow(maria_database, [WIDEN])
    said, deadline = "", time.monotonic() + 30
    with Watch(shadow.engine, "m", plain=True):
        time.sleep(3 * EVERY)
        shadow.begin()
        while "m: expand" not in said and time.monotonic() < deadline:
            time.sleep(EVERY)
            said += capfd.readouterr().err
    assert "m: expand" in said
