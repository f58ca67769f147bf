"""`kill -9` of a run on MariaDB, again and again, and on again: nothing lost, doubled or stale; the way back the same.

The command line is not part of it, so that many kills fit into a minute; what it adds is tested on PostgreSQL.
"""

import random
import signal
import subprocess
import sys
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from tasks.engines.mysql.session import connect
from tasks.ledger.gates import count_rejections
from tasks.ledger.verify import verify
from tests.conformance.maria import Shadow
from tests.conformance.maria_child import main
from tests.conformance.maria_writers import Writers, difference, prepare, prepared
from tests.legs import kills
from tests.servers.mariadb import connected, run
from tests.servers.remains import soon

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


def test_killed_while_it_waits_for_a_prepared_transaction_and_for_a_trigger(
    forking: ForkServerContext, maria_database: str
) -> None:
    """What was prepared is in the new table; the way back has ended for all writes in one moment, whatever is left."""
    prepare(maria_database, 50)

    def killed_at(step: str, *, contract: bool) -> None:
        process = forking.Process(target=main, args=(maria_database, step), kwargs={"contract": contract}, daemon=True)
        process.start()
        begun = f"select 1 from changeover_steps where `key` like '%{step}' and state = 'running'"
        assert soon(lambda: bool(run(maria_database, begun)), seconds=60)
        process.kill()
        process.join()

    with prepared(maria_database, "insert into orders values (900, 'late', 1)") as name:
        Shadow(maria_database, [WIDEN]).begin()
        killed_at("/prepared", contract=False)
        run(maria_database, f"xa commit '{name}'")
    shadow = Shadow(maria_database, [WIDEN], run_id="second")
    with shadow.resumed():
        shadow.finish()
        assert shadow.violations("after_swap") == 0
    assert run(maria_database, "select body from orders where id = 900") == [("late",)]
    (old,) = (table for (table,) in run(maria_database, "show tables") if table.endswith("_old"))
    left = run(maria_database, f"select * from {old} order by id")
    with connected(maria_database, autocommit=False) as reader, reader.cursor() as cursor:
        cursor.execute("select count(*) from orders")
        killed_at("/trigger i", contract=True)
        run(maria_database, "insert into orders values (901, 'new', 1)", "update orders set n = 7 where id = 1",
            "delete from orders where id = 2")  # fmt: skip
        assert run(maria_database, f"select * from {old} order by id") == left
    last = Shadow(maria_database, [WIDEN], run_id="last")
    with last.resumed():
        last.finish(contract=True)
    assert run(maria_database, "show tables like '%\\_changeover\\_%'") == []
    assert run(maria_database, "show triggers like 'orders'") == []
    assert run(maria_database, "select count(*) from changeover_rejections") == [(0,)]
