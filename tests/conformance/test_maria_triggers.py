"""Shadow table on MariaDB of a table with triggers of users; under writers, those of `test_maria_inbound` have some."""

from dataclasses import replace

import pytest

from tasks.engines.mysql.planning.users_triggers import for_more
from tasks.model.errors import DriftError, SpecError
from tasks.model.steps import Phase, SelfCommitting, Step
from tests.conformance.maria import BEFORE_SWAP, Shadow
from tests.conformance.maria_parents import triggers_of
from tests.servers.mariadb import run

WIDEN = {"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}
TABLES = (
    "create table orders (id int auto_increment primary key, n int, body varchar(40)) character set utf8mb4",
    "create table orders_log (id int auto_increment primary key, said varchar(200)) character set utf8mb4",
)


def acts_once(url: str) -> None:
    """Insert a row, and see what it became, and what was written of it: it is added to before it is doubled."""
    run(url, "delete from orders_log", "insert into orders (n, body) values (2, 'seen')")
    assert run(url, "select n from orders order by id desc limit 1") == [(6,)]
    assert len(run(url, "select * from orders_log")) == 1


def walk(shadow: Shadow, url: str, step: Step, *, back: bool = False) -> None:
    """Carry out a step, or take it back; what is about triggers twice: who did it first has not told the ledger."""
    assert isinstance(step.action, SelfCommitting)
    if "trigger" in step.key or step.key.endswith("asks"):
        run(url, *(step.action.inverse if back else step.action.forward))
        acts_once(url)
    (shadow.revert if back else shadow.step)(step)
    acts_once(url)


def test_after_each_statement_each_acts_once(maria_database: str) -> None:
    """By whomever they were made, whatever his session was like; wherever the run was killed."""
    run(maria_database, *TABLES,
        "create user `o'h@ra`@`%`", f"grant trigger on `{maria_database.rpartition('/')[2]}`.* to `o'h@ra`@`%`",
        "grant select, update on orders to `o'h@ra`@`%`", "grant insert on orders_log to `o'h@ra`@`%`")  # fmt: skip
    settings = "set session sql_mode = 'ANSI_QUOTES', character_set_client = latin1"
    theirs = "create definer = `o'h@ra`@`%` trigger"
    try:
        run(maria_database, settings,
            f'{theirs} "b""1" before insert on orders for each row set new.n = new.n * 2 # no',
            f'{theirs} a before insert on orders for each row precedes "b""1" set new.n = new.n + 1',
            f"{theirs} c after insert on orders for each row follow: begin if new.id < 0 then leave follow; end if;"
            " insert into orders_log (said) values (concat(current_user(), if(1, '', 'orders seen'))); end follow",
            "truncate orders")  # fmt: skip
        before = triggers_of(maria_database)
        acts_once(maria_database)
        seen = {"add_column": {"table": "orders", "column": {"name": "seen", "type": "int", "nullable": True}}}
        shadow = Shadow(maria_database, [WIDEN, seen])
        plan = shadow.begin()
        shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL)
        done = [*plan.phase(Phase.INDEX), *plan.phase(Phase.SWAP)]
        for step in done:
            walk(shadow, maria_database, step)
        assert run(maria_database, "select said from orders_log") == [("o'h@ra@%",)]
        assert shadow.violations("after_swap") == 0
        assert shadow.violations("before_rollback") == 0
        for step in reversed(done):
            walk(shadow, maria_database, step, back=True)
        assert triggers_of(maria_database) == before
        shadow.forward(Phase.INDEX, Phase.SWAP)
        assert shadow.violations("before_contract") == 0
        for step in plan.phase(Phase.CONTRACT):
            walk(shadow, maria_database, step)
        assert triggers_of(maria_database) == before
    finally:
        run(maria_database, "drop user `o'h@ra`@`%`")


