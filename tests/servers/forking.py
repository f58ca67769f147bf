"""One process that has imported everything; what tests run in processes of their own is forked from it.

That is not a trick of the tests alone: importing Prefect and Great Expectations takes longer than a whole
migration of a small table, and the moments to be killed in are those of the migration. That a fresh interpreter
does the same is tested where commands run without a Prefect server.
"""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRELOAD = [
    *("great_expectations", "great_expectations.expectations.core", "sqlalchemy.dialects.postgresql.psycopg"),
    *("flows.expand_contract", "flows.contract", "flows.rollback", "tests.faults.driver", "tests.acceptance.forked"),
]


def fork_server(api: str, home: Path) -> ForkServerContext:
    """Start the process; what is forked from it talks to this Prefect server. There is one in a session."""
    from multiprocessing.forkserver import ensure_running

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with _environment(PREFECT_API_URL=api, PREFECT_HOME=str(home), PYTHONPATH=path, GX_ANALYTICS_ENABLED="false"):
        ensure_running()
    return context


@contextmanager
def _environment(**wanted: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
