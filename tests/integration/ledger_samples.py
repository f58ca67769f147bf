"""A plan for tests of the ledger, which holds plans without looking into them; and ways to wait."""

import threading
import time
from collections.abc import Callable

import psycopg

from tasks.model.catalogue import Catalogue
from tasks.model.plan import Plan
from tasks.model.steps import Phase, ShortTransaction, Step


def a_plan(name: str = "widen_ids", *keys: str, spec: dict[str, object] | None = None) -> Plan:
    """Return a plan with a step for each key."""
    return Plan(
        migration=name,
        database="main",
        spec=spec or {},
        spec_digest="s" * 64,
        catalogue=Catalogue(engine="postgresql", version="18.1", tables=()),
        search_path="public",
        steps=tuple(
            Step(key=key, phase=Phase.EXPAND, title=key, action=ShortTransaction(forward=(f"-- {key}",)))
            for key in (keys or ("expand/t/a", "expand/t/b"))
        ),
    )


def at_once(*jobs: Callable[[], object]) -> list[BaseException]:
    """Run jobs in threads that start together, wait for all, and return what they raised."""
    barrier = threading.Barrier(len(jobs))
    raised: list[BaseException] = []

    def work(job: Callable[[], object]) -> None:
        try:
            barrier.wait()
            job()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            raised.append(error)

    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def wait_for_a_waiter(conn: psycopg.Connection) -> None:
    """Return as soon as some session of this database waits for a lock."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        waits = conn.execute(
            """
            select 1 from pg_locks l join pg_stat_activity a using (pid)
             where not l.granted and a.datname = current_database()
            """
        )
        if waits.fetchone():
            return
        time.sleep(0.01)
    raise AssertionError("nobody waits")
