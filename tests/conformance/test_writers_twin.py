"""No write is lost, doubled or stale: a table under migration and its unmigrated twin stay the same."""

import time
from typing import Any

from tests.conformance import tables
from tests.conformance.drive import BEFORE_SWAP, Connection, Migration
from tests.conformance.writers import Writers

TABLE = """
create table {t} (id int primary key, full_name text, a text, n int, note text);
create index on {t} (n); create index on {t} (a, (lower(full_name))) where a <> '';
insert into {t} select i, 'First' || i || ' Last ' || i, 'a' || i, i, 'A' || i from generate_series(-400, 400) i;
"""
LAST = "case when position(' ' in full_name) > 0 then substr(full_name, position(' ' in full_name) + 1) end"
OPERATIONS: list[dict[str, Any]] = [
    {"add_column": {"table": "t", "column": {"name": "first", "type": "text", "nullable": True},
                    "up": "split_part(full_name, ' ', 1)"}},
    {"add_column": {"table": "t", "column": {"name": "last", "type": "text", "nullable": True}, "up": LAST}},
    {"drop_column": {"table": "t", "column": "full_name", "down": "first || coalesce(' ' || last, '')"}},
    {"rename_column": {"table": "t", "from": "a", "to": "z"}},
    {"drop_column": {"table": "t", "column": "note", "down": "upper(z)", "lossy": True}},
    {"alter_column": {"table": "t", "column": "n", "type": "bigint", "up": "n", "down": "n"}},
    {"alter_column": {"table": "t", "column": "id", "type": "bigint", "up": "id", "down": "id"}},
]  # fmt: skip
OLD = "id::text, full_name, a, n::text, note"
NEW = "id::text, first, last, z, n::text"
NEW_OF_TWIN = f"id::text, split_part(full_name, ' ', 1), {LAST}, a, n::text"


def different(conn: Connection, shown: str, of_twin: str) -> list[tuple[object, ...]]:
    """Return rows that only one of the two tables has."""
    both = [f"select {shown} from t", f"select {of_twin} from twin"]
    return conn.execute(
        f"({both[0]} except all {both[1]}) union all ({both[1]} except all {both[0]}) limit 5".encode()
    ).fetchall()


def assert_same(conn: Connection, shown: str, of_twin: str) -> None:
    """Fail with the rows that differ, whole."""
    found = different(conn, shown, of_twin)
    assert not found, "\n".join(map(str, found))


def test_old_applications_through_swap_and_rollback(conn: Connection, url: str) -> None:
    """They never notice: not the swap, not the way back, not the second run to the end."""
    for name in ("t", "twin"):
        conn.execute(TABLE.replace("{t}", name).encode())
    before = tables.catalogue(conn)
    migration = Migration(url, OPERATIONS, batch_rows=50)
    with Writers(url, "old") as writers:
        migration.begin()
        for phase in BEFORE_SWAP:
            migration.run(phase)
            writers.work(20)
        migration.pass_gate("before_swap")
        migration.swap()
        writers.work(60)
        migration.pass_gate("after_swap")
    assert_same(conn, OLD, OLD)
    assert_same(conn, NEW, NEW_OF_TWIN)
    with Writers(url, "old") as writers:
        migration.roll_back()
        writers.work(30)
    assert_same(conn, OLD, OLD)
    assert tables.catalogue(conn) == before
    assert tables.leftovers(conn) == []


def test_new_applications_after_the_swap(conn: Connection, url: str) -> None:
    """What they write comes back by `down`, and what is left after contract is what they wrote."""
    for name in ("t", "twin"):
        conn.execute(TABLE.replace("{t}", name).encode())
    migration = Migration(url, OPERATIONS, batch_rows=50)
    with Writers(url, "old") as writers:
        migration.begin()
        migration.before_swap()
        migration.swap()
    with Writers(url, "new") as writers:
        writers.work(250)
        migration.pass_gate("after_swap")
    assert_same(conn, OLD, OLD)
    assert_same(conn, NEW, NEW_OF_TWIN)
    migration.roll_back()
    assert_same(conn, OLD, OLD)
    with Writers(url, "old") as writers:
        migration.begin()
        migration.before_swap()
        writers.work(30)
        migration.swap()
    with Writers(url, "new") as writers:
        time.sleep(0.3)
        migration.contract()
        writers.work(60)
    assert_same(conn, NEW, NEW_OF_TWIN)
    assert tables.leftovers(conn) == []
