"""Migrations in the ledger: recorded exactly, moved only along the edges, planned anew only before a run."""

import threading
from collections.abc import Iterator
from datetime import UTC
from functools import partial

import psycopg
import pytest
from psycopg.rows import dict_row

from tasks.ledger import audit
from tasks.ledger.cursors import create_cursors, cursors
from tasks.ledger.fencing import take_over
from tasks.ledger.install import install
from tasks.ledger.snapshots import load_snapshot, save_snapshot
from tasks.ledger.state import create, listing, load, replace_plan, summary
from tasks.ledger.steps import finish_step, step_records
from tasks.ledger.transitions import transition
from tasks.ledger.verify import verify
from tasks.model.errors import AuditError, FencedError, StateError
from tasks.model.status import EDGES, MigrationState, StepState
from tests.integration.ledger_samples import a_plan, at_once, wait_for_a_waiter
from tests.servers.postgres import PostgresServer, fresh_database

S = MigrationState


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as conn:
        install(conn)
        yield conn


def put(conn: psycopg.Connection, state: MigrationState) -> None:
    conn.execute("update changeover.migrations set state = %s", (state.value,))


def test_a_plan_comes_back_as_it_was(conn: psycopg.Connection) -> None:
    odd = {"z": 1, "a": [1.50, 10**30, "ü\u0000\u2028", None], "n": {"b": True, "a": "\ud7ff😀"}}
    plan = a_plan(spec=odd)
    create(conn, plan, "production", "ana")

    record = load(conn, "widen_ids")

    assert record.plan == plan
    assert record.plan.digest == record.plan_digest == plan.digest
    assert list(record.plan.spec) == ["z", "a", "n"]
    assert (record.state, record.epoch, record.profile, record.author) == (S.PLANNED, 0, "production", "ana")
    assert record.executor is None
    assert record.swapped_at is None
    newest = audit.head(conn)
    assert newest is not None
    assert (newest.action, newest.actor, newest.digest) == ("plan", "ana", plan.digest)


def test_its_steps_are_recorded_in_order(conn: psycopg.Connection) -> None:
    create(conn, a_plan("m", "expand/t/z", "expand/t/a", "expand/t/m"), "local", "ana")
    steps = step_records(conn, "m")
    assert list(steps) == ["expand/t/z", "expand/t/a", "expand/t/m"]
    assert {step.state for step in steps.values()} == {StepState.PENDING}


def test_a_name_is_given_once_even_by_two_at_once(conn: psycopg.Connection, database: str) -> None:
    def work() -> None:
        with psycopg.connect(database, autocommit=True) as own:
            create(own, a_plan(), "local", "ana")

    errors = at_once(*[work] * 4)
    assert [str(error).splitlines()[0] for error in errors] == ["[STATE] there is a migration 'widen_ids' already"] * 3
    assert len(listing(conn)) == 1


def test_an_unknown_name_gets_a_hint(conn: psycopg.Connection) -> None:
    with pytest.raises(StateError) as caught:
        load(conn, "widen_ids")
    assert caught.value.hint == "Plan it first: this database knows no migration yet."
    create(conn, a_plan(), "local", "ana")
    with pytest.raises(StateError) as caught:
        load(conn, "widen_id")
    assert caught.value.hint == "Did you mean 'widen_ids'?"
    for number in range(12):
        create(conn, a_plan(f"a{number:02}"), "local", "ana")
    with pytest.raises(StateError) as caught:
        summary(conn, "something else")
    assert caught.value.hint.startswith("Choose one of: a00, a01,")
    assert caught.value.hint.endswith("a09 and 3 more.")


def test_the_listing_is_in_order_of_time(conn: psycopg.Connection) -> None:
    for name in ("b", "c", "a"):
        create(conn, a_plan(name), "local", "ana")
    assert [migration.id for migration in listing(conn)] == ["b", "c", "a"]


def test_an_edited_plan_is_not_run(conn: psycopg.Connection) -> None:
    create(conn, a_plan(), "local", "ana")
    conn.execute("update changeover.migrations set plan = replace(plan::text, '-- expand/t/a', 'drop table t')::json")
    with pytest.raises(AuditError, match="not the one that was recorded"):
        load(conn, "widen_ids")


