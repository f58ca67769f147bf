"""The application of the demo on a real server: it keeps its twin true, and hides nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from examples.demo.application import Application, ApplicationError
from examples.demo.latency import LockSampler
from examples.demo.orders import COLUMNS, Differences, create, differences
from examples.demo.report import ApplicationReport

ROOT = Path(__file__).parents[2]
BLOCKER = "changeover-test"


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True, application_name=BLOCKER) as opened:
        create(opened, 5_000)
        yield opened


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.05)


def sessions(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "select count(*) from pg_stat_activity where datname = current_database() and application_name like 'demo-app%'"
    ).fetchone()
    assert row is not None
    return int(row[0])


# The twin.


def test_five_seconds_leave_the_twin_equal(database: str, connection: psycopg.Connection) -> None:
    with Application(database) as application:
        time.sleep(2.5)
        assert differences(connection).total == 0
        time.sleep(2.5)
    report = application.report

    found = differences(connection)
    assert found.total == 0
    assert found.rows > 5_100
    assert report.failures == ()
    assert report.unfinished == 0
    assert set(report.counts()) == set(report.kinds)
    assert 4.9 < report.ended - report.started < 9
    # The schedule is open: what was due was done.
    assert 950 <= report.lag().count <= 200 * (report.ended - report.started) + 4
    assert report.latency().count == sum(report.counts().values()) > report.lag().count
    moved, without_name, changed = connection.execute(
        "select count(*) filter (where id < 0), count(*) filter (where customer is null and id > 5000),"
        " count(*) filter (where id <= 5000 and status <> 'new' and quantity > 99) from orders"
    ).fetchone() or (0, 0, 0)
    assert min(moved, without_name, changed) > 0
    assert sessions(connection) == 0


SLOW = """
create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.01); return null; end';
create trigger slow after update or delete on orders for each statement execute function slow();
"""


def test_workers_that_meet_on_a_few_rows_do_not_deadlock(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        create(connection, 40)
        # Locks held for long, by a dozen sessions on few rows, make them meet.
        connection.execute(SLOW)
        with LockSampler(database) as sampler, Application(database, rate=2000, workers=12) as application:
            time.sleep(6)
        assert application.report.failures == ()
        assert len(sampler.waits("demo-app")) > 20
        assert differences(connection).total == 0


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        ("update orders set note = '' where id = 7", {"changed": 1}),
        ("update orders set customer = customer || ' ' where id in (8, 9)", {"changed": 2}),
        ("update orders_twin set quantity = quantity + 1 where id = 7", {"changed": 1}),
        ("delete from orders where id = 7", {"missing": 1}),
        ("delete from orders_twin where id in (7, 8, 9)", {"extra": 3}),
        ("update orders set id = -7 where id = 7", {"missing": 1, "extra": 1}),
    ],
)
def test_a_planted_difference_is_found(connection: psycopg.Connection, plant: str, expected: dict[str, int]) -> None:
    # In the load, the notes of rows 3, 6, 9 ... are NULL, and that of row 9 would be empty.
    connection.execute("update orders set note = null where id = 7")
    connection.execute("update orders_twin set note = null where id = 7")
    assert differences(connection).total == 0
    connection.execute(plant)
    found = differences(connection)
    assert {"missing": 0, "extra": 0, "changed": 0} | expected == {
        "missing": found.missing,
        "extra": found.extra,
        "changed": found.changed,
    }
    assert found.total == sum(expected.values())
    assert len(found.keys) == found.total


def test_a_row_that_comes_twice_is_found(connection: psycopg.Connection) -> None:
    connection.execute("alter table orders drop constraint orders_pkey")
    connection.execute(f"insert into orders ({COLUMNS}) select {COLUMNS} from orders where id = 7")
    assert differences(connection).total == 1


def test_rows_are_compared_by_their_image(connection: psycopg.Connection) -> None:
    assert differences(connection, "id, 1.0 as x", "id, 1.00 as x").changed == 5_000
    assert differences(connection, "id, 1.0 as x", "id, 1.0 as x").total == 0


def test_keys_that_miss_on_both_sides_do_not_cancel_out() -> None:
    found = Differences(rows=3, twin_rows=3, missing=1, extra=1, changed=1, keys=(1, 2, 3))
    assert found.total == 3


# The new version.

DUAL_WRITE = """
alter table orders add column first_name text, add column last_name text;
create function down() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' and new.customer is null
        or tg_op = 'UPDATE' and (new.first_name, new.last_name) is distinct from (old.first_name, old.last_name)
    then
        new.customer := new.first_name || ' ' || new.last_name;
    end if;
    return new;
