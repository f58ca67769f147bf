"""Shadow table on MariaDB of a table with triggers of users: each acts once for a row, in every leg."""

import random
import time

import pytest

from tasks.model.errors import DriftError, SpecError
from tasks.model.steps import Phase, SelfCommitting, Step
from tests.conformance.maria import BEFORE_SWAP, Shadow
from tests.conformance.threads import Threads
from tests.servers.mariadb import connected, run

WIDEN = {"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}
TABLE = """
    create table {t} (id int auto_increment primary key, n int, body varchar(40)) engine=InnoDB character set utf8mb4;
    create table {t}_log (id int auto_increment primary key, said varchar(200)) engine=InnoDB character set utf8mb4;
    insert into {t} select seq, seq, 'old' from seq_1_to_{rows};
    create trigger {t}_a before insert on {t} for each row set new.n = ifnull(new.n, 0) + 1;
    create trigger {t}_b before insert on {t} for each row set new.n = new.n * 2 -- and no more
    ;
    create trigger {t}_c after insert on {t} for each row
      insert into {t}_log (said) values (concat('é', new.id, ' ', new.n));
    create trigger {t}_d before update on {t} for each row follow: begin declare same int default new.n <=> old.n|
      if same then leave follow| end if| set new.body = concat('n', new.n)| end follow;
    create trigger {t}_e after update on {t} for each row
      insert into {t}_log (said) values (concat_ws(' ', 'u', old.id, new.id, new.body));
    create trigger {t}_f after delete on {t} for each row insert into {t}_log (said) values (concat('d', old.id))
"""


def prepare(url: str, rows: int) -> None:
    """Make both tables, with what their triggers write to."""
    for name in ("orders", "twin"):
        for statement in TABLE.format(t=name, rows=rows).split(";"):
            run(url, statement.replace("|", ";"))


def made(url: str) -> list[tuple[object, ...]]:
    """Return the triggers of the table, as the server keeps them, in their order."""
    return run(
        url,
        "select trigger_name, event_manipulation, action_timing, action_statement, definer, sql_mode,"
        " character_set_client, collation_connection, event_object_table from information_schema.triggers"
        " where trigger_schema = database() and locate('changeover_', trigger_name) = 0"
        " and event_object_table <> 'twin'"
        " order by event_manipulation, action_timing, action_order",
    )


def acts_once(url: str) -> None:
    """Insert a row, and see what it became, and what was written of it: it is added to before it is doubled."""
    run(url, "truncate orders_log", "insert into orders (n, body) values (2, 'seen')")
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
    run(maria_database, *TABLE.format(t="orders", rows=0).split(";")[:2],
        "create user `o'h@ra`@`%`", "grant all on *.* to `o'h@ra`@`%`")  # fmt: skip
    settings = "set session sql_mode = 'ANSI_QUOTES', character_set_client = latin1"
    theirs = "create definer = `o'h@ra`@`%` trigger"
    try:
        run(maria_database, settings,
            f'{theirs} "b""1" before insert on orders for each row set new.n = new.n * 2 # no',
            f'{theirs} a before insert on orders for each row precedes "b""1" set new.n = new.n + 1',
            f"{theirs} c after insert on orders for each row insert into orders_log (said) values (current_user())",
            "truncate orders")  # fmt: skip
        before = made(maria_database)
        acts_once(maria_database)
        shadow = Shadow(maria_database, [WIDEN])
        plan = shadow.begin()
        shadow.forward(Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL)
        done = [*plan.phase(Phase.INDEX), *plan.phase(Phase.SWAP)]
        for step in done:
            walk(shadow, maria_database, step)
        assert run(maria_database, "select said from orders_log") == [("o'h@ra@%",)]
        assert shadow.violations("after_swap") == 0
        for step in reversed(done):
            walk(shadow, maria_database, step, back=True)
        assert made(maria_database) == before
        for step in done:
            walk(shadow, maria_database, step)
            assert shadow.violations("before_contract") == 0
        for step in plan.phase(Phase.CONTRACT):
            walk(shadow, maria_database, step)
        assert made(maria_database) == before
    finally:
        run(maria_database, "drop user `o'h@ra`@`%`")


class Loggers(Threads):
    """Two threads that write the same to both tables, until the context ends."""

    def __init__(self, url: str, rows: int) -> None:
        super().__init__(url, [random.Random(number) for number in range(2)], pause=0.01)
        self.rows = rows

    def write(self, number: int, dice: random.Random) -> None:
        mine = [one for one in range(1, self.rows + 1) if one % 2 == number]
        fresh = 1_000_000 + number
        with connected(self.url, autocommit=False) as conn, conn.cursor() as cursor:
            while not self._over.is_set():
                started = time.monotonic()
                fresh += 2
                one = dice.choice(mine)
                statement = dice.choice(
                    (
                        f"insert into {{t}} values ({fresh}, {one}, 'new') on duplicate key update n = 0",
                        f"insert into {{t}} values ({one}, 1, 'new') on duplicate key update n = n + 3",
                        f"update {{t}} set n = n + 1 where id = {one}",
                        f"update {{t}} set body = 'set' where id = {one}",
                        f"update {{t}} set id = {fresh} where id = {one}",
                        f"delete from {{t}} where id = {one}",
                    )
                )
                for table in ("orders", "twin"):
                    cursor.execute(statement.format(t=table))
                conn.commit()
                self.transactions += 1
                self.longest = max(self.longest, time.monotonic() - started)
                time.sleep(self.pause)


def difference(url: str) -> int:
    """Count the rows that are not the same, and what triggers have written of one alone."""
    count = 0
    for what, tail in (("*", ""), ("said, count(*)", "_log")):
        one, other = (
            f"(select {what} from {name}{tail}{' group by said' if tail else ''})" for name in ("orders", "twin")
        )
        ((found,),) = run(url, f"select count(*) from (({one} except {other}) union all ({other} except {one})) as d")
        count += int(found)
    return count


def test_all_the_way_under_writers(maria_database: str) -> None:
    """Over, swapped, back, over again and to the end; in the end they are what they were."""
    prepare(maria_database, 60)
    before = made(maria_database)
    with Loggers(maria_database, 60) as loggers:
        shadow = Shadow(maria_database, [WIDEN], batch_rows=40)
        shadow.begin()
        shadow.forward(*BEFORE_SWAP, Phase.SWAP)
        time.sleep(0.2)
        shadow.back()
        assert made(maria_database) == before
        again = Shadow(maria_database, [WIDEN], name="again", batch_rows=40)
        again.begin()
        again.forward(*BEFORE_SWAP)
        assert again.violations("before_swap") == 0
        again.forward(Phase.SWAP)
        time.sleep(0.2)
        assert again.violations("after_swap") == 0
        again.forward(Phase.CONTRACT)
        time.sleep(0.1)
    assert loggers.failures == []
    assert loggers.transactions > 50
    assert loggers.longest < 1.0
    assert difference(maria_database) == 0
    assert made(maria_database) == before


def test_whoever_drops_or_changes_one_is_not_overruled(maria_database: str) -> None:
    """By the name that acts after the swap; by its own alone, nothing would have changed, and the contract says so."""
    run(maria_database, *TABLE.format(t="orders", rows=3).split(";")[:4])
    before = made(maria_database)
    shadow = Shadow(maria_database, [WIDEN])
    shadow.begin()
    shadow.forward(*BEFORE_SWAP)
    run(maria_database, "drop trigger orders_a")
    with pytest.raises(DriftError, match="trigger orders_a is gone"):
        shadow.forward(Phase.SWAP)
    run(maria_database, "create trigger orders_a before insert on orders for each row set new.n = ifnull(new.n, 0) + 1")
    with pytest.raises(DriftError, match="trigger orders_a: definition was"):
        shadow.forward(Phase.SWAP)
    shadow.back()
    assert made(maria_database) == before
    again = Shadow(maria_database, [WIDEN], name="again")
    again.begin()
    again.forward(*BEFORE_SWAP, Phase.SWAP)
    assert again.violations("before_contract") == 0
    with pytest.raises(SpecError, match="is under another migration"):
        Shadow(maria_database, [WIDEN], name="third").begin()
    run(maria_database, "drop trigger orders_a")
    assert again.violations("before_contract") == 1
    ((acts,),) = run(maria_database, "select trigger_name from information_schema.triggers"
                     " where event_object_table = 'orders' and trigger_name like '%\\_trigger'")  # fmt: skip
    run(maria_database, f"drop trigger {acts}")
    assert again.violations("before_contract") == 0
    again.forward(Phase.CONTRACT)
    assert made(maria_database) == []


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
    run(maria_database, "drop trigger t", "create trigger t before insert on orders for each row set new.body = 'x'",
        f"alter database {maria_database.rpartition('/')[2]} character set latin1")  # fmt: skip
    see("its trigger t: the database had the collation utf8mb4_general_ci when it was made")
    run(maria_database, "drop trigger t", "create trigger t before insert on orders for each row set new.body = 'x'",
        "create user poor@'%' identified by 'p'",
        f"grant all on `{maria_database.rpartition('/')[2]}`.* to poor@'%'")  # fmt: skip
    try:
        see("its trigger t: this user cannot make it on the new table: the server says 1419", "poor:p@")
    finally:
        run(maria_database, "drop user poor@'%'")
