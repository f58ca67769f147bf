"""How our tasks are made: no caching, no retries of Prefect's, no persisted results.

The ledger says what is done. A cached task would be skipped in the next run, and a retried one would run its
side effects twice; retries of transactions happen inside the engine.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE

P = ParamSpec("P")
R = TypeVar("R")


def verb(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Turn a function into a task with this label."""
    return task(name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False, retries=0)