end $$;
create trigger dual_write before insert or update on orders for each row execute function down();
"""


def test_a_new_version_is_brought_out_and_taken_back_while_it_runs(
    database: str, connection: psycopg.Connection
) -> None:
    connection.execute(DUAL_WRITE)
    with Application(database) as application:
        time.sleep(0.5)
        new = application.deploy("new")
        time.sleep(2)
        old = application.deploy("old")
        time.sleep(0.5)
    report = application.report
    assert report.failures == ()
    assert report.deployments == ((report.started, "old"), (new, "new"), (old, "old"))
    written = connection.execute("select count(*) filter (where first_name is not null) from orders").fetchone()
    assert written is not None
    assert written[0] > 50
    assert differences(connection).total == 0


def test_a_version_without_its_columns_fails_visibly(database: str, connection: psycopg.Connection) -> None:
    with Application(database, columns="new") as application:
        time.sleep(1)
    failures = application.report.failures
    assert {failure.sqlstate for failure in failures} == {"42703"}
    assert {failure.kind for failure in failures} <= {"insert", "update", "read", "bulk"}
    assert differences(connection).total == 0


# Nothing is hidden.


def test_a_blocked_table_shows_as_latency_as_lag_and_as_a_lock_wait(
    database: str, connection: psycopg.Connection
) -> None:
    with LockSampler(database) as sampler, Application(database) as application:
        time.sleep(1)
        since = time.time()
        with connection.transaction():
            connection.execute("lock table orders in access exclusive mode")
            time.sleep(0.6)
        until_ = time.time()
        time.sleep(1)
    report = application.report
    assert report.failures == ()
    during, before = report.latency(since, until_), report.latency(until=since - 0.1)
    assert 550 < during.max_ms < 5_000
    assert before.max_ms < 500
    assert report.lag(since, until_ + 0.5).max_ms > 400
    slowest = report.slowest(1)[0]
    assert slowest.ms == report.latency().max_ms
    assert since - 0.1 <= slowest.at <= until_
    assert report.slowest(3, kinds={"commit"})[0].kind == "commit"

    wait = sampler.longest(blocked_by=BLOCKER)
    assert wait is not None
    assert 400 < wait.ms <= during.max_ms + 50
    assert wait.application.startswith("demo-app-")
    assert wait.waited_for.startswith("orders ")
    assert BLOCKER in wait.blocked_by
    assert since - 0.1 <= wait.began <= until_
    assert sampler.longest(blocked_by="somebody else") is None


def test_the_sampler_tells_who_blocks_whom_in_a_queue(database: str, connection: psycopg.Connection) -> None:
    """A session that only waits for its own lock blocks those behind it, and is named."""
    with (
        LockSampler(database) as sampler,
        psycopg.connect(database, application_name="long-report") as report,
        psycopg.connect(database, application_name="changeover-swap") as swap,
        Application(database),
    ):
        report.execute("select count(*) from orders")
        swap.execute("set lock_timeout = '300ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            swap.execute("lock table orders in access exclusive mode")
        report.rollback()
    wait = sampler.longest(blocked_by="changeover-swap")
    assert wait is not None
    assert 200 < wait.ms < 1_000


def test_an_error_of_the_sampler_is_not_swallowed(database: str, connection: psycopg.Connection) -> None:
    sampler = LockSampler(database).__enter__()
    until(lambda: sampler.samples > 0)
    connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'demo-lock-sampler'"
    )
    time.sleep(0.3)
    with pytest.raises(psycopg.OperationalError):
        sampler.__exit__(None, None, None)


@pytest.mark.parametrize("prepare", [True, False])
def test_prepared_statements_feel_a_change_of_type(
    database: str, connection: psycopg.Connection, prepare: bool
) -> None:
    with Application(database, prepare=prepare) as application:
        time.sleep(1)
        connection.execute("alter table orders alter column quantity type bigint")
        time.sleep(1.5)
    states = {(failure.kind, failure.sqlstate) for failure in application.report.failures}
    assert states == ({("read", "0A000")} if prepare else set())
    assert differences(connection, COLUMNS.replace("quantity", "quantity::integer")).total == 0


def test_a_lost_connection_is_a_failure_and_the_application_goes_on(
    database: str, connection: psycopg.Connection
) -> None:
    with Application(database, workers=2) as application:
        time.sleep(0.5)
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'demo-app-0'"
        )
        lost = time.time()
        until(lambda: sessions(connection) == 2)
        time.sleep(0.5)
    report = application.report
    # The socket can be closed before the reason is read.
    assert [failure.sqlstate for failure in report.failures] in (["57P01"], [""])
    assert abs(report.failures[0].at - lost) < 1
    assert report.counts()["connect"] == 3
    assert report.latency(since=lost + 0.3, kinds={"twin"}).count > 10
    assert differences(connection).total == 0


# The end.


def test_it_ends_after_its_time(database: str, connection: psycopg.Connection) -> None:
    application = Application(database, seconds=1).start()
    until(lambda: sessions(connection) == 0)
    report = application.stop()
    assert report is application.stop()
    assert 0.9 < report.ended - report.started < 5


def test_it_ends_while_a_statement_is_blocked(database: str, connection: psycopg.Connection) -> None:
    application = Application(database, workers=2).start()
    with connection.transaction():
        connection.execute("lock table orders in access exclusive mode")
        time.sleep(0.3)
        report = application.stop()
    assert report.unfinished == 2
    assert report.failures == ()
    assert report.latency().max_ms > 4_000
    assert differences(connection).total == 0


PARENT = """
import os, sys, time
from pathlib import Path
from examples.demo.application import Application

