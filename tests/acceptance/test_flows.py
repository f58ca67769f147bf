"""The flows, as a person runs them: approval, pause, window, failed gates, drift, runners."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prefect.artifacts import Artifact

from flows.contract import contract
from flows.expand_contract import expand_contract
from flows.rollback import rollback
from tasks.approve import decide
from tasks.ledger.controls import clear_control, set_control
from tasks.ledger.state import summary
from tasks.ledger.verify import verify
from tasks.ledger.waivers import waive
from tasks.model.errors import DriftError, GateError, PreflightError, StateError
from tasks.model.status import MigrationState

pytestmark = pytest.mark.usefixtures("prefect_server")

SPLIT = [
    {"add_column": {"table": "people", "column": {"name": "first", "type": "text"}, "up": "split_part(name, ' ', 1)"}},
    {"add_column": {"table": "people", "column": {"name": "last", "type": "text"}, "up": "split_part(name, ' ', 2)"}},
    {"drop_column": {"table": "people", "column": "name", "down": "first || ' ' || last"}},
]
ROWS = 3000

Writer = Callable[..., tuple[str, str]]


@pytest.fixture
def people(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection[Any]]:
    """A table of people, and the variable that profiles name."""
    monkeypatch.setenv("CHANGEOVER_URL", database)
    monkeypatch.setenv("CHANGEOVER_ACTOR", "ada")
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("create table people (id int primary key, name text not null)")
        conn.execute(f"insert into people select i, 'First' || i || ' Last' || i from generate_series(1, {ROWS}) i")
        conn.execute("analyze people")
        yield conn


@pytest.fixture
def written(tmp_path: Path) -> Writer:
    """Write a spec and a profile; return their paths."""

    def write(operations: list[dict[str, Any]], settings: str = "", **spec: Any) -> tuple[str, str]:
        path, profile = tmp_path / "m.json", tmp_path / "p.toml"
        path.write_text(json.dumps({"migration": "m", "operations": operations, **spec}))
        profile.write_text(
            f'name = "p"\nevidence = "{tmp_path}/evidence"\n{settings}\n[databases.main]\nurl_env = "CHANGEOVER_URL"\n'
        )
        return str(path), str(profile)

    return write


def state_of(conn: psycopg.Connection[Any]) -> MigrationState:
    return summary(conn, "m").state


def test_the_whole_way(people: psycopg.Connection[Any], written: Writer, tmp_path: Path) -> None:
    """Run, roll back after the swap with what was written since, run again, contract; the audit verifies."""
    spec, profile = written(SPLIT)
    assert expand_contract(spec, profile).state is MigrationState.COMPLETE
    shown = Artifact.get("plan-m")
    assert shown is not None
    held = f"| ROW EXCLUSIVE on public.people, held for a batch at a time | {ROWS:,} |"
    assert held in str(shown.data).replace('"', "")
    checks, text = Artifact.get("gate-before-swap-m"), Artifact.get("gate-before-swap-m-text")
    assert checks is not None
    assert text is not None
    assert '"result": "passed"' in str(checks.data)
    assert str(text.data).startswith("# Gate before_swap passed")
    people.execute("insert into people (id, first, last) values (0, 'New', 'One')")
    people.execute("update people set last = 'Changed' where id = 7")
    assert rollback("m", profile).state is MigrationState.ROLLED_BACK
    rows = people.execute("select id, name from people where id in (0, 7, 8) order by id").fetchall()
    assert rows == [(0, "New One"), (7, "First7 Changed"), (8, "First8 Last8")]
    done = expand_contract(spec, profile)
    assert (done.state, done.rows) == (MigrationState.COMPLETE, ROWS + 1)
    assert contract("m", profile).state is MigrationState.CONTRACTED
    assert [c.name for c in people.execute("select * from people limit 0").description or ()] == ["id", "first", "last"]
    verdict = verify(people, tmp_path / "evidence")
    assert verdict.ok, verdict.problems
    assert list((tmp_path / "evidence" / "m").glob("public.people-*-swap.copy.gz"))


def test_approval_is_awaited_and_independent(people: psycopg.Connection[Any], written: Writer) -> None:
    """Without approval the run ends as paused, nothing restricted; the executor cannot approve; another can."""
    spec, profile = written(SPLIT, "approvals = 1")
    assert expand_contract(spec, profile).state is MigrationState.AWAITING_APPROVAL
    people.execute("insert into people (id, name) values (-1, 'Still Old')")
    for name in ("ada", " Ada "):
        with pytest.raises(StateError, match="cannot approve"):
            decide("m", name, "approve", "mine", profile=profile)
    decide("m", "grace", "approve", "applications are ready", profile=profile)
    assert expand_contract("m", profile).state is MigrationState.COMPLETE
    assert people.execute("select first, last from people where id = -1").fetchone() == ("Still", "Old")


def test_a_rejection_undoes(people: psycopg.Connection[Any], written: Writer) -> None:
    """Somebody says no: the profile wants it undone."""
    spec, profile = written(SPLIT, "approvals = 1")
    expand_contract(spec, profile)
    decide("m", "grace", "reject", "not today", profile=profile)
    with pytest.raises(StateError, match="not today"):
        expand_contract("m", profile)
    assert state_of(people) is MigrationState.ROLLED_BACK


def test_pause_and_resume(people: psycopg.Connection[Any], written: Writer) -> None:
    """A pause that is set before the run stops it at its first boundary; taken back, it goes on."""
    spec, profile = written(SPLIT, "approvals = 1")
    expand_contract(spec, profile)
    set_control(people, "m", "pause", True, "grace")
    decide("m", "grace", "approve", "", profile=profile)
    assert expand_contract("m", profile).state is MigrationState.PAUSED
    clear_control(people, "m", "pause", "grace")
    assert expand_contract("m", profile).state is MigrationState.COMPLETE


def test_a_closed_window_stops_before_anything(people: psycopg.Connection[Any], written: Writer) -> None:
    """Outside the window the run is paused, and the table is as it was."""
    start = datetime.now(UTC) + timedelta(hours=2)
    window = f'[window]\nstart = "{start:%H:%M}"\nend = "{start + timedelta(hours=1):%H:%M}"\ntimezone = "Etc/UTC"'
    spec, profile = written(SPLIT, window)
    assert expand_contract(spec, profile).state is MigrationState.PAUSED
    assert len(people.execute("select * from people limit 0").description or ()) == 2


def test_rows_that_cannot_take_the_new_shape_are_refused_before_anything(
    people: psycopg.Connection[Any], written: Writer
) -> None:
    """`down` that does not bring a value back: known before the first step, recorded, and nothing was touched."""
    people.execute("update people set name = 'Two  Spaces' where id = 5")
    spec, profile = written(SPLIT)
    with pytest.raises(PreflightError, match=r"name comes back by down: 1 row breaks it"):
        expand_contract(spec, profile)
    (gate,) = people.execute("select gate, passed, result::text from changeover.gates").fetchall()
    assert gate[:2] == ("before_run", False)
    assert "Two" not in gate[2]
    assert people.execute("select count(*) from changeover.steps where started_at is not null").fetchone() == (0,)
    people.execute("update people set name = 'Two Names' where id = 5")
    assert expand_contract(spec, profile).state is MigrationState.COMPLETE


def test_a_failed_gate_rolls_back(people: psycopg.Connection[Any], written: Writer) -> None:
    """A suite of the user's own that does not hold: no swap, and nothing is left."""
    spec, profile = written(SPLIT, gates={"before_swap": ["tests.acceptance.suites:nobody_is_called_first7"]})
    with pytest.raises(GateError, match="expect_column_values_to_not_be_in_set"):
        expand_contract(spec, profile)
    assert state_of(people) is MigrationState.ROLLED_BACK
    assert [c.name for c in people.execute("select * from people limit 0").description or ()] == ["id", "name"]


