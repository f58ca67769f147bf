"""The swap on MariaDB, and the way back: killed after the RENAME, held, and with losses, while they wait for locks."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from prefect import flow
from pymysql.err import IntegrityError

from flows.commands.subject import engine_for
from flows.standing import read
from tasks.ledger.controls import clear_control, set_control
from tasks.ledger.gates import record_gate
from tasks.ledger.state import summary
from tasks.ledger.steps import begin_step, step_records
from tasks.ledger.transitions import transition
from tasks.migration import open_migration, reopen_migration
from tasks.model.errors import StateError
from tasks.model.status import CheckResult, GateResult, MigrationState, StepState
from tasks.model.steps import Phase, SelfCommitting
from tasks.rollback import rollback
from tasks.run import Run
from tasks.steps import record_of, run_step
from tasks.swap import swap
from tests.conformance.maria import BEFORE_SWAP, Shadow
from tests.conformance.maria_writers import difference, is_big, prepare
from tests.servers.mariadb import connected, run

TOO_BIG = "insert into orders (id) values (5000000000)"


class Swapping:
    """A migration that widens a key, ready for its swap."""

    def __init__(self, url: str, profile: Path) -> None:
        self.url = url
        wider = [{"alter_column": {"table": "orders", "column": name, "type": "bigint"}} for name in ("id", "n")]
        shadow = Shadow(url, wider)
        plan = shadow.begin()
        shadow.forward(*BEFORE_SWAP)
        shadow.step(plan.phase(Phase.SWAP)[0])
        self.run = Run(
            migration="m", profile=str(profile), database="main", run_id="t", actor="ana", epoch=shadow.epoch
        )
        action = next(step for step in plan.steps if step.key == "swap/all").action
        assert isinstance(action, SelfCommitting)
        self.action = action
        passed = GateResult(gate="before_swap", checks=(CheckResult(name="rows", passed=True, evaluated=True),))
        with self.run.ledger() as conn:
            record_gate(conn, "m", shadow.epoch, passed, 0)

    def sql(self, *statements: str) -> None:
        """Do what applications, or people, do."""
        with connected(self.url) as conn, conn.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    @property
    def state(self) -> MigrationState:
        """What the ledger says."""
        with self.run.ledger() as conn:
            return summary(conn, "m").state

    def is_tried(self) -> bool:
        """The swap has begun."""
        with self.run.ledger() as conn:
            return step_records(conn, "m")["swap/all"].state is StepState.RUNNING

    def sessions(self) -> int:
        """How many sessions have left a trace."""
        with connected(self.url) as conn, conn.cursor() as cursor:
            return cursor.execute("select 1 from changeover_sessions")

    def while_it_waits(
        self, act: Callable[[], object], begun: Callable[[], bool], meanwhile: Callable[[], None]
    ) -> threading.Thread:
        """Do something while somebody reads the table, so that it waits; then the reader ends."""

        def quiet() -> None:
            with suppress(StateError):
                act()

        thread = threading.Thread(target=quiet)
        with connected(self.url, autocommit=False) as reader, reader.cursor() as cursor:
            cursor.execute("select count(*) from orders")
            thread.start()
            until(begun)
            meanwhile()
            reader.rollback()
        return thread

    def set_hold(self) -> None:
        """Ask for a hold, and let the try that is under way come to its end."""
        with self.run.ledger() as conn:
            set_control(conn, "m", "hold", True, "ben")
        time.sleep(2 * self.run.engine.limits.lock_budget / 1000)

    def release(self) -> None:
        """And take it back."""
        with self.run.ledger() as conn:
            clear_control(conn, "m", "hold", "ben")


def until(what: Callable[[], bool]) -> None:
    """Wait for something to be so."""
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@flow(name="gone on")
def gone_on(profile: str) -> None:
    """Go on with the migration, as every strategy does."""
    with open_migration("m", profile):
        pass


@pytest.fixture
def swapping(maria_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Swapping:
    prepare(maria_database, 100)
    run(maria_database, "create table parents (id int primary key)", "insert into parents values (1), (2), (3)",
        "alter table orders add parent int, add foreign key (parent) references parents (id)",
        "update orders set parent = 1 where id = 1")  # fmt: skip
    monkeypatch.setenv("TEST_URL", maria_database)
    profile = tmp_path / "test.toml"
    profile.write_text(f'name = "test"\nevidence = "{tmp_path}"\n[databases.main]\nurl_env = "TEST_URL"\n')
    return Swapping(maria_database, profile)


def test_killed_between_the_rename_and_the_ledger(prefect_server: None, swapping: Swapping) -> None:
    """No gate compares the wrong tables then, no rollback forgets to compare, and what was written meanwhile stays."""
    with swapping.run.ledger() as conn:
        begin_step(conn, "m", swapping.run.epoch, "swap/all")
    swapping.sql(swapping.action.forward[0], TOO_BIG)
    swapping.sql("create table kept select * from orders", "truncate table orders")
    profile = swapping.run.profile
    with (
        pytest.raises(StateError, match="cannot hold what was written"),
        reopen_migration("m", profile, allowed=(MigrationState.RUNNING,)) as again,
    ):
        rollback.fn(again, accept_loss=True)
    swapping.sql("insert into orders select * from kept")
    gone_on(profile)
    assert swapping.state is MigrationState.COMPLETE
    assert is_big(swapping.url)
    swapping.sql("delete from orders where id = 5000000000")
    assert difference(swapping.url) == 0


def test_a_hold_comes_while_the_swap_waits(swapping: Swapping) -> None:
    thread = swapping.while_it_waits(lambda: swap.fn(swapping.run), swapping.is_tried, swapping.set_hold)
    time.sleep(1.0)
    assert not is_big(swapping.url)
    left = swapping.sessions()
    engine = engine_for(swapping.run.profile, "main")
    with engine.connect("status") as conn:
        assert read(conn, engine, "m").hold
    assert swapping.sessions() == left, "who only looks leaves no trace"
    swapping.release()
    thread.join(60)
    assert is_big(swapping.url)


def test_what_is_lost_is_accepted_and_not_more(swapping: Swapping) -> None:
    swap.fn(swapping.run)
    swapping.sql("create trigger theirs before insert on orders for each row set new.n = 1")
    with pytest.raises(StateError, match="the trigger theirs was made on the new orders"):
        rollback.fn(swapping.run)
    swapping.sql("drop trigger theirs", TOO_BIG)
    with pytest.raises(StateError, match="1 writes since the swap cannot be expressed"):
        rollback.fn(swapping.run)
    swapping.sql("create table kept select * from orders", "truncate table orders")
    with pytest.raises(StateError, match="rows break"):
        rollback.fn(swapping.run, accept_loss=True)
    swapping.sql("insert into orders select * from kept")
    rollback.fn(swapping.run, accept_loss=True)
    assert swapping.state is MigrationState.ROLLED_BACK
    assert not is_big(swapping.url)


def test_what_ends_the_swap_is_not_held_and_does_not_pause(swapping: Swapping) -> None:
    """The tables are swapped: until it is done, the old one refuses what is done to parents."""
    (_, act, last) = swapping.run.plan.phase(Phase.SWAP)
    run_step(
        swapping.run, act, afterwards=lambda conn: transition(conn, "m", swapping.run.epoch, MigrationState.SWAPPED)
    )
    for asked in ("hold", "pause"):
        with swapping.run.ledger() as conn:
            set_control(conn, "m", asked, True, "ben")
    left = swapping.sessions()
    thread = threading.Thread(target=lambda: swap.fn(swapping.run))
    with connected(swapping.url, autocommit=False) as reader, reader.cursor() as cursor:
        cursor.execute(f"select count(*) from `{swapping.action.set_aside}`")
        thread.start()
        time.sleep(1.0)
        assert thread.is_alive()
        assert swapping.sessions() - left < 9, "it tries again, and does not begin again"
        reader.rollback()
    thread.join(60)
    assert record_of(swapping.run, last).state is StepState.DONE


def test_a_loss_comes_while_the_way_back_waits(swapping: Swapping) -> None:
    """It is counted once more when the tables are back, and they are swapped again. Killed there, it goes on.

    Swapped, the old table refuses nobody for the sake of a row that has another parent by now; back, it does.
    """
    swap.fn(swapping.run)
    refuses = (
        "select 1 from information_schema.referential_constraints where constraint_schema = database()"
        f" and table_name = '{swapping.action.set_aside}'"
    )
    assert not run(swapping.url, refuses)
    swapping.while_it_waits(
        lambda: rollback.fn(swapping.run),
        lambda: bool(run(swapping.url, refuses)),
        lambda: swapping.sql("update orders set n = 5000000000, parent = 2 where id = 1"),
    ).join(60)
    assert is_big(swapping.url)
    assert swapping.state is MigrationState.ROLLING_BACK
    swapping.sql("delete from parents where id = 1",
        "update orders set n = (select n from twin where id = 1) where id = 1")  # fmt: skip
    assert difference(swapping.url) == 0
    swapping.sql(*swapping.action.inverse)
    rollback.fn(swapping.run, accept_loss=True)
    assert swapping.state is MigrationState.ROLLED_BACK
    assert not is_big(swapping.url)
    assert difference(swapping.url) == 0
    with pytest.raises(IntegrityError, match=r"1451.*`orders`"):
        swapping.sql("delete from parents where id = 2")
