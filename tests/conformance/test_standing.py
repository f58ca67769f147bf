"""Sequences and statistics as the gate after the swap sees them, of a table whose serial key was changed."""

from profiles.model import Probes
from tasks.ledger.gates import record_gate
from tasks.model.spec import BoundSuite
from tasks.model.steps import Phase
from tests.conformance.drive import BEFORE_SWAP, Migration
from validations.checks import Gate

OPERATIONS = [{"alter_column": {"table": "people", "column": "id", "type": "bigint", "up": "id", "down": "id"}}]
AHEAD = "the sequences of public.people are ahead of its rows"


def begun(url: str, *statements: str) -> Migration:
    migration = Migration(url, OPERATIONS)
    with migration.engine.connect("test") as conn:
        conn.execute("create table people (id serial primary key, name text)")
        conn.execute("insert into people (name) select 'x' from generate_series(1, 50)")
        for statement in statements:
            conn.execute(statement)
    migration.begin()
    assert migration.plan is not None
    found = migration.engine.examine(migration.plan, values_in_reports=False)
    record_gate(migration.ledger, "m", migration.epoch, found, 0)
    assert found.passed
    assert [one.verdict for one in found.checks if one.name == AHEAD] == ["WARNING" if statements else "passed"]
    migration.before_swap()
    return migration


def test_a_sequence_that_was_overtaken_meanwhile_does_not_pass(url: str) -> None:
    migration = begun(url)
    migration.ledger.execute("insert into people (id) values (51)")
    migration.run(Phase.SWAP)
    assert migration.failures("after_swap", sequences=True) == [f"{AHEAD}: 1"]


def test_a_sequence_that_was_behind_before_is_not_held_against_the_swap(url: str) -> None:
    migration = begun(url, "insert into people (id) values (51)")
    migration.run(Phase.SWAP)
    assert migration.failures("after_swap", sequences=True) == []
    migration.ledger.execute("select setval('people_id_seq', 51)")
    migration.ledger.execute("insert into people default values")
    assert migration.ledger.execute("select max(id) from people").fetchone() == (52,)


def test_a_suite_that_is_bound_to_the_gate_hides_no_sequence_that_was_behind(url: str) -> None:
    """It is asked, and recorded, after what the preflight asks."""
    migration = begun(url, "insert into people (id) values (51)")
    rule = BoundSuite(
        suite="validations.suites.rules:no_rows@public.people",
        arguments={"name": "nobody is called nobody", "query": "select id from {batch} where name = 'nobody'"},
    )
    bound = Gate(name="before_run", migration="m", suites=(rule,)).evaluate(
        url, values_in_reports=False, search_path="public", before={}, probes=Probes()
    )
    assert bound.passed
    record_gate(migration.ledger, "m", migration.epoch, bound, 0)
    migration.run(Phase.SWAP)
    assert migration.failures("after_swap", sequences=True) == []
    # The newest answer of the preflight counts, whatever was recorded after it.
    migration.ledger.execute("select setval('people_id_seq', 51)")
    assert migration.plan is not None
    again = migration.engine.examine(migration.plan, values_in_reports=False)
    for result in (again, bound):
        record_gate(migration.ledger, "m", migration.epoch, result, 0)
    migration.ledger.execute("insert into people (id) values (52)")
    assert migration.failures("after_swap", sequences=True) == [f"{AHEAD}: 1"]


def test_columns_that_were_filled_are_analysed(url: str) -> None:
    migration = begun(url)
    known = "select n_distinct from pg_stats where tablename = 'people' and attname = 'id'"
    migration.swap()
    assert migration.ledger.execute(known).fetchone() == (-1,)


def test_a_table_that_was_empty_when_it_was_analysed_needs_no_statistics(url: str) -> None:
    """Whether an index that counts its rows was built meanwhile, or it was emptied once more and filled again."""
    migration = Migration(url, OPERATIONS)
    conn = migration.ledger
    conn.execute("create table people (id serial primary key, name text)")
    migration.begin()
    migration.run(*BEFORE_SWAP)
    fill = "insert into people (name) select 'x' from generate_series(1, 50)"
    conn.execute(fill)
    migration.run(Phase.SWAP)
    assert migration.failures("after_swap") == []
    conn.execute("truncate people")
    conn.execute(fill)
    assert migration.failures("after_swap") == []


def test_a_table_that_was_empty_until_its_new_key_was_built_is_analysed_after_it(url: str) -> None:
    """The build counts the rows: had they been sought in vain before, the planner would be said not to know them."""
    migration = Migration(url, OPERATIONS)
    conn = migration.ledger
    conn.execute("create table people (id serial primary key, name text)")
    migration.begin()
    migration.run(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL, Phase.INDEX)
    conn.execute("insert into people (name) select 'x' from generate_series(1, 50)")
    migration.run(Phase.RECONCILE, Phase.CONSTRAIN, Phase.SWAP)
    assert migration.failures("after_swap") == []
