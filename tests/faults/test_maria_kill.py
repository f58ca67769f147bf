"""`kill -9` of a run on MariaDB, again and again, and on again: nothing lost, doubled or stale; the way back the same.

The command line is not part of it, so that many kills fit into a minute; what it adds is tested on PostgreSQL.
"""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.engines.mysql.session import connect
from tasks.ledger.gates import count_rejections
from tasks.ledger.verify import verify
from tests.conformance.maria import Shadow
from tests.conformance.maria_writers import Writers, difference, prepare
from tests.legs import kills

ROOT = Path(__file__).parents[2]
WIDEN = {"alter_column": {"table": "orders", "column": "id", "type": "bigint"}}


def start(url: str, run_id: str) -> "subprocess.Popen[bytes]":
    """Start a run that goes on from the ledger."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.conformance.maria_child", url, run_id],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.timeout(900)
def test_killed_again_and_again(maria_database: str) -> None:
    prepare(maria_database, 1500)
    dice = random.Random(7)
    shadow, codes = Shadow(maria_database, [WIDEN], run_id="last"), list[int]()
    with Writers(maria_database, threads=2, pause=0.01) as writers:
        for number in range(kills(4)):
            process = start(maria_database, f"run{number}")
            time.sleep(dice.uniform(0.5, 6.0))
            process.kill()
            process.communicate()
            codes.append(process.returncode)
        last = start(maria_database, "survivor")
        said, _ = last.communicate(timeout=600)
        assert said.strip() == b"complete"
        with shadow.resumed():
            assert shadow.violations("after_swap") == 0
            shadow.back()
    # A run that was faster than its kill proves nothing.
    assert -signal.SIGKILL in codes, codes
    assert writers.failures == []
    assert difference(maria_database) == 0
    with connect(maria_database) as conn:
        assert count_rejections(conn, "m") == 0
        assert verify(conn, None).problems == ()
