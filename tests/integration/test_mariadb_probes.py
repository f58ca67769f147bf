"""Queries that must not become slow, measured on a real MariaDB."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from profiles.model import Database, Limits, Probes
from tasks.engines.mysql.engine import MariaEngine
from tasks.model.errors import PreflightError
from tasks.model.probe import Probe, Reading, from_payload, to_payload
from tasks.model.status import CheckResult
from tests.servers.mariadb import connected
from validations.checks import Gate

SEEK = Probe(name="by code", query="select * from orders where code like 'c7%' -- an author's remark")


@pytest.fixture
def orders(maria_database: str) -> Iterator[Any]:
    with connected(maria_database) as conn, conn.cursor() as cursor:
        for statement in (
            "create table orders (id int primary key, code varchar(20))",
            "insert into orders select seq, concat('c', seq * 7) from seq_1_to_5000",
            "create index by_code on orders (code)",
            "create sequence s",
            "create function erase() returns int deterministic modifies sql data begin delete from orders;"
            " return 1; end",
        ):
            cursor.execute(statement)
        yield cursor


def measured(url: str, *probes: Probe, **limits: Any) -> dict[str, Reading]:
    engine = MariaEngine(url=url, database=Database(url_env="UNUSED"), limits=Limits(), migration="m", run_id="")
    return engine.probe(probes, Probes.model_validate(limits), "")


def held(url: str, before: dict[str, Reading], *probes: Probe, **limits: Any) -> tuple[CheckResult, ...]:
    gate = Gate(name="after_swap", migration="m", probes=probes)
    return gate.evaluate(url, before=before, probes=Probes.model_validate(limits)).checks


def test_a_probe_is_held_against_what_it_was(maria_database: str, orders: Any) -> None:
    before = from_payload(to_payload(measured(maria_database, SEEK)))
    assert 0 < before["by code"].cost < 1000
    assert before["by code"].milliseconds > 0
    (same,) = held(maria_database, before, SEEK, tolerance=5000)
    assert (same.passed, same.name) == (True, "probe: by code")
    orders.execute("drop index by_code on orders")
    (dearer,) = held(maria_database, before, SEEK, tolerance=5000)
    assert dearer.verdict == "FAILED"
    assert dearer.message.startswith("the cost is more than 3 times what it was; cost ")
    slow = Probe(name="by code", query="select sleep(0.05) from orders where id = 1")
    (slower,) = held(maria_database, before, slow, tolerance=20, runs=1)
    assert slower.message.startswith("it takes more than 3 times as long; cost ")
    (endless,) = held(maria_database, before, Probe(name="by code", query="select sleep(9) from orders"), timeout=100)
    assert endless.message.startswith("takes longer than 100 ms, and took ")


def test_a_probe_without_a_baseline_or_that_fails_is_a_failed_gate(maria_database: str, orders: Any) -> None:
    before = measured(maria_database, SEEK)
    other = SEEK.model_copy(update={"name": "other"})
    gone = SEEK.model_copy(update={"after": "select secret from orders"})
    missing, failing = held(maria_database, before, other, gone)
    assert not missing.evaluated
    assert missing.message == "could not be evaluated: it was not measured before the first change"
    assert not failing.evaluated
    assert failing.message == "could not be evaluated: the server said 1054"
    (away,) = held(maria_database.replace("root@", "root:hush@"), before, SEEK)
    assert not away.evaluated
    assert "hush" not in away.message


@pytest.mark.parametrize(
    "query",
    [
        "delete from orders",
        "select 1; drop table orders",
        "select erase()",
        "select * from orders for update",
        "select * from orders lock in share mode",
        "select * from orders /*! lock in  SHARE mode */",
        "select nextval(s)",
        "select id into outfile '{file}' from orders",
        "select 1) union (select 1 into outfile '{file}'",
        "(select 1 into outfile '{file}')",
        "select nonesuch from orders",
        "select cast('1x' as decimal)",
        "explain select 1",
        "select sleep(9)",
    ],
)
def test_what_is_no_single_select_is_refused_and_changes_nothing(
    maria_database: str, orders: Any, tmp_path: Path, query: str
) -> None:
    tmp_path.chmod(0o777)
    file = tmp_path / "written"
    with pytest.raises(PreflightError, match="the probe bad cannot be measured"):
        measured(maria_database, Probe(name="bad", query=query.format(file=file)), timeout=200)
    assert not file.exists()
    orders.execute("select count(*), nextval(s) from orders")
    assert orders.fetchone() == (5000, 1)


def test_queries_of_every_shape_are_measured(maria_database: str, orders: Any) -> None:
    """Equal names of columns, per cent signs, UNION, WITH; what it reads is counted, however the parts are put."""
    for query in (
        "select a.id, b.id from orders a join orders b on a.code = b.code",
        "select id from orders where id % 7 = 0 union all select 1 union select 2",
        "with some as (select id from orders) select max(id + 0) from some",
        "(select code from orders limit 9000)",
        "select id from orders where code <> ' for update' and \"it''s \\\" lock in share mode\" <> code",
    ):
        reading = measured(maria_database, Probe(name="one", query=query), runs=1)["one"]
        assert reading.cost >= 5000
        assert reading.milliseconds > 0


@pytest.mark.parametrize("after", ["delete from orders", "select 1; select 2"])
def test_the_query_of_the_new_shape_is_looked_at_as_far_as_can_be(maria_database: str, orders: Any, after: str) -> None:
    with pytest.raises(PreflightError, match="the probe by code cannot be measured"):
        measured(maria_database, SEEK.model_copy(update={"after": after}))
    assert measured(maria_database, SEEK.model_copy(update={"after": "select * from orders where fresh = 'c7'"}))