application = Application(os.environ["SOME_URL"], out=Path(sys.argv[1])).start()
print(application.pid, flush=True)
time.sleep(60)
"""


def test_it_ends_when_its_parent_is_killed(database: str, connection: psycopg.Connection, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(out)],
        cwd=ROOT,
        env={**os.environ, "SOME_URL": database},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    with parent, parent.stdout as lines:
        pid = int(lines.readline())
        assert sessions(connection) == 4
        # Everyone on the machine can read this.
        arguments = Path(f"/proc/{pid}/cmdline")
        if arguments.exists():
            assert "postgresql:" not in arguments.read_text()
        time.sleep(0.5)
        parent.kill()
    until(lambda: sessions(connection) == 0 and out.exists())
    assert ApplicationReport.read(out).failures == ()
    assert differences(connection).total == 0


def test_by_hand_it_ends_by_signal_with_its_report(
    database: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    connection.execute(DUAL_WRITE)
    out = tmp_path / "report.json"
    command = [sys.executable, "-m", "examples.demo.application", "--url-env=SOME_URL", f"--out={out}"]
    environment = {**os.environ, "SOME_URL": database}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert '"started"' in process.stdout.readline()
        process.send_signal(signal.SIGUSR1)
        assert '"columns": "new"' in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert [columns for _, columns in ApplicationReport.read(out).deployments] == ["old", "new"]


def test_a_server_that_is_not_there_is_an_error_without_the_password(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ApplicationError, match="ended before 'started'"):
        Application("postgresql://app:hunter2@127.0.0.1:1/orders").start()
    shown = "".join(capfd.readouterr())
    assert "the application cannot start" in shown
    assert "hunter2" not in shown
