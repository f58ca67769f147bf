"""Where shards run: threads of this process, or a Dask cluster. The profile chooses."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import Task
from prefect.futures import wait
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from profiles.model import Runner
from tasks.model.errors import ProfileError
from tasks.run import Run


def run_everywhere(run: Run, work: Task[..., None], calls: Sequence[Mapping[str, Any]]) -> None:
    """Run a task once for each set of arguments, at the same time, and raise the first error there was.

    All of them come to an end before the error is raised: nothing goes on behind the caller's back.
    """
    if len(calls) == 1:
        work(**calls[0])
        return
    if not calls:
        return
    with task_runner(run.settings.runner) as runner:
        futures = [runner.submit(work, parameters=dict(call)) for call in calls]
        wait(futures)
        for future in futures:
            future.result()


def task_runner(settings: Runner) -> TaskRunner[Any]:
    """Return the runner that the profile asks for. Raises ProfileError when prefect-dask is not installed."""
    if settings.kind == "thread":
        return ThreadPoolTaskRunner(max_workers=settings.shards)
    try:
        from prefect_dask.task_runners import DaskTaskRunner  # noqa: PLC0415 - an extra: it brings the whole of Dask
    except ImportError as error:
        raise ProfileError(
            "the Dask runner is not installed",
            where="runner.kind",
            hint="Install changeover[dask], or write kind = 'thread'.",
        ) from error
    if settings.dask_address:
        return DaskTaskRunner(address=settings.dask_address)
    cluster = {"n_workers": settings.shards, "threads_per_worker": 1, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=cluster)
