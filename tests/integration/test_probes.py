"""Queries that must not become slow, measured on a real server."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from profiles.model import Database, Limits, Probes
from tasks.engines.postgresql.engine import PostgresEngine
from tasks.model.errors import PreflightError
from tasks.model.probe import Probe, Reading, from_payload, to_payload
from tasks.model.spec import MigrationSpec
from tasks.model.status import CheckResult
from validations.checks import Gate

SEEK = Probe(name="by code", query="select * from orders where code = 'c7' -- an author's remark")


@pytest.fixture
def orders(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create table orders (id int primary key, code text)")
        connection.execute("insert into orders select g, 'c' || g from generate_series(1, 5000) g")
        connection.execute("create index on orders (code); create sequence s")
        connection.execute("analyze orders")
        yield connection


def measured(database: str, *probes: Probe, **limits: Any) -> dict[str, Reading]:
    engine = PostgresEngine(
        url=database, database=Database(url_env="UNUSED"), limits=Limits(), migration="m", run_id="t"
    )
    return engine.probe(probes, Probes.model_validate(limits), "public")


def held(database: str, before: dict[str, Reading], *probes: Probe, **limits: Any) -> tuple[CheckResult, ...]:
    gate = Gate(name="after_swap", migration="m", probes=probes)
    return gate.evaluate(database, before=before, probes=Probes.model_validate(limits)).checks


def test_a_probe_is_held_against_what_it_was(database: str, orders: psycopg.Connection[Any]) -> None:
    before = from_payload(to_payload(measured(database, SEEK)))
    assert before["by code"].cost > 0
    assert before["by code"].milliseconds > 0
    (same,) = held(database, before, SEEK, tolerance=5000)
    assert same.passed
    assert same.name == "probe: by code"
    orders.execute("drop index orders_code_idx")
    (dearer,) = held(database, before, SEEK, tolerance=5000)
    assert dearer.verdict == "FAILED"
    assert dearer.message.startswith("the cost is more than 3 times what it was; cost ")
    (allowed,) = held(database, before, SEEK, tolerance=5000, cost=1_000_000)
    assert allowed.passed


def test_a_probe_may_cost_the_same_and_take_longer(database: str, orders: psycopg.Connection[Any]) -> None:
    # The planner takes both for a function that it knows nothing of.
    fast = "create or replace function f() returns int language plpgsql as $$ begin return 1; end $$"
    orders.execute(fast)
    probe = Probe(name="f", query="select f()")
    before = measured(database, probe)
    orders.execute(fast.replace("return 1", "perform pg_sleep(0.2); return 1").encode())
    (slower,) = held(database, before, probe, tolerance=20, runs=1)
    assert slower.verdict == "FAILED"
    assert slower.message.startswith("it takes more than 3 times as long; cost ")
    (endless,) = held(database, before, probe, timeout=50)
    assert endless.message.startswith("takes longer than 50 ms, and took ")


def test_a_probe_without_a_baseline_or_that_fails_is_a_failed_gate(
    database: str, orders: psycopg.Connection[Any]
) -> None:
    before = measured(database, SEEK)
    other = SEEK.model_copy(update={"name": "other"})
    gone = SEEK.model_copy(update={"after": "select secret from orders"})
    missing, failing = held(database, before, other, gone)
    assert not missing.passed
    assert not missing.evaluated
    assert missing.message == "could not be evaluated: it was not measured before the first change"
    assert not failing.passed
    assert failing.message == 'could not be evaluated: 42703 column "secret" does not exist'
    (away,) = held(database.replace("@", ":hush@").replace("changeover_", "nonesuch_"), before, SEEK)
    assert not away.evaluated
    assert "hush" not in away.message


@pytest.mark.parametrize(
    "query",
    [
        "delete from orders returning id",
        "with d as (delete from orders returning id) select * from d",
        "select 1; commit; drop table orders",
        "select 1) as probe; commit; drop table orders; select * from (select 1",
        "select * from orders for update",
        "select nextval('s')",
        "select id into other from orders",
        "select nonesuch from orders",
        "explain select 1",
        "select pg_sleep(9)",
    ],
)
def test_what_is_no_single_select_is_refused_and_changes_nothing(
    database: str, orders: psycopg.Connection[Any], query: str
) -> None:
    with pytest.raises(PreflightError, match="the probe bad cannot be measured"):
        measured(database, Probe(name="bad", query=query), timeout=200)
    assert orders.execute("select count(*), nextval('s') from orders").fetchone() == (5000, 1)


@pytest.mark.parametrize("after", ["delete from orders", "select 1; select 2"])
def test_the_query_of_the_new_shape_is_looked_at_as_far_as_can_be(
    database: str, orders: psycopg.Connection[Any], after: str
) -> None:
    with pytest.raises(PreflightError, match="the probe by code cannot be measured"):
        measured(database, SEEK.model_copy(update={"after": after}))
    assert orders.execute("select count(*) from orders").fetchone() == (5000,)
    assert measured(database, SEEK.model_copy(update={"after": "select * from orders where fresh = 'c7'"}))


def test_names_of_probes_are_their_own() -> None:
    probe = {"name": "one", "query": "select 1"}
    with pytest.raises(ValueError, match="two probes of the name 'one'"):
        MigrationSpec.model_validate(
            {"migration": "m", "version_schema": "v", "operations": [], "probes": [probe, probe]}
        )