@pytest.fixture(scope="module")
def one(postgres: PostgresServer) -> Iterator[psycopg.Connection]:
    """One database for all pairs of states: each begins with the state that it names."""
    with fresh_database(postgres) as url, psycopg.connect(url, autocommit=True) as conn:
        install(conn)
        create(conn, a_plan(), "local", "ana")
        yield conn


@pytest.mark.parametrize("to", S)
@pytest.mark.parametrize("start", S)
def test_every_pair_of_states(one: psycopg.Connection, start: MigrationState, to: MigrationState) -> None:
    put(one, start)
    epoch = take_over(one, "widen_ids", "run", executor="ana")
    before, head = summary(one, "widen_ids"), audit.head(one)
    if to in EDGES[start]:
        transition(one, "widen_ids", epoch, to, message="why")
        after, newest = summary(one, "widen_ids"), audit.head(one)
        assert (after.state, after.message) == (to, "why")
        assert newest is not None
        assert (newest.action, newest.outcome, newest.actor) == ("transition", to.value, "ana")
        assert newest.detail == {"from": start.value, "to": to.value, "epoch": epoch}
    else:
        with pytest.raises(StateError, match=f"that is {start.value} cannot become {to.value}"):
            transition(one, "widen_ids", epoch, to)
        assert summary(one, "widen_ids") == before
        assert audit.head(one) == head


def test_two_transitions_at_once_do_not_both_start_from_the_same_state(conn: psycopg.Connection, database: str) -> None:
    create(conn, a_plan(), "local", "ana")
    put(conn, S.RUNNING)
    epoch = take_over(conn, "widen_ids", "run", executor="ana")

    errors: list[BaseException] = []

    def second() -> None:
        with psycopg.connect(database, autocommit=True) as own:
            errors.extend(at_once(partial(transition, own, "widen_ids", epoch, S.FAILED)))

    with psycopg.connect(database) as first:
        transition(first, "widen_ids", epoch, S.SWAPPED)
        thread = threading.Thread(target=second)
        thread.start()
        wait_for_a_waiter(conn)
        first.commit()
        thread.join()
    assert [str(error).splitlines()[0] for error in errors] == [
        "[STATE] a migration that is swapped cannot become failed"
    ]


def test_a_state_and_its_audit_record_are_one(conn: psycopg.Connection) -> None:
    create(conn, a_plan(), "local", "ana")
    epoch = take_over(conn, "widen_ids", "run", executor="ana")
    head = audit.head(conn)
    with conn.transaction(force_rollback=True):
        transition(conn, "widen_ids", epoch, S.RUNNING)
    assert summary(conn, "widen_ids").state is S.PLANNED
    assert audit.head(conn) == head


def test_messages_are_kept_but_never_audited(conn: psycopg.Connection) -> None:
    create(conn, a_plan(), "local", "ana")
    epoch = take_over(conn, "widen_ids", "run", executor="ana")
    transition(conn, "widen_ids", epoch, S.RUNNING, message="row 4711 of Ms\x00Doe")
    assert summary(conn, "widen_ids").message == "row 4711 of Ms\\x00Doe"
    bodies = conn.execute("select string_agg(body, '') from changeover.audit").fetchone()
    assert "4711" not in bodies[0]


def test_the_moment_of_the_swap_stays_and_is_forgotten_with_the_attempt(conn: psycopg.Connection) -> None:
    create(conn, a_plan(), "local", "ana")
    epoch = take_over(conn, "widen_ids", "run", executor="ana")
    transition(conn, "widen_ids", epoch, S.RUNNING)
    transition(conn, "widen_ids", epoch, S.SWAPPED)
    swapped = summary(conn, "widen_ids").swapped_at
    assert swapped is not None
    assert swapped.tzinfo is UTC
    transition(conn, "widen_ids", epoch, S.SWAPPED)
    transition(conn, "widen_ids", epoch, S.ROLLING_BACK)
    assert summary(conn, "widen_ids").swapped_at == swapped
    transition(conn, "widen_ids", epoch, S.ROLLED_BACK)
    assert summary(conn, "widen_ids").swapped_at is None


