"""How our tasks are made: no caching, no retries of Prefect's, no persisted results.

The ledger says what is done. A cached task would be skipped in the next run, and a retried one would run its
side effects twice; retries of transactions happen inside the engine.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE

from tasks.engines.translate import in_our_words

P = ParamSpec("P")
R = TypeVar("R")


def verb(name: str, label: str = "") -> Callable[[Callable[P, R]], Task[P, R]]:
    """Turn a function into a task; `label`, the name of its runs, may name arguments in braces.

    What it raises is ours: Prefect logs it with all that it says.
    """

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        @wraps(function)
        def told(*args: P.args, **kwargs: P.kwargs) -> R:
            with in_our_words(name):
                return function(*args, **kwargs)

        return task(name=name, task_run_name=label or name, cache_policy=NO_CACHE, persist_result=False, retries=0)(
            told
        )

    return decorate
