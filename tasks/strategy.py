"""A strategy as a Prefect flow: a run that stops at a boundary is not a failed run."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, cast

from prefect import Flow, flow
from prefect.runtime import flow_run
from prefect.states import Completed

from tasks.engines.translate import in_our_words
from tasks.model.errors import Paused
from tasks.model.status import Report

P = ParamSpec("P")


def strategy(name: str, label: str) -> Callable[[Callable[P, Report]], Flow[P, Report]]:
    """Turn a function into a flow with this name, whose runs are labelled by `label`.

    When a window closes, somebody pauses, or approvals are missing, the flow run ends as `Paused`, a completed
    state, and returns the report; the next run of the same migration goes on from there.
    """

    def decorate(function: Callable[P, Report]) -> Flow[P, Report]:
        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> Report:
            try:
                with in_our_words(name):
                    return function(*args, **kwargs)
            except Paused as pause:
                if pause.report is None:
                    raise
                return cast(Report, Completed(name="Paused", message=pause.what, data=cast(Any, pause.report)))

        return flow(name=name, flow_run_name=lambda: _labelled(label), persist_result=False)(run)

    return decorate


def _labelled(label: str) -> str:
    """Fill a label with the parameters of the present run; of a path, its stem is enough to know it by."""
    parameters = flow_run.get_parameters()
    return label.format_map({name: Path(str(value)).stem for name, value in parameters.items()})