def test_a_rollback_ends_an_attempt(conn: psycopg.Connection) -> None:
    create(conn, a_plan(), "local", "ana")
    epoch = take_over(conn, "widen_ids", "run", executor="ana")
    transition(conn, "widen_ids", epoch, S.RUNNING)
    assert summary(conn, "widen_ids").attempt_epoch == epoch
    create_cursors(conn, "widen_ids", "expand/t/a", [(None, ("9",))])
    save_snapshot(conn, "widen_ids", "facts", {"a": 1})

    epoch = take_over(conn, "widen_ids", "run 2", executor="ana")
    transition(conn, "widen_ids", epoch, S.ROLLING_BACK)
    assert load_snapshot(conn, "widen_ids", "facts") == {"a": 1}
    transition(conn, "widen_ids", epoch, S.ROLLED_BACK)
    assert load_snapshot(conn, "widen_ids", "facts") is None
    assert cursors(conn, "widen_ids", "expand/t/a") == ()

    transition(conn, "widen_ids", epoch, S.RUNNING)
    assert summary(conn, "widen_ids").attempt_epoch == epoch


@pytest.mark.parametrize("state", S)
def test_a_plan_is_replaced_only_when_nothing_of_it_is_there(one: psycopg.Connection, state: MigrationState) -> None:
    put(one, state)
    before = load(one, "widen_ids")
    plan = a_plan("widen_ids", f"expand/t/{state.name}")
    if state in (S.PLANNED, S.ROLLED_BACK):
        replace_plan(one, plan, "production", "ben")
        after = load(one, "widen_ids")
        assert (after.plan, after.profile, after.author) == (plan, "production", "ben")
        assert (after.state, after.epoch) == (state, before.epoch + 1)
        assert list(step_records(one, "widen_ids")) == [f"expand/t/{state.name}"]
    else:
        with pytest.raises(StateError, match=f"that is {state.value} cannot be replaced"):
            replace_plan(one, plan, "production", "ben")
        assert load(one, "widen_ids") == before


def test_a_run_that_loaded_the_replaced_plan_stops(conn: psycopg.Connection) -> None:
    create(conn, a_plan(), "local", "ana")
    epoch = take_over(conn, "widen_ids", "run", executor="ana")
    replace_plan(conn, a_plan("widen_ids", "expand/t/c"), "local", "ben")
    with pytest.raises(FencedError):
        transition(conn, "widen_ids", epoch, S.RUNNING)


def test_replacing_forgets_the_steps_that_were_undone(conn: psycopg.Connection) -> None:
    create(conn, a_plan(), "local", "ana")
    epoch = take_over(conn, "widen_ids", "run", executor="ana")
    create_cursors(conn, "widen_ids", "expand/t/a", [(None, ("9",))])
    finish_step(conn, "widen_ids", epoch, "expand/t/a", StepState.DONE)
    replace_plan(conn, a_plan(), "local", "ana")
    assert {step.state for step in step_records(conn, "widen_ids").values()} == {StepState.PENDING}
    assert cursors(conn, "widen_ids", "expand/t/a") == ()
    assert verify(conn, None).ok


def test_nothing_is_committed_for_the_caller(conn: psycopg.Connection, database: str) -> None:
    with psycopg.connect(database) as own:
        create(own, a_plan(), "local", "ana")
        epoch = take_over(own, "widen_ids", "run", executor="ana")
        transition(own, "widen_ids", epoch, S.RUNNING)
        finish_step(own, "widen_ids", epoch, "expand/t/a", StepState.DONE)
        own.rollback()
    assert listing(conn) == ()


def test_it_does_not_depend_on_how_the_caller_reads_rows(conn: psycopg.Connection) -> None:
    conn.row_factory = dict_row
    conn.execute("set timezone = 'Asia/Kathmandu'")
    create(conn, a_plan(), "local", "ana")
    epoch = take_over(conn, "widen_ids", "run", executor="ana")
    transition(conn, "widen_ids", epoch, S.RUNNING)
    assert load(conn, "widen_ids").created_at.tzinfo is UTC
    assert verify(conn, None).ok