def test_whoever_drops_or_changes_one_is_not_overruled(maria_database: str) -> None:
    """By the name that acts after the swap; by its own alone, nothing would have changed, and the contract says so."""
    made = "create trigger orders_a before insert on orders for each row set new.n = ifnull(new.n, 0) + 1"
    run(maria_database, *TABLES, "insert into orders (n) values (1), (2)", made, made.replace("orders_a", "orders_b"))
    before = triggers_of(maria_database)
    shadow = Shadow(maria_database, [WIDEN])
    plan = shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    run(maria_database, "drop trigger orders_b")
    with pytest.raises(DriftError, match="trigger orders_b is gone"):
        shadow.forward(Phase.SWAP)
    one, other = (step.action for step in plan.phase(Phase.INDEX) if step.key.endswith("_trigger old"))
    assert isinstance(one, SelfCommitting)
    assert isinstance(other, SelfCommitting)
    changed = made.replace("create", "create or replace").replace("set", "SET")
    run(maria_database, changed, *one.forward)
    assert triggers_of(maria_database) != before[:1]
    run(maria_database, *one.inverse)
    assert triggers_of(maria_database)[0][3] == changed.rpartition("row ")[2]
    run(maria_database, changed.replace("SET", "set"), *one.forward)
    assert triggers_of(maria_database)[0][3] != before[0][3]
    run(maria_database, *one.inverse)
    assert triggers_of(maria_database) == before[:1]
    run(maria_database, *one.forward, made.replace("orders_a", "orders_b"))
    with pytest.raises(DriftError, match="trigger orders_b: definition was"):
        shadow.forward(Phase.SWAP)
    run(maria_database, *other.forward)
    first = next(step.action for step in plan.phase(Phase.INDEX) if step.key.endswith("_trigger new"))
    assert isinstance(first, SelfCommitting)
    assert shadow.violations("before_swap") == 0
    run(maria_database, *first.inverse)
    assert shadow.violations("before_swap") == 1
    run(maria_database, *first.forward)
    # The server would lose triggers, were a RENAME ended in the middle.
    hurried = shadow.engine.limits.model_copy(update={"lock_budget": 1})
    shadow.engine = replace(shadow.engine, limits=hurried)
    shadow.forward(Phase.SWAP)
    assert shadow.violations("before_contract") == 0
    with pytest.raises(SpecError, match="is under another migration"):
        Shadow(maria_database, [WIDEN], name="third").begin()
    run(maria_database, "drop trigger orders_b")
    assert shadow.violations("before_contract") == 1
    acts = run(maria_database, "select trigger_name from information_schema.triggers where"
               " event_object_table = 'orders' and trigger_name like '%\\_trigger' order by trigger_name")  # fmt: skip
    run(maria_database, f"drop trigger {acts[1][0]}", made.replace("orders_a", "orders_c"))
    assert shadow.violations("before_contract") == 0
    shadow.forward(Phase.CONTRACT)
    assert [row[0] for row in triggers_of(maria_database)] == ["orders_a", "orders_c"]


def test_what_could_not_be_made_as_it_was_is_refused(maria_database: str) -> None:
    """Before anything is done, and nothing is left of what was tried."""
    run(maria_database, "create table orders (id int primary key, body text)", "set names latin1",
        "create trigger t before insert on orders for each row set new.body = concat(new.body, '\u00fc')")  # fmt: skip
    tables = run(maria_database, "show tables")

    def see(reason: str, user: str = "root@") -> None:
        with pytest.raises(SpecError, match=reason) as error:
            Shadow(maria_database.replace("root@", user), [WIDEN]).begin()
        assert error.value.hint
        assert run(maria_database, "show tables") == tables

    see("its trigger t: the server does not tell its text as it is, in latin1")
    run(maria_database, "drop trigger t", "set names latin1",
        "create trigger `t\u00fc` before insert on orders for each row set new.body = 'x'")  # fmt: skip
    see("the server does not tell its text as it is, in latin1")
    run(maria_database, "set names latin1", "drop trigger `t\u00fc`",
        "create trigger t before insert on orders for each row set new.body = 'x'",
        f"alter database {maria_database.rpartition('/')[2]} character set latin1")  # fmt: skip
    see("its trigger t: the database had the collation utf8mb4_general_ci when it was made")
    run(maria_database, "drop trigger t", "create trigger t before insert on orders for each row set new.body = 'x'",
        "create user poor@'%' identified by 'p'",
        f"grant all on `{maria_database.rpartition('/')[2]}`.* to poor@'%'")  # fmt: skip
    try:
        see("its trigger t: this user cannot make it on the new table: the server says 1419", "poor:p@")
        run(maria_database, f"revoke all on `{maria_database.rpartition('/')[2]}`.* from poor@'%'",
            "grant trigger, update on orders to poor@'%'", "drop trigger t",
            "create definer = poor@'%' trigger changeover_t before update on orders for each row set new.body = 'x'",
            "insert into orders values (1, '')", "update orders set body = 'y'")  # fmt: skip
        see("its trigger changeover_t: its definer may have no trigger on the tables that stand in for it: .* 1142")
    finally:
        run(maria_database, "drop user poor@'%'")


def test_what_acts_on_columns_or_several_events_is_known_by_its_head() -> None:
    """As MariaDB 12 may print it; an older one does not take it."""
    assert for_more("CREATE DEFINER=`a`@`%` trigger t before update of a, b on o for each row ")
    assert for_more("CREATE DEFINER=`a`@`%` TRIGGER t AFTER INSERT OR UPDATE ON o FOR EACH ROW\n")
    assert not for_more("CREATE DEFINER=`a`@`%` trigger `update of` before update on `a``b or insert` for each row ")
