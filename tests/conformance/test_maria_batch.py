"""One batch of the copy on MariaDB: which rows it keeps others from writing, and what they do between its two looks."""

import pymysql
import pytest

from tasks.engines.mysql.copy import keys_there, statement
from tasks.model.steps import Copy, Phase
from tests.conformance.maria import Shadow
from tests.conformance.maria_writers import prepare
from tests.servers.mariadb import connected, run

WIDEN = {"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}


@pytest.fixture
def even(maria_database: str) -> tuple[Shadow, Copy]:
    """A table of even keys up to 200, of which the triggers have carried over 24 and 26."""
    prepare(maria_database, 200)
    run(maria_database, "delete from orders where id % 2")
    shadow = Shadow(maria_database, [WIDEN])
    plan = shadow.begin()
    shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE)
    run(maria_database, "update orders set body = 'written' where id in (24, 26)")
    (step,) = plan.phase(Phase.BACKFILL)
    assert isinstance(step.action, Copy)
    return shadow, step.action


def waits(url: str, *statements: str) -> list[str]:
    """Return those statements of an application that do not go through at once."""
    waiting = []
    with connected(url, init_command="set innodb_lock_wait_timeout = 0") as conn, conn.cursor() as cursor:
        for text in statements:
            try:
                cursor.execute(text)
            except pymysql.err.OperationalError as error:
                if error.args[0] != 1205:
                    raise
                waiting.append(text)
    return waiting


def test_it_holds_the_rows_that_it_copies_and_no_gap(even: tuple[Shadow, Copy], maria_database: str) -> None:
    shadow, action = even
    with shadow.engine.connect("test") as conn:
        there = keys_there(conn, action, ("20",), ("40",))
        assert sorted(there or ()) == [("24",), ("26",)]
        with conn.transaction():
            assert conn.execute(statement(action, ("20",), ("40",), there)).rowcount == 8
            held = ["update orders set n = 1 where id = 22", "delete from orders where id = 40"]
            assert waits(
                maria_database, *held, "insert into orders (id) values (21), (31), (39), (41), (500)",
                "update orders set n = 2 where id in (2, 20, 42)", "delete from orders where id in (18, 44)",
                "update orders set n = 3 where id = 24", "update orders set id = 33 where id = 26",
            ) == held  # fmt: skip
    shadow.forward(Phase.BACKFILL)
    assert shadow.violations("before_swap") == 0


def test_what_is_written_between_the_look_and_the_copy_is_neither_lost_nor_comes_back(
    even: tuple[Shadow, Copy], maria_database: str
) -> None:
    """What was there is kept in step, whatever becomes of it; what was not, and is now, is an error, and looked up."""
    shadow, action = even
    with shadow.engine.connect("test") as conn:
        there = keys_there(conn, action, None, ("60",))
        run(maria_database, "delete from orders where id in (22, 24)", "insert into orders (id) values (24), (25)",
            "update orders set id = 27 where id = 26", "update orders set id = 26 where id = 30",
            "delete from orders where id = 25")  # fmt: skip
        run(maria_database, "delete from orders where id = 27")
        with conn.transaction():
            conn.execute(statement(action, None, ("60",), there))
        there = keys_there(conn, action, ("60",), ("100",))
        assert there == ()
        run(maria_database, "delete from orders where id = 62", "update orders set n = 7 where id = 64")
        with pytest.raises(pymysql.err.IntegrityError, match="1062"), conn.transaction():
            conn.execute(statement(action, ("60",), ("100",), there))
        with conn.transaction():
            conn.execute(statement(action, ("60",), ("100",)))
    shadow.forward(Phase.BACKFILL)
    assert shadow.violations("before_swap") == 0


def test_a_gate_looks_each_row_up_once(even: tuple[Shadow, Copy], maria_database: str) -> None:
    """By the primary key. What the old table lacks is sought only where both have not as many rows, and found there."""
    shadow, action = even
    shadow.forward(Phase.BACKFILL)

    def looked_up(gate: str) -> tuple[int, int]:
        assert shadow.plan is not None
        with shadow.engine.connect("test") as conn:
            found = [shadow.engine.count(conn, r.violations) for r in shadow.plan.requirements if r.gate == gate]
            row = conn.execute("show session status like 'Handler_read_key'").fetchone()
        return sum(found), int(row[1])

    assert shadow.violations("before_swap") == 0
    found, keys = looked_up("before_swap")
    assert found == 0
    assert 100 <= keys < 150, "half as many as rows of both"
    assert shadow.plan is not None
    for asked in (r.violations for r in shadow.plan.requirements if r.gate == "before_swap"):
        assert {row[5] for row in run(maria_database, f"explain {asked}")} <= {"PRIMARY", None}
    run(maria_database, f"insert into {action.target} (id) values (5000)")
    assert looked_up("before_swap")[0] == 1
