"""After the swap: what differs between the new table and the old one is found, and nothing else is."""

import psycopg
import pytest

from tests.conformance.drive import Connection, Migration

# The table is called like what a careless query would give another name.
SCHEMA = """
create table b (id int primary key, a text, n int not null, gone text not null default '');
insert into b select g, case when g % 3 = 0 then null else ' x' || g end, g, '{"k": ' || g || '}'
from generate_series(1, 60) g;
"""
K = {"table": "b", "column": {"name": "k", "type": "int", "nullable": True}, "up": "(gone::json ->> 'k')::int"}
OPERATIONS = (
    {"alter_column": {"table": "b", "column": "id", "type": "bigint"}},
    {"alter_column": {"table": "b", "column": "a", "type": "text", "up": "trim(a)", "down": "a", "lossy": True}},
    {"add_column": K},
    # A row that is made after the swap has a text in the old table that `up` of k could not read.
    {"drop_column": {"table": "b", "column": "gone"}},
)
KEPT_STEP = "the old table has kept step with public.b"
WRITTEN = (
    "insert into b (id, a, n, k) values (-1, 'first', 1, 1), (61, 'last', 61, null)",
    "update b set a = ' written', n = n + 1, k = k + 1 where id % 5 = 0",
    "update b set id = -id where id between 10 and 20",
    "delete from b where id % 4 = 0",
    # What the old type refuses is noted, and so is what was there.
    "insert into b (id, n) values (3000000000, 1)",
    "update b set id = id + 3000000000 where id = 7",
    "truncate b",
    "insert into b (id, n) values (1, 1)",
)
OFF = "alter table b disable trigger all; "
PLANTED = (
    "update {old} set n = n + 1 where id = {key}",
    "update {old} set a = null, gone = '{{}}' where id = {key}",
    "delete from {old} where id = {key}",
    "insert into {old} (id, n) values ({key} + 100, 1)",
    OFF + "delete from b where id = {key}",
    OFF + "update b set n = 0 where id = {key}",
    OFF + "update b set a = a || '.', k = null where id = {key}",
    OFF + "insert into b (id, n) values (-{key}, 1)",
)


@pytest.fixture
def swapped(conn: Connection, url: str) -> Migration:
    conn.execute(SCHEMA.encode())
    migration = Migration(url, OPERATIONS, strategy="shadow_table")
    migration.begin()
    migration.before_swap()
    migration.swap()
    return migration


def old(conn: Connection) -> str:
    """Return the old table, quoted and qualified."""
    (found,) = conn.execute(
        "select format('%I.%I', relnamespace::regnamespace::text, relname) from pg_class"
        " where relname = 'b' and relnamespace::regnamespace::text like '%old%'"
    ).fetchall()
    return str(found[0])


def test_what_applications_write_is_no_difference(swapped: Migration, conn: Connection, url: str) -> None:
    """Neither at once nor noted: by a transaction that cannot see the old table, or because the old type refuses it."""
    with psycopg.connect(url) as strict:
        strict.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        strict.execute("update b set n = n + 1 where id < 3")
        strict.execute("delete from b where id = 4")
    for statement in WRITTEN:
        conn.execute(statement.encode())
        swapped.pass_gate("after_swap")
    swapped.pass_gate("before_contract")


def test_a_difference_is_found_and_nothing_else(swapped: Migration, conn: Connection) -> None:
    """In the first row, in the last, on one side only; in a column that keeps its values, and in one that does not."""
    assert swapped.plan is not None
    (check,) = (one for one in swapped.plan.requirements if one.name == KEPT_STEP)
    there = old(conn)
    for statement in PLANTED:
        for key in (1, 31, 59):
            with conn.transaction(force_rollback=True):
                conn.execute(statement.format(old=there, key=key).encode())
                found = [row[0] for row in conn.execute(check.violations.encode())]
            assert [abs(one) % 100 for one in found] == [key], statement
    assert conn.execute(check.violations.encode()).fetchall() == []
    conn.execute(f"delete from {there} where id = 31".encode())
    assert swapped.failures("after_swap") == [f"{KEPT_STEP}: 1"]
    assert swapped.failures("before_contract") == [f"{KEPT_STEP}: 1"]
