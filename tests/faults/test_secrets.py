"""Secrets stay secret: after whole runs, good and bad, the password and the rows' values are searched everywhere."""

import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from tests.faults.shop import MIGRATION, Shop, write_profile, write_spec
from tests.servers.forking import ROOT
from tests.servers.prefect import PrefectApi, await_api, running

pytestmark = pytest.mark.timeout(300)
PASSWORD = "s3cr3t-Passw0rd"
VALUE = "TOPSECRET-ROW-VALUE"

FAILING: dict[str, list[dict[str, object]]] = {
    # A row breaks a new restriction; `up` raises on a row, and PostgreSQL quotes its value; a value comes twice.
    "check": [
        {
            "alter_column": {
                "table": "orders",
                "column": "note",
                "check": {"name": "k", "constraint": "length(note) < 5"},
            }
        }
    ],
    "step": [
        {
            "add_column": {
                "table": "orders",
                # Only the backfill meets what the rows are asked about before it.
                "up": "case when current_setting('vacuum_cost_page_hit') = '9973' then note::integer end",
                "column": {"name": "n", "type": "integer", "nullable": True},
            }
        }
    ],
    "unique": [{"alter_column": {"table": "orders", "column": "note", "unique": {"name": "u"}}}],
}


class Onlooker:
    """Reads, again and again, what everybody on the machine and on the server can see of our processes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="onlooker", daemon=True)
        self.seen: set[str] = set()
        self.looks = 0

    def __enter__(self) -> "Onlooker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with psycopg.connect(self._url, autocommit=True, application_name="onlooker") as conn:
            while not self._over.wait(0.1):
                self.seen |= {row[0] for row in conn.execute("select distinct application_name from pg_stat_activity")}
                self.seen |= set(_command_lines())
                self.looks += 1


def _command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


def _with_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{quote(PASSWORD)}@{parts.hostname}:{parts.port}"))


def _drive(shop: Shop, api: PrefectApi, *flows: str) -> tuple[list[dict[str, str]], str]:
    """Run flows in a process that nothing was imported for, at the most talkative level; return what was said."""
    folder = shop.folder / "drive"
    folder.mkdir()
    environment = {
        **os.environ,
        "CHANGEOVER_URL": _with_password(shop.url),
        "PREFECT_API_URL": api.url,
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_DEBUG_MODE": "true",
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "DEBUG",
        "PREFECT_LOGGING_ROOT_LEVEL": "DEBUG",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "changeover,sqlalchemy.engine,great_expectations,psycopg",
        "GX_ANALYTICS_ENABLED": "false",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.driver", str(shop.profile), str(folder / "outcomes.json"), *flows],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=270)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return json.loads((folder / "outcomes.json").read_text()), output


def _everything(shop: Shop, api: PrefectApi, output: str) -> Iterator[tuple[str, str]]:
    """Give all places that remember something, with what they remember."""
    yield "output", output
    yield from _rows_of_the_ledger(shop)
    yield from _rows_of_prefect(api)
    for path in shop.folder.rglob("*"):
        if path.is_file() and path != shop.spec and not path.name.startswith("spec-"):
            if path.name.endswith(".copy.gz"):
                # The dump is what the rows are in; the password is not.
                yield f"dump {path}", gzip.decompress(path.read_bytes()).decode(errors="replace").replace(VALUE, "")
            else:
                yield str(path), path.read_bytes().decode(errors="replace")
    for path in api.home.glob("*.log"):
        yield str(path), path.read_text(errors="replace")


def _rows_of_the_ledger(shop: Shop) -> Iterator[tuple[str, str]]:
    with shop.connect() as conn:
        tables = conn.execute(
            "select relname from pg_class where relnamespace = 'changeover'::regnamespace and relkind = 'r'"
        ).fetchall()
        assert len(tables) > 5
        for (table,) in tables:
            for row in conn.execute(sql.SQL("select t::text from changeover.{} t").format(sql.Identifier(table))):
                yield f"changeover.{table}", row[0]


def _rows_of_prefect(api: PrefectApi) -> Iterator[tuple[str, str]]:
    """Every row of every table: runs, parameters, states, logs, artifacts."""
    found = list(api.home.glob("*.db"))
    assert found
    conn = sqlite3.connect(f"file:{found[0]}?mode=ro", uri=True)
    try:
        tables = [row[0] for row in conn.execute("select name from sqlite_master where type = 'table'")]
        assert "log" in tables
        for table in tables:
            for row in conn.execute(f'select * from "{table}"'):
                yield f"prefect {table}", repr(row)
    finally:
        conn.close()


def _plant(shop: Shop) -> None:
    with shop.connect() as conn:
        for table in ("orders", "orders_twin"):
            conn.execute(f"update {table} set customer = '{VALUE}', note = '{VALUE}' where id % 1000 = 7")


@pytest.fixture
def remembering(tmp_path: Path, prefect_made: Path) -> Iterator[PrefectApi]:
    """A Prefect server that keeps everything that it is told, events and runs of tasks included."""
    with running(tmp_path, made=prefect_made, remembers=True) as api:
        await_api(api)
        yield api


def test_nothing_leaks(shop: Shop, remembering: PrefectApi) -> None:
    """Three migrations that fail on rows, each in its own way, and one that goes the whole way."""
    _plant(shop)
    write_profile(shop.profile, on_failure="rollback")
    failing = [write_spec(shop.folder / f"spec-{how}.json", FAILING[how], f"failing_{how}") for how in FAILING]
    flows = [
        *(f"run={spec}" for spec in failing),
        *(f"run={shop.spec}", f"rollback={MIGRATION}", f"run={shop.spec}", f"contract={MIGRATION}"),
    ]
    with Onlooker(shop.url) as onlooker:
        outcomes, output = _drive(shop, remembering, *flows)
    assert [outcome.get("code") for outcome in outcomes[:3]] == ["PREFLIGHT", "STEP", "PREFLIGHT"], output[-4000:]
    assert [told.get("state") for told in outcomes[3:]] == ["complete", "rolled back", "complete", "contracted"], (
        outcomes
    )
    assert "DEBUG" in output
    places = list(_everything(shop, remembering, output))
    remembered = {"log", "flow_run", "task_run", "task_run_state", "events", "artifact"}
    assert {"changeover.migrations", *(f"prefect {table}" for table in remembered)} <= {place for place, _ in places}
    assert {(place, word) for place, text in places for word in (PASSWORD, VALUE) if word in text} == set()
    assert onlooker.looks > 10
    assert any(name.startswith("changeover ") for name in onlooker.seen)
    assert [line for line in onlooker.seen if PASSWORD in line or VALUE in line] == []