def test_a_failed_gate_is_kept_and_corrected(people: psycopg.Connection[Any], written: Writer) -> None:
    """With on_failure = keep, the row is corrected and the run goes on from where it was."""
    suite = "tests.acceptance.suites:nobody_is_called_first7"
    spec, profile = written(SPLIT, 'on_failure = "keep"', gates={"before_swap": [suite]})
    with pytest.raises(GateError):
        expand_contract(spec, profile)
    assert state_of(people) is MigrationState.FAILED
    people.execute("update people set name = 'Two Names' where id = 7")
    assert expand_contract(spec, profile).state is MigrationState.COMPLETE


def test_somebody_answers_for_a_check_that_fails(people: psycopg.Connection[Any], written: Writer) -> None:
    """For that check, on record; the run goes on with it, and says so."""
    suite = "tests.acceptance.suites:nobody_is_called_first7"
    spec, profile = written(SPLIT, 'on_failure = "keep"', gates={"before_swap": [suite]})
    with pytest.raises(GateError):
        expand_contract(spec, profile)
    (failed,) = people.execute(
        "select c ->> 'name' from changeover.gates g, json_array_elements(g.result -> 'checks') as c"
        " where g.gate = 'before_swap' and not (c ->> 'passed')::bool"
    ).fetchall()
    digest = summary(people, "m").plan_digest
    with pytest.raises(StateError, match="runs it"):
        waive(people, "m", digest, "before_swap", failed[0], "Ada", "mine", datetime.now(UTC) + timedelta(hours=1))
    waive(people, "m", digest, "before_swap", failed[0], "Grace", "he is", datetime.now(UTC) + timedelta(hours=1))
    report = expand_contract(spec, profile)
    assert report.state is MigrationState.COMPLETE
    assert [check.name for gate in report.gates for check in gate.checks if check.verdict == "WAIVED"] == [failed[0]]


def test_drift_before_the_run(people: psycopg.Connection[Any], written: Writer) -> None:
    """Planned, then changed by somebody: refused with the difference."""
    spec, profile = written(SPLIT)
    expand_contract(spec, profile)
    rollback("m", profile)
    from tasks.migration import read_spec, record_plan
    from tasks.run import Run

    record_plan(Run(migration="m", profile=profile, database="main", run_id="r", actor="ada"), read_spec(spec))
    people.execute("alter table people add column extra int")
    with pytest.raises(DriftError, match="extra"):
        expand_contract("m", profile)


