"""`make demo`, shorter: it keeps its promises, notices when they are broken, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from examples.demo.figures import Figures, verdicts
from tests.legs import EVERY_LEG

ROOT = Path(__file__).parents[2]
SHORT = ("--rows=20000", "--before=3")
SHORTEST = ("--rows=2000", "--before=1", "--rate=50")


def start(folder: Path, *options: str, **further: Any) -> "subprocess.Popen[str]":
    """Start the demo with temporary files of its own, as far as it lets itself be told where."""
    command = [sys.executable, "-m", "examples.demo", *SHORT, *options]
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **further
    )


def output_of(process: "subprocess.Popen[str]") -> str:
    """Wait for its end, and end it when that takes too long."""
    try:
        output, _ = process.communicate(timeout=200)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    return output


def finish(process: "subprocess.Popen[str]", family: list[psutil.Process]) -> str:
    """Wait for its end; nothing that it started may outlive it by more than a few seconds."""
    output = output_of(process)
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    return output


def family_of(process: "subprocess.Popen[str]", at_least: int) -> list[psutil.Process]:
    """Return what it has started, once that is `at_least` so many processes."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and process.poll() is None:
        found = psutil.Process(process.pid).children(recursive=True)
        if len(found) >= at_least:
            return found
        time.sleep(0.1)
    raise AssertionError(f"it ended, or never had {at_least} children")


def test_every_promise_is_kept_and_nothing_is_left(tmp_path: Path) -> None:
    process = start(tmp_path, "--json")
    family = family_of(process, 8)
    output = finish(process, family)
    found = json.loads(output)
    seen = found["longest_wait"], [period["slowest"][:1] for period in found["periods"]]
    assert [verdict for verdict in found["verdicts"] if not verdict["kept"]] == [], seen
    assert found["kept"] is True
    assert process.returncode == 0
    assert found["rows_migrated"] >= 19_000
    assert found["periods"][1]["latency"]["count"] > 500
    assert found["samples"] > 100
    assert found["states"] == {
        "split_customer_name": "complete",
        "contract": "contracted",
        "rename_status": "complete",
        "rollback": "rolled back",
    }
    assert os.listdir(tmp_path) == []


ALL_BUT_THE_CATALOGUE = {
    "No statement of the application fails",
    "None waits for our locks beyond the budget",
    "None is slower than a busy machine explains",
    "No row differs from the unmigrated twin",
    "The audit chain verifies with its anchors",
    "Nothing is left over in the database",
}
THE_CATALOGUE = {"The demo runs to its end", "Rollback restores the catalogue exactly"}


@pytest.mark.every_leg
@pytest.mark.parametrize(
    ("sabotage", "broken"),
    [
        (("difference", "failure", "stall", "audit", "leftover"), ALL_BUT_THE_CATALOGUE),
        pytest.param(("catalogue",), THE_CATALOGUE, marks=pytest.mark.every_leg),
    ],
)
def test_every_broken_promise_is_noticed(tmp_path: Path, sabotage: tuple[str, ...], broken: set[str]) -> None:
    process = start(tmp_path, "--json", *SHORTEST, *(f"--sabotage={name}" for name in sabotage))
    output = output_of(process)
    assert process.returncode == 1
    assert os.listdir(tmp_path) == []
    verdicts = json.loads(output)["verdicts"]
    assert {verdict["promise"] for verdict in verdicts if not verdict["kept"]} >= broken


def test_figures_that_were_not_taken_keep_no_promise() -> None:
    assert [verdict.promise for verdict in verdicts(Figures(rows=1, rate=1.0)) if verdict.kept] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, *([signal.SIGTERM] if EVERY_LEG else [])])
def test_an_interrupted_demo_stops_everything(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path)
    # The watchdogs, the server of PostgreSQL with its own processes, the application, Prefect's server.
    family = family_of(process, 10)
    process.send_signal(number)
    output = finish(process, family)
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert ("Interrupted" in output) == (number != signal.SIGKILL)
    deadline = time.monotonic() + 20
    while os.listdir(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert os.listdir(tmp_path) == []
