"""After the swap the catalogue is what the plan says: what somebody else did meanwhile is named, whatever it was."""

import pytest

from tasks.model.steps import Phase
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration

SCHEMA = """
create table p (id int primary key);
create table t (
  id int primary key, n int not null default 7, kept text default 'x', gone int, p_id int references p,
  constraint c check (n > 0)
);
create index i on t (kept);
create index on_n on t (n);
create view v as select id, kept from t;
comment on column t.kept is 'hello';
insert into t select g, g, 'k', g from generate_series(1, 20) g;
"""
OPERATIONS = (
    {"alter_column": {"table": "t", "column": "n", "type": "bigint", "up": "n", "down": "n::int"}},
    {"add_column": {"table": "t", "up": "'new'", "column": {"name": "fresh", "type": "text", "nullable": False}}},
    {"drop_column": {"table": "t", "column": "gone", "down": "0"}},
    {"create_index": {"table": "t", "name": "made", "columns": {"fresh": {}}}},
)


@pytest.fixture
def swapped(conn: Connection, url: str) -> Migration:
    conn.execute(SCHEMA.encode())
    migration = Migration(url, OPERATIONS)
    migration.begin()
    migration.before_swap()
    migration.swap()
    assert migration.failures("after_swap") == []
    return migration


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("alter table t alter n set default 8", "column n: default was '7', is '8'"),
        ("alter table t alter n drop not null", "column n: nullable was False, is True"),
        ("alter table t alter fresh drop not null", "column fresh: nullable was False, is True"),
        ("alter table t alter kept drop default", """column kept: default was "'x'::text", is None"""),
        ("comment on column t.kept is 'other'", "column kept: comment was 'hello', is 'other'"),
        ("alter table t add extra int", "column extra is new"),
        ("create index stray on t (n)", "index stray is new"),
        ("drop index made", "made was never made, or is gone"),
        ("create index stray on t (id)", "index stray is new"),
        ("create index stray on t (kept)", "index stray is new"),
        ("drop index i", "index i is gone"),
        ("drop index on_n", "index on_n is gone"),
        ("alter table t drop constraint c", "constraint c is gone"),
        ("alter table t drop constraint t_p_id_fkey", "constraint t_p_id_fkey is gone"),
        ("alter table t add constraint stray check (id > 0)", "constraint stray is new"),
        ("grant select on t to public", "grants: "),
        ("grant update (kept) on t to public", "column kept: grants: "),
        ("alter table t set (fillfactor = 70)", "options: fillfactor=70 is new"),
        ("alter table t replica identity full", "replica identity was 'default', is 'full'"),
        ("alter table t enable row level security", "row security was False, is True"),
        ("create policy stray on t using (true)", "policy stray is new"),
        ("create view stray as select kept from t", "view public.stray is new"),
        ("create or replace view v as select id, kept, 1 as one from t", "view public.v: definition was "),
    ],
)
def test_what_somebody_else_changed_is_named(swapped: Migration, conn: Connection, statement: str, named: str) -> None:
    conn.execute(statement.encode())
    failed = [one for one in swapped.failures("after_swap") if one.startswith("public.t: ")]
    assert [one for one in failed if named in one], failed


def test_weeks_later_it_is_not_asked(swapped: Migration, conn: Connection) -> None:
    """The gate before a contract, weeks later, does not ask: by then applications have made what they need."""
    conn.execute("create index stray on t (id)")
    assert swapped.failures("before_contract") == []


def test_a_run_that_goes_on_is_compared_with_the_plan_that_was_recorded(conn: Connection, url: str) -> None:
    """Nothing is asked of the tables as they are between two phases."""
    conn.execute(SCHEMA.encode())
    migration = Migration(url, OPERATIONS)
    migration.begin()
    migration.run(*BEFORE_SWAP)
    next_one = Migration(url, OPERATIONS)
    next_one.go_on()
    next_one.run(Phase.SWAP)
    assert next_one.failures("after_swap") == []
    conn.execute("drop index i")
    assert [one for one in next_one.failures("after_swap") if "index i is gone" in one]