def test_drift_during_the_run(people: psycopg.Connection[Any], written: Writer) -> None:
    """An index that somebody adds to a column that is being replaced would be lost: refused before the swap."""
    spec, profile = written(SPLIT, 'approvals = 1\non_failure = "keep"')
    expand_contract(spec, profile)
    people.execute("create index added_meanwhile on people (name)")
    decide("m", "grace", "approve", "", profile=profile)
    with pytest.raises(DriftError, match="added_meanwhile"):
        expand_contract("m", profile)
    people.execute("drop index added_meanwhile")
    assert expand_contract("m", profile).state is MigrationState.COMPLETE


def test_another_spec_under_the_same_name(people: psycopg.Connection[Any], written: Writer) -> None:
    """A migration that has begun keeps its spec."""
    spec, profile = written(SPLIT, "approvals = 1")
    expand_contract(spec, profile)
    spec, profile = written(SPLIT[:1], "approvals = 1")
    with pytest.raises(StateError, match="differs"):
        expand_contract(spec, profile)


def test_a_second_migration_waits_for_the_first(people: psycopg.Connection[Any], written: Writer) -> None:
    """A table whose last migration is not contracted yet is refused."""
    spec, profile = written(SPLIT)
    expand_contract(spec, profile)
    other = json.loads(Path(spec).read_text()) | {"migration": "n"}
    Path(spec).write_text(json.dumps(other))
    with pytest.raises(PreflightError, match="not contracted"):
        expand_contract(spec, profile)


def test_writes_that_cannot_come_back_are_named(people: psycopg.Connection[Any], written: Writer) -> None:
    """A value that `down` cannot express never fails the application; the rollback asks before it loses it."""
    widen = [{"alter_column": {"table": "people", "column": "id", "type": "bigint"}}]
    spec, profile = written(widen)
    expand_contract(spec, profile)
    people.execute(f"insert into people (id, name) values ({2**40}, 'Too Large')")
    with pytest.raises(StateError, match="1 writes"):
        rollback("m", profile)
    people.execute(f"delete from people where id = {2**40}")
    assert rollback("m", profile, accept_loss=True).state is MigrationState.ROLLED_BACK


def test_a_rollback_that_could_not_end_is_refused(people: psycopg.Connection[Any], written: Writer) -> None:
    """`down` gives NULL for a NOT NULL column: nothing is undone, nothing is lost; mended, it rolls back."""
    nullable = json.dumps(SPLIT).replace('"type": "text"', '"type": "text", "nullable": true')
    spec, profile = written(json.loads(nullable))
    expand_contract(spec, profile)
    people.execute("insert into people (id, first) values (-5, 'Madonna')")
    with pytest.raises(StateError, match="name is not null"):
        rollback("m", profile, accept_loss=True)
    assert state_of(people) is MigrationState.COMPLETE
    assert people.execute("select first from people where id = -5").fetchone() == ("Madonna",)
    people.execute("update people set last = 'Ciccone' where id = -5")
    assert rollback("m", profile).state is MigrationState.ROLLED_BACK
    assert people.execute("select name from people where id = -5").fetchone() == ("Madonna Ciccone",)


def test_a_new_application_may_write_after_the_approval_point(people: psycopg.Connection[Any], written: Writer) -> None:
    """The gate stands: values that the new application wrote while approval was awaited are its own."""
    tier = {"add_column": {"table": "people", "column": {"name": "tier", "type": "text"}, "up": "'standard'"}}
    spec, profile = written([tier], "approvals = 1")
    expand_contract(spec, profile)
    people.execute("update people set tier = 'vip' where id = 3")
    decide("m", "grace", "approve", "", profile=profile)
    assert expand_contract("m", profile).state is MigrationState.COMPLETE
    assert people.execute("select tier from people where id = 3").fetchone() == ("vip",)


SHARDED = "[limits]\nbatch_rows = 200\n[runner]\nshards = 3\nkind = "


def filled_in_shards(people: psycopg.Connection[Any]) -> bool:
    shards = people.execute("select count(*), sum(rows) from changeover.cursors").fetchone()
    full = people.execute("select count(*) from people where first = 'First' || id").fetchone()
    return shards == (3, ROWS) and full == (ROWS,)


def test_shards_on_threads(people: psycopg.Connection[Any], written: Writer) -> None:
    """Three shards fill every row once."""
    spec, profile = written(SPLIT[:1], SHARDED + '"thread"')
    assert expand_contract(spec, profile).rows == ROWS
    assert filled_in_shards(people)


@pytest.mark.every_leg
def test_shards_on_dask(people: psycopg.Connection[Any], written: Writer) -> None:
    """The same on a Dask cluster; in a process of its own, because Dask leaves sockets open."""
    from prefect.settings import PREFECT_API_URL

    spec, profile = written(SPLIT[:1], SHARDED + '"dask"')
    environment = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    command = [sys.executable, "-m", "flows", "run", spec, "--profile", profile, "--yes"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert filled_in_shards(people)
