"""prefect.yaml as it stands: deployed, looked at through the API, and run once by a worker."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

ROOT = Path(__file__).parents[2]
PREFECT = Path(sys.executable).with_name("prefect")
POOL = "changeover"

SCHEMA = """
create table people (id bigint generated always as identity primary key, full_name text not null);
insert into people (full_name) select 'Ada L' || i from generate_series(1, 500) i;
"""
SPEC = """
migration: first-name
operations:
  - add_column:
      table: people
      column: {name: first_name, type: text}
      up: split_part(full_name, ' ', 1)
"""


def prefect(*words: str, **environment: str) -> str:
    """Run a command of Prefect in the project's folder against the server of the session."""
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    assert url
    done = subprocess.run(
        [PREFECT, *words],
        cwd=ROOT,
        env={**os.environ, "PREFECT_API_URL": url, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def deployments(prefect_server: str) -> dict[str, Any]:
    """Deploy everything, and give what the server holds by its name."""
    from prefect.client.orchestration import get_client

    prefect("work-pool", "create", POOL, "--type", "process", "--overwrite")
    prefect("--no-prompt", "deploy", "--all")
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/deployments/filter", json={}).json()
    return {one["name"]: one for one in found}


def test_every_strategy_is_deployed(deployments: dict[str, Any]) -> None:
    """Seven deployments in the pool that the file names, with entrypoints that load."""
    strategies = {"expand-contract", "shadow-table", "cross-database"}
    assert set(deployments) == strategies | {"approve", "contract", "rollback", "baseline"}
    for one in deployments.values():
        assert one["work_pool_name"] == POOL
        assert one["description"]
        assert one["parameters"] == {"profile": "production"}


def test_one_run_of_a_deployment_at_a_time(deployments: dict[str, Any]) -> None:
    """The second waits; it is not cancelled."""
    for one in deployments.values():
        assert one["global_concurrency_limit"]["limit"] == 1
        assert one["concurrency_options"]["collision_strategy"] == "ENQUEUE"


def test_the_run_form_is_flat_and_explains_every_field(deployments: dict[str, Any]) -> None:
    """A nested parameter would be a raw JSON box."""
    for one in deployments.values():
        schema = one["parameter_openapi_schema"]
        required = {"approve": ["migration", "approver"], "baseline": ["version"]}
        assert schema["required"] == required.get(one["name"], ["migration"])
        assert not schema.get("definitions")
        for name, field in schema["properties"].items():
            assert field["type"] in ("string", "boolean"), name
            assert field["description"], name


def test_schedules_are_overnight_and_off(deployments: dict[str, Any]) -> None:
    """Nothing runs by itself before somebody says so; what destroys has no schedule at all."""
    schedules = [(name, schedule) for name, one in deployments.items() for schedule in one["schedules"]]
    assert [name for name, _ in schedules] == ["expand-contract"]
    for _, schedule in schedules:
        assert schedule["active"] is False
        when = schedule["schedule"]
        assert ZoneInfo(when["timezone"]).key == "America/New_York"
        hour = int(when["cron"].split()[1])
        assert 0 <= hour < 6


def test_the_schedule_starts_inside_the_window_of_its_profile(deployments: dict[str, Any]) -> None:
    """A run that starts outside of the window would stop as paused every night."""
    from profiles.loader import load

    one = deployments["expand-contract"]
    window = load(ROOT / "profiles" / f"{one['parameters']['profile']}.toml").window
    assert window is not None
    when = one["schedules"][0]["schedule"]
    minute, hour = (int(part) for part in when["cron"].split()[:2])
    assert when["timezone"] == window.timezone
    assert window.start <= f"{hour:02}:{minute:02}" < window.end


def test_a_worker_runs_a_migration(deployments: dict[str, Any], database: str, tmp_path: Path) -> None:
    """Through deployment, pool, worker and a process of its own, to a column that is there and full."""
    from prefect.client.orchestration import get_client

    with psycopg.connect(database) as conn:
        conn.execute(SCHEMA)
    spec, profile = tmp_path / "first-name.yaml", tmp_path / "worker.toml"
    spec.write_text(SPEC)
    profile.write_text(
        f'name = "worker"\nevidence = "{tmp_path}/evidence"\n[databases.main]\nurl_env = "CHANGEOVER_URL"\n'
    )
    with get_client(sync_client=True) as client:
        run = client.request(
            "POST",
            f"/deployments/{deployments['expand-contract']['id']}/create_flow_run",
            json={
                "parameters": {"migration": str(spec), "profile": str(profile)},
                "state": {"type": "SCHEDULED"},
            },
        ).json()
        prefect("worker", "start", "--pool", POOL, "--run-once", CHANGEOVER_URL=database)
        ended = client.request("GET", f"/flow_runs/{run['id']}").json()
        logs = client.request("POST", "/logs/filter", json={"logs": {"flow_run_id": {"any_": [run["id"]]}}}).text
    assert ended["state"]["type"] == "COMPLETED", logs
    assert ended["name"] == "first-name on worker"
    assert database not in logs
    with psycopg.connect(database) as conn:
        assert conn.execute("select count(*) from people where first_name = 'Ada'").fetchone() == (500,)
        assert conn.execute("select state from changeover.migrations").fetchone() == ("complete",)
