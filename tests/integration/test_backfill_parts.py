"""A range that is filled in parts: rows stay on their pages, and none is left out, whoever moves it meanwhile."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from profiles.model import Limits
from tasks.engines.postgresql.backfill import Shard, fill
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.key_ranges import Key
from tasks.engines.postgresql.parts import PARTS, in_parts
from tasks.model.steps import Assignment, Backfill

ROWS = 8000
ACTION = Backfill(
    table="public.things",
    key=("id",),
    key_types=("bigint",),
    assignments=(Assignment(column="b", type="bigint", expression="a"),),
    alias="things",
)
LIMITS = Limits(batch_rows=2000, lock_budget=60_000, batch_target=60_000)
Moved = Callable[[int, psycopg.Connection[Any], Key, int, int], None]


@pytest.fixture
def things(database: str) -> Iterator[psycopg.Connection[Any]]:
    """A table of full pages, with an index whose entries are in no order, and nobody else who cleans it up."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            """
            create table things (id bigint primary key, a bigint, b bigint, c text) with (autovacuum_enabled = off);
            create index by_c on things (c);
            """
        )
        conn.execute(
            "insert into things (id, a, c) select n, n, md5(n::text) from generate_series(1, %s) as n", (ROWS,)
        )
        conn.execute("analyze things")
        yield conn


def filled(database: str, moved: Moved, action: Backfill = ACTION, position: Key | None = ("0",)) -> int:
    """Fill the table from a position on."""
    with connect(database, application_name="fill") as conn:
        shard = Shard(position=position, high=(str(ROWS),), batch_rows=2000)
        return fill(conn, action, shard, LIMITS, moved, lambda size: size)


def wrong(conn: psycopg.Connection[Any], expression: str = "a") -> int:
    """Count the rows that are not filled as they should be."""
    row = conn.execute(f"select count(*) from things where b is distinct from {expression}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def size(conn: psycopg.Connection[Any], relation: str) -> int:
    """Return its pages."""
    row = conn.execute("select pg_relation_size(%s) / 8192", (relation,)).fetchone()
    assert row is not None
    return int(row[0])


def test_most_rows_stay_on_their_pages_and_keep_their_entries(
    things: psycopg.Connection[Any], database: str, new_database: Callable[[], str]
) -> None:
    before, entries = size(things, "things"), size(things, "by_c")
    positions: list[tuple[Key, int]] = []
    assert filled(database, lambda _done, _conn, to, rows, _size: positions.append((to, rows))) == ROWS
    assert wrong(things) == 0
    # In one go every row would leave its page, and have a second entry.
    assert size(things, "things") < 1.5 * before
    assert size(things, "by_c") < 1.5 * entries
    # Only the last part moves the cursor, and counts.
    ends = [(str(end), rows) for end in range(2000, ROWS + 1, 2000) for rows in (0, 0, 0, 2000)]
    assert [rows for _, rows in positions] == [rows for _, rows in ends]
    assert [to for (to,), rows in positions if rows] == [to for to, rows in ends if rows]
    assert [to for (to,), rows in positions if not rows] == [str(n // 3 * 2000) for n in range(4 * 3)]


def test_a_row_that_moves_between_two_parts_is_filled(things: psycopg.Connection[Any], database: str) -> None:
    """Every write gives a row another place, and so another part, or a place where a part has been."""
    dice = random.Random(7)

    def moved(*_: object) -> None:
        for _ in range(40):
            things.execute("update things set c = md5(c) where id = %s", (dice.randint(1, ROWS),))
        things.execute("update things set c = md5(c) where id %% 7 = %s", (dice.randint(0, 6),))
        things.execute("delete from things where id %% 101 = %s", (dice.randint(0, 100),))

    filled(database, moved)
    assert wrong(things) == 0


def test_what_ends_between_two_parts_begins_the_range_again(things: psycopg.Connection[Any], database: str) -> None:
    reached: list[Key] = []

    def killed(done: int, _conn: object, to: Key, _rows: int, _size: int) -> None:
        if done == PARTS + 2:
            raise RuntimeError("killed")
        reached.append(to)

    with pytest.raises(RuntimeError, match="killed"):
        filled(database, killed)
    assert reached[-1] == ("2000",)
    # All of the first range; of the second what two parts have committed.
    assert ROWS - 4000 < wrong(things) < ROWS - 2000
    assert filled(database, lambda *_: None, position=reached[-1]) < ROWS - 2000
    assert wrong(things) == 0


def test_while_an_older_snapshot_is_open_it_is_filled_all_the_same(
    things: psycopg.Connection[Any], database: str
) -> None:
    """Nothing that is dead can go, so rows leave their pages: what the parts of the first range have shown."""
    before = size(things, "things")
    batches: list[int] = []
    with psycopg.connect(database) as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.execute("select from things limit 1")
        assert filled(database, lambda _done, _conn, _to, rows, _size: batches.append(rows)) == ROWS
        assert batches[:PARTS] == [0, 0, 0, 2000]
        assert 0 not in batches[PARTS:]
        assert other.execute("select count(*) from things where b is null").fetchone() == (ROWS,)
    assert wrong(things) == 0
    assert size(things, "things") < 2.5 * before


def test_where_the_expression_gives_null_ranges_are_done_in_one_go(
    things: psycopg.Connection[Any], database: str
) -> None:
    """No part can tell a row that it has filled with NULL, so it would be written by the last part once more."""
    action = ACTION.model_copy(
        update={"assignments": (Assignment(column="b", type="bigint", expression="nullif(a, a)"),)}
    )
    batches: list[int] = []
    done = filled(database, lambda _done, _conn, _to, rows, _size: batches.append(rows), action)
    assert wrong(things, "null") == 0
    assert sum(batches) == ROWS
    # The parts of the first range have shown it.
    assert batches[:PARTS] == [0, 0, 0, 2000]
    assert 0 not in batches[PARTS:]
    assert done < 2 * ROWS


INDEXES = {
    "of a column that stays": ("create index on things (c)", True),
    "of the column": ("create index on things (c, b)", False),
    "included": ("create index on things (c) include (b)", False),
    "in an expression": ("create index on things ((b + 1))", False),
    "in a condition": ("create index on things (c) where b is null", False),
    "of a constraint": ("alter table things add unique (b)", False),
    "only of the key": ("drop index by_c", False),
}


@pytest.mark.parametrize("which", INDEXES)
def test_where_an_index_has_the_column_no_row_could_stay_and_one_index_is_not_worth_it(
    which: str, things: psycopg.Connection[Any], database: str
) -> None:
    create, expected = INDEXES[which]
    things.execute(create.encode())
    assert in_parts(things, ACTION) is expected
    batches = []
    filled(database, lambda _done, _conn, _to, rows, _size: batches.append(rows))
    assert (0 in batches) is expected
    assert wrong(things) == 0
